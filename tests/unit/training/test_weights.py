"""What the user knows of his rows and columns: weights, class weights, directions. All of it is in the served model."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from xgboost import XGBClassifier, XGBRegressor

from dropforge.datasets.table_schema import ROW_HASH
from dropforge.errors import JobFailed, SettingsError
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.inference.predictor import Predictor, open_graph
from dropforge.metrics.weighted_rows import of_numbers
from dropforge_training.data import training_table
from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import metrics
from dropforge_training.fit.refit import Refit
from dropforge_training.models import model_spec
from dropforge_training.models.model_spec import TrialFit
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.search import validation_folds

Bench = Callable[..., Any]
KINDS = {"x": "number", "z": "integer", "area": "category", "count": "number", "price": "number", "sold": "category"}
SETTINGS = """
project: weights
data:
  target: {target}
  task: {task}
  ignore: [{other}]
  {data}
training: {{ {training} }}
models:
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
    search: {{learning_rate: 0.3, max_depth: 4}}
    budget: {{trials: 1, seconds: 60}}
    bag: 2
  - name: hist_gradient_boosting
    class: dropforge_training.models.hist_gradient_boosting:HistGradientBoosting
    search: {{learning_rate: 0.3}}
    budget: {{trials: 1, seconds: 60}}
  - name: random_forest
    class: dropforge_training.models.random_forest:RandomForest
    search: {{n_estimators: 50}}
    budget: {{trials: 1, seconds: 60}}
  - name: ridge
    class: dropforge_training.models.ridge_regression:RidgeRegression
    budget: {{trials: 1, seconds: 60}}
"""
MODELS = ("xgboost", "hist_gradient_boosting", "random_forest")


def _frame(rows: int = 700) -> pd.DataFrame:
    """Noisy rows of which a fit without constraints breaks the direction; `count` says how often each was observed."""
    rng = np.random.default_rng(11)
    x, z = rng.normal(size=rows), rng.integers(0, 30, rows)
    price = 20 + 3 * x - 0.2 * z + rng.normal(0, 4, rows)
    return pd.DataFrame(
        {
            "x": np.where(rng.random(rows) < 0.05, np.nan, x),
            "z": z,
            "area": rng.choice(["a", "b", "c"], rows).astype(object),
            "count": rng.integers(1, 6, rows).astype(float),
            "price": price,
            "sold": np.where(price + rng.normal(0, 3, rows) > 22, "no", "yes").astype(object),
        }
    )


def _trained(bench: Bench, *, task: str = "regression", data: str = "", training: str = "", frame: Any = None) -> Any:
    target, other = ("price", "sold") if task == "regression" else ("sold", "price")
    text = SETTINGS.format(target=target, other=other, task=task, data=data, training=training)
    return bench(frame=_frame() if frame is None else frame, kinds=KINDS, target=target, text=text)


def _load(bench: Bench, tmp_path: Path, **given: Any) -> TrainingData:
    created = _trained(bench, **given)
    return training_table.load(created.store, created.manifest, created.settings, tmp_path)


def _served(bench: Bench, model: str, **given: Any) -> tuple[Predictor, BundleManifest, Path]:
    created = _trained(bench, **given)
    result = created.run(created.job(model, upload=f"weights{model[:6]}{given.get('task', '')}"))
    folder = Path(result.bundle_uri)
    manifest = BundleManifest.from_json((folder / "manifest.json").read_bytes())
    return open_graph(manifest, (folder / "model.onnx").read_bytes()), manifest, folder


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_weighted_fits_are_those_of_the_library(bench: Bench, tmp_path: Path, task: str) -> None:
    """Within 1e-6 of XGBoost fitted on the same matrix with the same sample weights; and not what it gives without them."""
    data = _load(bench, tmp_path, task=task, data="weight: count")
    assert "count" not in data.train.x
    params = {"n_estimators": 30, "max_depth": 3, "learning_rate": 0.3}
    fitted = Refit(XGBoost(), data, {}, [params], seed=1, jobs=1).pipeline(data.train)
    matrix = np.asarray(fitted[:-1].transform(data.train.x), dtype=np.float32)
    kind = XGBRegressor if data.regression else XGBClassifier
    plain = kind(**params, tree_method="hist", random_state=1, n_jobs=1)
    ours = model_spec.predicted(fitted, data.heldout.x)
    theirs = plain.fit(matrix, data.train.y, sample_weight=data.train.weight)
    heldout = np.asarray(fitted[:-1].transform(data.heldout.x), dtype=np.float32)
    assert np.abs(ours - model_spec.predicted(theirs, heldout)).max() <= 1e-6
    unweighted = kind(**params, tree_method="hist", random_state=1, n_jobs=1).fit(matrix, data.train.y)
    assert np.abs(ours - model_spec.predicted(unweighted, heldout)).max() > 1e-3


@pytest.mark.parametrize("model", MODELS)
def test_trials_are_fitted_and_scored_with_weights(bench: Bench, tmp_path: Path, model: str) -> None:
    """A trial on weighted rows is the trial on rows repeated as often as they weigh, where the model's library says so."""
    data = _load(bench, tmp_path, data="weight: count")
    fold = validation_folds.make(XGBoost(), data, {}, 1)[0]
    assert fold.weight is not None
    assert fold.weight_valid is not None
    candidate = model_spec.load(
        next(m for m in _trained(bench).settings.models if m.name == model).import_path, "regression"
    )
    x = np.nan_to_num(fold.x)
    weighted, plain = (
        candidate.train(TrialFit(candidate.first(), f, 1, 1, 0, "rmse", lambda _p: 0.0, lambda _a, _b: False))
        for f in (
            replace(fold, x=x, cache={}),
            replace(fold, x=x, weight=None, weight_valid=None, cache={}),
        )
    )
    assert np.abs(weighted.probabilities - plain.probabilities).max() > 1e-3


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape", "r2"])
def test_weighted_scores_are_those_of_scikit_learn(metric: str) -> None:
    """Of a regression's numbers, to 1e-9."""
    rng = np.random.default_rng(2)
    y, guess, weight = rng.normal(5, 2, 200), rng.normal(5, 2, 200), rng.uniform(0, 3, 200)
    theirs = {
        "rmse": sk.root_mean_squared_error,
        "mae": sk.mean_absolute_error,
        "mape": sk.mean_absolute_percentage_error,
        "r2": sk.r2_score,
    }[metric](y, guess, sample_weight=weight)
    ours = metrics.score(metric, of_numbers(y, guess, weight))
    assert abs(ours) == pytest.approx(abs(theirs), rel=1e-9)


def test_the_stored_score_of_a_weighted_job_is_weighted(bench: Bench) -> None:
    """The held-out rmse is scikit-learn's with the rows' own weights."""
    frame = _frame()
    created = _trained(bench, data="weight: count", frame=frame)
    result = created.run(created.job("hist_gradient_boosting", upload="weightedscore"))
    rows = pd.read_parquet(Path(result.bundle_uri).parent / "evaluation" / "heldout.parquet")
    stored = pd.read_parquet(io.BytesIO(created.store.get(created.manifest.parts[0].uri).body))
    weight = rows[ROW_HASH].map(dict(zip(stored[ROW_HASH], stored["count"], strict=True)))
    expected = sk.root_mean_squared_error(rows["label"], rows["predicted"], sample_weight=weight)
    assert result.metrics["rmse"] == pytest.approx(expected, rel=1e-9)
    assert result.metrics["rmse"] != pytest.approx(sk.root_mean_squared_error(rows["label"], rows["predicted"]))


def test_class_weights_count_in_fits_and_not_in_scores(bench: Bench, tmp_path: Path) -> None:
    """`balanced` gives every class the same sum of weights; a weight for one class leaves the other at 1."""
    data = _load(bench, tmp_path, task="classification", training="class_weights: balanced")
    fit = data.fit_weights(data.train)
    assert fit is not None
    sums = np.bincount(data.train.y, weights=fit)
    assert sums[0] == pytest.approx(sums[1])
    assert data.train.weight is None
    named = _load(bench, tmp_path, task="classification", training='class_weights: {"yes": 3}')
    assert named.class_weights is not None
    assert dict(zip(named.classes, named.class_weights, strict=True)) == {"no": 1.0, "yes": 3.0}


@pytest.mark.parametrize(
    ("model", "task"),
    [
        pytest.param("xgboost", "regression", marks=pytest.mark.campaign),
        pytest.param("hist_gradient_boosting", "classification", marks=pytest.mark.campaign),
        pytest.param("random_forest", "regression", marks=pytest.mark.campaign),
        ("xgboost", "classification"),
        pytest.param("hist_gradient_boosting", "regression", marks=pytest.mark.campaign),
        pytest.param("random_forest", "classification", marks=pytest.mark.campaign),
    ],
)
def test_10000_probes_of_the_served_bundle_never_move_the_wrong_way(bench: Bench, model: str, task: str) -> None:
    """Predictions (the probability of the positive class `yes`) rise with x and fall with z, whatever the other columns hold."""
    ways = "increasing, z: decreasing" if task == "regression" else "decreasing, z: increasing"
    positive = "" if task == "regression" else '\n  positive_class: "yes"'
    predictor, manifest, _ = _served(bench, model, task=task, data=f"monotone: {{x: {ways}}}{positive}")
    rng = np.random.default_rng(4)
    breaks = moved = 0
    for column, falls in (("x", task != "regression"), ("z", task == "regression")):
        for _ in range(5):
            rows = [
                {
                    "x": float(rng.normal()),
                    "z": int(rng.integers(0, 30)),
                    "area": str(rng.choice(["a", "b", "c"])),
                    "count": 3.0,
                }
                for _ in range(1000)
            ]
            if column == "x":
                later = [{**r, "x": r["x"] + float(rng.exponential())} for r in rows]
            else:
                later = [{**r, "z": r["z"] + int(rng.integers(1, 9))} for r in rows]
            before, after = (predictor.predict(some).probabilities for some in (rows, later))
            at = manifest.classes.index("yes") if manifest.classes else 0
            change = (before - after if falls else after - before)[:, at]
            breaks += int((change < 0).sum())
            moved += int((change > 0).sum())
    assert breaks == 0
    assert moved > 1000


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"data": "weight: gone"}, "weight_column"),
        ({"data": "weight: x"}, "weight_invalid"),
        ({"data": "monotone: {area: increasing}"}, "monotone_column"),
        ({"task": "classification", "training": "class_weights: {maybe: 2}"}, "class_weights"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    bench: Bench, tmp_path: Path, given: dict[str, Any], code: str
) -> None:
    """Columns and classes that are not there, negative weights, a direction for texts."""
    with pytest.raises(JobFailed) as error:
        _load(bench, tmp_path, **given)
    assert error.value.code == code


def test_a_model_that_cannot_hold_a_direction_says_which_can(bench: Bench) -> None:
    """Ridge regression is no model for data.monotone."""
    created = _trained(bench, data="monotone: {x: increasing}")
    with pytest.raises(SettingsError) as error:
        created.run(created.job("ridge", upload="monotoneridge"))
    assert error.value.code == "monotone_model"
    assert "xgboost" in error.value.fix


def test_rows_without_a_weight_are_left_out_and_counted(bench: Bench, tmp_path: Path) -> None:
    """A weight of 0 says that a row does not count."""
    frame = _frame()
    frame.loc[:9, "count"] = np.nan
    frame.loc[10:14, "count"] = 0.0
    data = _load(bench, tmp_path, data="weight: count", frame=frame)
    assert data.unweighted == 15
    assert len(data.train) + len(data.heldout) == 685
