"""Members of several libraries as one ensemble of trees."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from xgboost import XGBClassifier, XGBRegressor

from dropforge_training.models import lightgbm_members, tree_conversion, tree_ensemble, xgboost_ensemble
from dropforge_training.models.model_spec import Fold, TrialFit, predicted, prepared, weighted_fit
from dropforge_training.models.tree_ensemble import TreeEnsemble
from dropforge_training.search import ensemble_selection

KINDS = ["xgboost", "lightgbm", "lightgbm_random_thresholds", "extra_trees", "linear"]


def table(classes: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Four columns, the third with missing cells, the last without any spread; codes, or of 0 classes numbers far from zero."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1], 1)  # many rows lie on a threshold
    x[:, 3] = 1.0
    number = x[:, 0] + x[:, 1] * (x[:, 2] > 0) + rng.normal(0, 0.3, rows)
    x[::6, 2] = np.nan
    return x, 1000 + number if not classes else np.digitize(number, [0.0, 0.8][: classes - 1])


def params(kind: str) -> dict[str, Any]:
    return next(p for p in TreeEnsemble().portfolio() if p["kind"] == kind)


def hostile(x: np.ndarray) -> np.ndarray:
    """The rows, and rows with every value missing, on thresholds and far outside."""
    extra = np.array([[np.nan] * 4, [0, 0, 0, 0], [-1e30] * 4, [1e30] * 4, [np.nan, 0.1, -0.1, 1]], dtype=np.float32)
    return np.concatenate([x, np.round(x, 1), extra])


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_lightgbm_becomes_xgboost(classes: int) -> None:
    """Margins are LightGBM's own on rows seen and unseen, with missing cells and values on a threshold."""
    x, y = table(classes)
    given = lightgbm_members.parameters(params("lightgbm_random_thresholds"), 3, 1, classes, ())
    booster = lightgbm.train(given, lightgbm.Dataset(x, y, params=given), 12)
    like = (XGBClassifier if classes else XGBRegressor)(n_estimators=1, max_depth=1).fit(x, y)
    converted = tree_conversion.as_xgboost(tree_conversion.of_lightgbm(booster.model_to_string()), like)
    rows = hostile(x)
    expected = np.asarray(booster.predict(rows, raw_score=True))
    assert np.abs(converted.predict(rows, output_margin=True) - expected).max() < 1e-5 * max(
        1.0, np.abs(expected).max()
    )


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_a_forest_becomes_xgboost(classes: int) -> None:
    """Margins are the forest's votes times the factor, of a regression its mean."""
    x, y = table(classes)
    kind = ExtraTreesClassifier if classes else ExtraTreesRegressor
    forest = kind(30, min_samples_leaf=2, random_state=1).fit(x, y)
    like = (XGBClassifier if classes else XGBRegressor)(n_estimators=1, max_depth=1).fit(x, y)
    trees = tree_conversion.of_forest(forest.estimators_, *tree_ensemble._margin(classes))
    rows = hostile(x)
    given = predicted(tree_conversion.as_xgboost(trees, like), rows)
    assert np.abs(given - tree_ensemble._votes(forest, rows, classes)).max() < (2e-3 if not classes else 1e-5)


@pytest.mark.parametrize("classes", [2, 3, 19, 100])
def test_a_forest_is_as_sure_of_many_classes_as_of_two(classes: int) -> None:
    """Where all trees agree, the class has the same probability however many others there are."""

    class Unanimous:
        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.tile(np.eye(classes)[0], (len(x), 1))

    assert tree_ensemble._votes(Unanimous(), np.zeros((1, 4)), classes)[0, 0] == pytest.approx(0.9933, abs=1e-4)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_a_blend_predicts_what_selection_saw(classes: int) -> None:
    """All kinds with their weights are one XGBoost model, whose output is the one that the selection scored."""
    x, y = table(classes)
    y = y - y.mean() if not classes else y
    candidate, weights = TreeEnsemble(), [3.0, 1.0, 2.0, 2.0, 1.0]
    fitted = [
        candidate.estimator({**params(k), "n_estimators": 8}, seed=i, jobs=1, classes=classes).fit(x, y)
        for i, k in enumerate(KINDS)
    ]
    blend = candidate.blend(fitted, weights)
    assert type(blend) is (XGBClassifier if classes else XGBRegressor)
    alone = [predicted(candidate.blend([f]), x) for f in fitted]
    assert np.abs(predicted(blend, x) - candidate.blended(alone, weights)).max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_an_estimator_predicts_what_its_conversion_does(kind: str, classes: int) -> None:
    """Out-of-fold rows are predicted by the libraries themselves: by what the blend of XGBoost's trees gives, within float32."""
    x, y = table(classes)
    y = y - y.mean() if not classes else y
    candidate = TreeEnsemble()
    fitted = candidate.estimator({**params(kind), "n_estimators": 8}, seed=3, jobs=1, classes=classes).fit(x, y)
    rows = hostile(x)
    assert np.abs(candidate.output(fitted, rows) - predicted(candidate.blend([fitted]), rows)).max() < 1e-5


@pytest.mark.parametrize("kind", ["lightgbm_poisson", "lightgbm_gamma"])
def test_members_for_the_mean_predict_its_logarithm(kind: str) -> None:
    """Of a skewed target on its logarithm they come back near its mean, where squared errors of the logarithm come back lower; their
    conversion, a last fit and validation predictions agree on the margin."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 3)).astype(np.float32)
    number = np.exp(1 + 0.5 * x[:, 0] + rng.normal(0, 0.8, len(x)))
    center = np.log1p(number).mean()
    y = np.log1p(number) - center
    candidate = TreeEnsemble().for_log_means()
    given = next(p for p in candidate.portfolio() if p["kind"] == kind)
    fold = Fold(x[:2000], y[:2000], x[2000:], y[2000:], transform="log1p", center=center)
    fit = TrialFit(given, fold, 3, 1, 0, "rmse", lambda _: 0.0, lambda *_: False)
    trained = candidate.train(fit)
    last = candidate.estimator({**given, "n_estimators": trained.rounds}, seed=3, jobs=1, classes=0)
    last.fit(fold.x, fold.y)
    assert np.abs(candidate.output(last, fold.x_valid) - trained.probabilities).max() < 1e-6
    assert np.abs(predicted(candidate.blend([last]), fold.x_valid) - trained.probabilities).max() < 1e-5
    back = np.expm1(trained.probabilities[:, 0] + center)
    squared = candidate.estimator(params("lightgbm") | {"n_estimators": 60}, seed=3, jobs=1, classes=0).fit(
        fold.x, fold.y
    )
    low = np.expm1(candidate.output(squared, fold.x_valid)[:, 0] + center)
    assert back.mean() == pytest.approx(number[2000:].mean(), rel=0.15)
    assert low.mean() < 0.82 * number[2000:].mean()


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "linear"])  # whose trees are too small to count
def test_nodes_are_counted_about_right(kind: str) -> None:
    """What a trial says of its trees' nodes is at least half and no more than three times what the last fit has."""
    x, y = table(2, rows=2000)
    fold = Fold(x[:1500], y[:1500], x[1500:], y[1500:])
    given = {**params(kind), "learning_rate": 0.3}
    fit = TrialFit(given, fold, 4, 1, 2, "roc_auc", lambda p: float(-np.abs(p).mean()), lambda *_: False)
    trained = TreeEnsemble().train(fit)
    last = TreeEnsemble().estimator(
        {**given, **({"n_estimators": trained.rounds} if trained.rounds else {})}, seed=4, jobs=1, classes=2
    )
    blend = TreeEnsemble().blend([last.fit(fold.x, fold.y)])
    trees = xgboost_ensemble.document(blend)["learner"]["gradient_booster"]["model"]["trees"]
    nodes = sum(len(t["left_children"]) for t in trees)
    assert nodes / 2 <= trained.nodes <= 3 * nodes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_the_last_fit_is_what_a_trial_scored(kind: str, classes: int) -> None:
    """With the rounds a trial found, the estimator predicts for the validation rows what the trial did."""
    x, y = table(classes)
    y = y - y.mean() if not classes else y
    fold = Fold(x[:300], y[:300], x[300:], y[300:])
    given = {**params(kind), "learning_rate": 0.3}
    trained = TreeEnsemble().train(
        TrialFit(given, fold, seed=4, jobs=1, classes=classes, metric="rmse" if not classes else "roc_auc",
                 score=lambda p: float(-np.abs(p).mean()), callback=lambda *_: False)
    )  # fmt: skip
    last = TreeEnsemble().estimator(
        {**given, **({"n_estimators": trained.rounds} if trained.rounds else {})}, seed=4, jobs=1, classes=classes
    )
    output = predicted(TreeEnsemble().blend([weighted_fit(last, fold.x, fold.y, None)]), fold.x_valid)
    assert np.abs(output - trained.probabilities).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [0, 2])
def test_every_kind_holds_to_a_direction(kind: str, classes: int) -> None:
    """2,000 pairs that differ in the constrained column alone: no prediction falls with it."""
    x, y = table(classes)
    candidate = TreeEnsemble()
    held_out = prepared(
        candidate, {**params(kind), "n_estimators": 20}, seed=1, jobs=1, classes=classes, monotone=(1, 0, 0, 0)
    )
    model = candidate.blend([held_out.fit(x, y)])
    rng = np.random.default_rng(2)
    low = rng.normal(size=(2000, 4)).astype(np.float32)
    high = low.copy()
    high[:, 0] += rng.uniform(0, 2, 2000).astype(np.float32)
    assert (predicted(model, high)[:, -1] - predicted(model, low)[:, -1]).min() >= -1e-6


def test_selection_takes_what_completes_the_best() -> None:
    """Of three trials the two whose errors cancel are chosen, though the third alone is better than the second."""
    truth = np.array([0.0, 0.0, 0.0, 0.0])
    outputs = {
        7: [np.array([1.0, -1.0, 1.0, -1.0])],
        3: [np.array([1.1, -1.1, 1.1, -1.1])],
        5: [np.array([-1.2, 1.2, -1.2, 1.2])],
    }

    def score(_fold: int, output: np.ndarray) -> float:
        return -float(np.abs(output - truth).mean())

    def mean(parts: Any, weights: Any) -> np.ndarray:
        return np.asarray(np.average(np.stack(parts), axis=0, weights=weights))

    chosen = ensemble_selection.select(outputs, mean, score, 2)
    assert set(chosen) == {7, 5}
    assert score(0, mean([outputs[t][0] for t in chosen], list(chosen.values()))) > -0.1
    assert ensemble_selection.select(outputs, mean, score, 1) == {7: 1}


def test_selection_takes_only_what_may_be_served() -> None:
    """A trial that takes too long is chosen neither alone nor beside others; where all do, the best one is."""
    outputs = {t: [np.full(4, float(t))] for t in (1, 2, 3)}
    takes = {1: 9.0, 2: 1.0, 3: 1.5}

    def score(_fold: int, output: np.ndarray) -> float:
        return -float(np.abs(output - 2.2).mean()) - 1e-9 * float(output[0] == 1)

    def mean(parts: Any, weights: Any) -> np.ndarray:
        return np.asarray(np.average(np.stack(parts), axis=0, weights=weights))

    def within(limit: float) -> Any:
        return lambda trials: sum(takes[t] for t in trials) <= limit

    assert set(ensemble_selection.select(outputs, mean, score, 3, fits=within(2.6))) == {2, 3}
    assert set(ensemble_selection.select(outputs, mean, score, 3, fits=within(2.0))) == {2}
    assert set(ensemble_selection.select(outputs, mean, score, 3, fits=within(0.5))) == {1}


@pytest.mark.parametrize(("classes", "kind", "rate"), [(0, "xgboost", 0.1), (9, "xgboost", 0.1), (10, "xgboost", 0.3)])
def test_a_search_of_many_classes_begins_with_few_rounds(classes: int, kind: str, rate: float) -> None:
    """Each round has a tree for each class; the points that suit fewer classes come after."""
    model = TreeEnsemble().for_classes(classes)
    assert (model.first()["kind"], model.first()["learning_rate"]) == (kind, rate)
    assert model.portfolio()[0] == model.first()
    assert model.portfolio()[-1] == TreeEnsemble().portfolio()[-1]
