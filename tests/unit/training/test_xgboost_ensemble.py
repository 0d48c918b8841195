"""Several boosters as one."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost

from dropforge_training.evaluate import held_out
from dropforge_training.models.model_spec import Fold, TrialFit
from dropforge_training.models.xgboost import XGBoost


@pytest.mark.parametrize("classes", [2, 3])
def test_a_blend_is_the_mean_and_stays_one_model(classes: int) -> None:
    """Margins and exact tree contributions of the blend are the means of its parts, missing cells and all."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 5)).astype(np.float32)
    x[::7, 2] = np.nan
    y = np.digitize(x[:, 0] + rng.normal(0, 0.5, 600), [0.0, 0.8][: classes - 1])
    candidate = XGBoost()
    parts = [
        candidate.estimator({"n_estimators": n, "max_depth": d}, seed=d, jobs=1, classes=classes).fit(x, y)
        for n, d in ((12, 2), (20, 3), (7, 4))
    ]
    blend = candidate.blend(parts)
    mean = np.mean([p.predict(x, output_margin=True) for p in parts], axis=0)
    assert np.abs(blend.predict(x, output_margin=True) - mean).max() < 1e-5
    assert blend.predict_proba(x).shape == (600, classes)
    rows = xgboost.DMatrix(x[:20])
    messages = [p.get_booster().predict(rows, pred_contribs=True) for p in (blend, *parts)]
    assert np.abs(messages[0] - np.mean(messages[1:], axis=0)).max() < 1e-5


def test_boosters_of_other_rows_do_not_blend() -> None:
    """Parts that start from different base scores are refused: their margins have no common zero."""
    x = np.arange(100, dtype=np.float32).reshape(-1, 1)
    created = [
        XGBoost().estimator({"n_estimators": 3}, seed=1, jobs=1, classes=2).fit(x, (x[:, 0] > at).astype(int))
        for at in (30, 60)
    ]
    with pytest.raises(ValueError, match="base scores"):
        XGBoost().blend(created)


def test_early_stopping_watches_the_positive_class() -> None:
    """Average precision of code 0: as many rounds as for the same rows with the codes the other way round."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1500, 5)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] ** 2 + rng.normal(0, 1.5, 1500) > 2.5).astype(np.int64)
    params = {"learning_rate": 0.3, "max_depth": 3}
    rounds = []
    for codes, positive in ((y, 1), (1 - y, 0)):
        fold = Fold(x[:1000], codes[:1000], x[1000:], codes[1000:], positive)

        def score(p: np.ndarray, fold: Fold = fold) -> float:
            return held_out.score("average_precision", fold.y_valid, p, fold.positive)

        scores: list[float] = []

        def record(_progress: float, best: float, scores: list[float] = scores) -> bool:
            scores.append(best)
            return False

        created = XGBoost().train(
            TrialFit(params, fold, seed=1, jobs=1, classes=2, metric="average_precision", score=score, callback=record)
        )
        assert scores[-1] == pytest.approx(score(created.probabilities), abs=0.02)
        rounds.append(created.rounds)
    assert abs(rounds[0] - rounds[1]) <= 3
