"""A number to estimate, from the table to the bundle: what is served is what was trained, and intervals hold what they promise."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from sklearn import metrics as sk

from dropforge.config import settings as settings_module
from dropforge.datasets.table_schema import ROW_HASH
from dropforge.deployment.active_model import Active
from dropforge.errors import InvalidRequest, JobFailed, SettingsError
from dropforge.inference.bundle_manifest import BundleManifest, Regression
from dropforge.inference.explanation import EXPLAIN_FILE
from dropforge.inference.explanation import load as load_explainer
from dropforge.inference.prediction_intervals import interval
from dropforge.inference.predictor import Predictor, open_graph
from dropforge.metrics.weighted_rows import of_numbers
from dropforge.serving.query_options import Options
from dropforge.serving.response import answer
from dropforge_training.card import regression_page
from dropforge_training.data import training_table
from dropforge_training.evaluate import metrics
from dropforge_training.evaluate.held_out import evaluate_numbers
from dropforge_training.export import onnx_graph
from dropforge_training.fit import prediction_intervals
from dropforge_training.fit.target_transform import with_transform
from dropforge_training.models.ridge_regression import RidgeRegression

from .conftest import parquet

Bench = Callable[..., Any]
MODELS = (
    pytest.param("random_forest", marks=pytest.mark.campaign),
    "xgboost",
    "hist_gradient_boosting",
    "ridge",
    "tree_ensemble",
)
KINDS = {
    "size-cm": "number",
    "visits": "integer",
    "colour": "category",
    "active": "boolean",
    "since": "datetime",
    "note": "text",
    "price": "number",
}
SETTINGS = """
project: little-prices
data:
  target: price
  task: regression
models:
  - name: random_forest
    class: dropforge_training.models.random_forest:RandomForest
    search: {n_estimators: 30}
    budget: {trials: 1, seconds: 60}
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
    search: {learning_rate: 0.3}
    budget: {trials: 1, seconds: 60}
    bag: 2
  - name: hist_gradient_boosting
    class: dropforge_training.models.hist_gradient_boosting:HistGradientBoosting
    search: {learning_rate: 0.3}
    budget: {trials: 1, seconds: 60}
  - name: ridge
    class: dropforge_training.models.ridge_regression:RidgeRegression
    budget: {trials: 1, seconds: 60}
  - name: tree_ensemble
    class: dropforge_training.models.tree_ensemble:TreeEnsemble
    search: {learning_rate: 0.3}
    budget: {trials: 3, seconds: 60}
    bag: 3
training:
  target_transform: log1p
serving:
  prediction: {minimum: 0}
"""


def _prices(table: Callable[..., pd.DataFrame], rows: int = 900) -> pd.DataFrame:
    """Skewed positive amounts that depend on three columns and are less certain where `visits` is large."""
    frame = table(rows, ("a", "b")).drop(columns="label")
    rng = np.random.default_rng(5)
    visits = frame["visits"].fillna(4).astype(float)
    signal = 4 + (frame["size-cm"].fillna(170) - 170) / 24 + 0.2 * visits + 0.5 * (frame["colour"] == "red")
    frame["price"] = np.exp(signal + rng.normal(0, 0.05 + 0.05 * visits))
    return frame


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """As read from Parquet: no nullable types of pandas."""
    return pd.read_parquet(io.BytesIO(parquet(frame))).drop(columns=["price", ROW_HASH])


@dataclass(frozen=True)
class Trained:
    """A finished job: its result, its bundle opened as the API opens it, the rows it was trained on and held out."""

    result: Any
    manifest: BundleManifest
    predictor: Predictor
    frame: pd.DataFrame
    tracking_uri: str

    @property
    def folder(self) -> Path:
        return Path(self.result.bundle_uri)


_DONE: dict[str, Trained] = {}


@pytest.fixture
def trained(bench: Bench, table: Callable[..., pd.DataFrame]) -> Callable[[str], Trained]:
    """Trains a model on prices once for the whole module."""

    def get(model: str) -> Trained:
        if model not in _DONE:
            frame = _prices(table)
            created = bench(frame=frame, kinds=KINDS, target="price", text=SETTINGS)
            result = created.run(created.job(model, upload=f"regression{model}"))
            folder = Path(result.bundle_uri)
            body = (folder / "manifest.json").read_bytes()
            assert hashlib.sha256(body).hexdigest() == result.bundle_sha256
            manifest = BundleManifest.from_json(body)
            predictor = open_graph(manifest, (folder / "model.onnx").read_bytes(), (folder / "width.onnx").read_bytes)
            _DONE[model] = Trained(result, manifest, predictor, frame, created.tracking_uri)
        return _DONE[model]

    return get


@pytest.mark.parametrize("model", MODELS)
def test_the_bundle_predicts_what_the_logged_pipeline_predicts(trained: Callable[[str], Trained], model: str) -> None:
    """Numbers in units of the target, missing cells and all, within 1e-5 of the larger of the number and the spread."""
    import mlflow

    done = trained(model)
    rows = _plain(done.frame).iloc[:80]
    served = np.array(done.predictor.predict(onnx_graph.records(rows)).labels)
    mlflow.set_tracking_uri(done.tracking_uri)
    expected = mlflow.pyfunc.load_model(done.result.model_source).predict(rows.astype({"visits": "float64"}))
    spread = done.frame["price"].std()
    assert (np.abs(served - expected) / np.maximum(np.abs(expected), spread)).max() <= 1e-5
    assert done.manifest.task == "regression"
    assert done.manifest.classes == ()
    assert (served >= 0).all()


def test_the_graph_predicts_differences_from_the_mean(trained: Callable[[str], Trained]) -> None:
    """In float32 the digits of a large mean would be lost to them; the mean is added in float64."""
    done = trained("xgboost")
    result = done.predictor.predict(onnx_graph.records(_plain(done.frame).iloc[:200]))
    rule = done.manifest.regression
    assert rule is not None
    assert rule.center == pytest.approx(np.log1p(done.frame["price"]).mean(), abs=0.1)
    assert abs(done.predictor.raw_run(result.feeds).mean()) < 0.2


@pytest.mark.parametrize("model", MODELS)
def test_it_learns_and_its_metrics_are_those_of_scikit_learn(trained: Callable[[str], Trained], model: str) -> None:
    """The held-out metrics are recomputed from the stored predictions."""
    done = trained(model)
    rows = pd.read_parquet(done.folder.parent / "evaluation" / "heldout.parquet")
    assert done.result.metrics["r2"] > 0.4
    assert done.result.metrics["rmse"] == pytest.approx(sk.root_mean_squared_error(rows["label"], rows["predicted"]))
    assert done.result.metrics["mae"] == pytest.approx(sk.mean_absolute_error(rows["label"], rows["predicted"]))
    assert done.result.metrics["r2"] == pytest.approx(sk.r2_score(rows["label"], rows["predicted"]))


def test_the_transform_and_the_range_stand_in_the_manifest(trained: Callable[[str], Trained]) -> None:
    """As settings.yaml has them."""
    rule = trained("xgboost").manifest.regression
    assert rule is not None
    assert (rule.transform, rule.minimum, rule.maximum) == ("log1p", 0, None)


@pytest.mark.parametrize(("spread", "wanted"), [(1.5, "log1p"), (0.0, "")], ids=["multiplicative", "additive"])
def test_the_logarithm_is_taken_only_where_it_scores_better(
    snapshot: Callable[..., Any], tmp_path: Path, spread: float, wanted: str
) -> None:
    """Amounts that multiply over some orders of magnitude by mean absolute error; a symmetric target never."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"a": rng.normal(size=1500), "b": rng.normal(size=1500)})
    noise = rng.normal(0, 0.3, 1500)
    frame["price"] = np.exp(spread * (frame["a"] + frame["b"]) + noise) if spread else frame["a"] * 2 + noise
    kinds = {"a": "number", "b": "number", "price": "number"}
    store, manifest = snapshot(frame, kinds=kinds, target="price")
    text = SETTINGS.replace("target_transform: log1p", "target_transform: auto\n  metric: mae")
    settings = settings_module.load(text)
    loaded = training_table.load(store, manifest, settings, tmp_path)
    assert with_transform(loaded, settings.training).transform == wanted


@pytest.mark.parametrize(("metric", "wanted"), [("rmse", True), ("mae", False)])
def test_members_for_the_mean_are_offered_where_they_score_better(
    snapshot: Callable[..., Any], tmp_path: Path, metric: str, wanted: bool
) -> None:
    """Squared errors of counts ask for their mean, absolute ones of amounts for their median, which logarithms give."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"a": rng.normal(size=3000), "b": rng.normal(size=3000)})
    mean = np.exp(1.0 + 0.6 * (frame["a"] + frame["b"]))
    frame["price"] = rng.poisson(mean).astype(float) if metric == "rmse" else mean * np.exp(rng.normal(0, 0.9, 3000))
    store, manifest = snapshot(frame, kinds={"a": "number", "b": "number", "price": "number"}, target="price")
    settings = settings_module.load(
        SETTINGS.replace("target_transform: log1p", f"target_transform: log1p\n  metric: {metric}")
    )
    loaded = training_table.load(store, manifest, settings, tmp_path)
    assert with_transform(loaded, settings.training).of_the_mean is wanted


def test_intervals_are_wider_where_the_target_is_less_certain(trained: Callable[[str], Trained]) -> None:
    """Of rows that differ in `visits` alone, the one with more visits has the wider interval, relative to its prediction."""
    done = trained("xgboost")
    row = onnx_graph.records(_plain(done.frame).iloc[:1])[0] | {"size-cm": 170.0, "colour": "red"}
    rows = [row | {"visits": v} for v in (1, 9)]
    result = done.predictor.predict(rows)
    low, high = done.predictor.intervals(result.feeds, 0.9)
    relative = (high - low) / np.array(result.labels)
    assert relative[1] > relative[0]
    assert (low <= np.array(result.labels)).all()
    assert (np.array(result.labels) <= high).all()


def test_intervals_cover_new_rows_as_often_as_promised(
    trained: Callable[[str], Trained], table: Callable[..., pd.DataFrame]
) -> None:
    """On 3,000 rows nobody trained on, within what one draw of some 180 calibration rows varies by."""
    done = trained("hist_gradient_boosting")
    fresh = _prices(lambda rows, classes: table(rows, classes, 99), 3000)
    result = done.predictor.predict(onnx_graph.records(_plain(fresh)))
    low, high = done.predictor.intervals(result.feeds, 0.9)
    covered = ((fresh["price"] >= low) & (fresh["price"] <= high)).mean()
    assert 0.84 <= covered <= 0.96


def test_intervals_are_calibrated_about_what_is_served() -> None:
    """A center that was moved after the fits moves the interval with the number, so that as many rows are covered."""
    rule = Regression("log1p", 2.5)
    output = np.linspace(-1, 1, 21)
    served = np.expm1(output + 2.5)
    assert prediction_intervals.residuals(rule, served, output) == pytest.approx(np.zeros(21), abs=1e-12)


@pytest.mark.parametrize(("noise", "wanted"), [("added", ""), ("multiplied", None)])
def test_intervals_are_on_the_scale_that_scores_better(noise: str, wanted: str | None) -> None:
    """Of a model of logarithms they are numbers up and down where errors do not grow with the number, else factors; either way
    nine of ten new rows lie inside."""
    rng = np.random.default_rng(4)
    truth, error = np.exp(rng.uniform(2, 6, 6000)), rng.normal(0, 1, 6000)
    x = rng.normal(size=(6000, 1))  # widths cannot be predicted from it
    y = np.maximum(truth + 3 * error if noise == "added" else truth * np.exp(0.4 * error), 0)
    output = np.log1p(truth) - 3.0
    rule = prediction_intervals.chosen_scale(Regression("log1p", 3.0), x[:2000], y[:2000], output[:2000], seed=1)
    assert rule.interval_transform == wanted
    one, new = np.ones(2000), slice(4000, 6000)
    known = prediction_intervals.residuals(rule, y[2000:4000], output[2000:4000])
    low, high = interval(rule, output[new], one, prediction_intervals.limits(known, one)["0.9"])
    assert ((y[new] >= low) & (y[new] <= high)).mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("model", MODELS)
def test_explanations_add_up_to_the_prediction(trained: Callable[[str], Trained], model: str) -> None:
    """base + Σ contributions is the number, before the inverse transform."""
    done = trained(model)
    explainer = load_explainer((done.folder / EXPLAIN_FILE).read_bytes(), done.manifest)
    result = done.predictor.predict(onnx_graph.records(_plain(done.frame).iloc[:20]))
    created = explainer.explain(result.feeds, result.labels)
    output = np.log1p(result.probabilities[:, 0])
    assert np.allclose(created.base + created.contributions.sum(axis=1), output, rtol=1e-4, atol=1e-4)
    assert created.space == "log1p"


def test_the_card_shows_residuals_and_intervals(trained: Callable[[str], Trained]) -> None:
    """JSON and HTML: observed against predicted, residuals, coverage half against half, importance."""
    folder = trained("xgboost").folder.parent
    document = json.loads((folder / "model_card.json").read_text())
    page = (folder / "model_card.html").read_text()
    assert document["task"] == "regression"
    assert {c["coverage"] for c in document["conformal"]} >= {0.8, 0.9}
    assert "Prediction intervals" in page
    assert "Predicted and observed" in page
    assert document["importance"]["columns"][0]["column"] in {"size-cm", "visits", "colour"}


def test_limits_are_the_order_statistics_of_split_conformal_prediction() -> None:
    """Of 99 residuals the 95th and 98th smallest; a coverage that 19 rows cannot show is left out."""
    residuals = np.arange(-49.0, 50.0)
    result = prediction_intervals.limits(residuals, np.ones(99))
    assert result["0.9"] == (46.0 - 1, 46.0 - 1)
    assert "0.95" not in prediction_intervals.limits(residuals[:19], np.ones(19))


def test_a_draws_weights_are_repeated_rows() -> None:
    """Every metric of a regression by weights equals scikit-learn's on the rows repeated so often."""
    rng = np.random.default_rng(3)
    y, predicted = rng.gamma(2, 10, 60), rng.gamma(2, 10, 60)
    weights = rng.integers(0, 4, 60)
    again = np.repeat(np.arange(60), weights)
    rows = of_numbers(y, predicted)
    oracle = {
        "rmse": -sk.root_mean_squared_error(y[again], predicted[again]),
        "mae": -sk.mean_absolute_error(y[again], predicted[again]),
        "mape": -sk.mean_absolute_percentage_error(y[again], predicted[again]),
        "r2": sk.r2_score(y[again], predicted[again]),
    }
    assert {m: metrics.score(m, rows, weights.astype(float)) for m in metrics.tuned("regression")} == pytest.approx(
        oracle
    )
    assert evaluate_numbers(y, predicted)["rows"] == 60


def test_a_regression_of_one_value_is_refused(bench: Bench, table: Callable[..., pd.DataFrame]) -> None:
    """With the column and what to do."""
    created = bench(frame=_prices(table, 100).assign(price=3.0), kinds=KINDS, target="price", text=SETTINGS)
    with pytest.raises(JobFailed, match="is 3 in every row"):
        created.run(created.job("ridge", upload="onevalue"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: regression\n  positive_class: x", "no positive_class"),
        ("task: regression\ntraining: {metric: roc_auc}", "not of a regression"),
        ("task: classification\ntraining: {metric: rmse}", "not of a classification"),
    ],
)
def test_settings_that_contradict_the_task_are_refused(text: str, message: str) -> None:
    """By key, with the metrics there are."""
    given = f"project: p1\ndata:\n  target: price\n  {text}\nmodels: [{{name: m, class: 'a:B'}}]\n"
    with pytest.raises(SettingsError, match=message):
        settings_module.load(given)


def test_a_regression_is_tuned_and_compared_by_rmse_unless_set() -> None:
    """The default metric follows the task."""
    result = settings_module.load(SETTINGS)
    assert (result.training.metric, result.promotion.metric) == ("rmse", "rmse")


def test_a_model_of_classes_alone_is_refused(bench: Bench, table: Callable[..., pd.DataFrame]) -> None:
    """The error names models that know regression."""
    text = SETTINGS.replace("ridge_regression:RidgeRegression", "logistic_regression:LogisticRegression")
    created = bench(frame=_prices(table, 100), kinds=KINDS, target="price", text=text)
    with pytest.raises(SettingsError, match=r"data\.task is regression"):
        created.run(created.job("ridge", upload="wrongtask"))


def test_quantiles_are_the_ends_of_the_intervals(trained: Callable[[str], Trained]) -> None:
    """Each by itself, in order; the median, and quantiles that no coverage ends at, are refused with those that are stated."""
    done = trained("xgboost")
    rows = done.predictor.predict(onnx_graph.records(_plain(done.frame).iloc[:50]))
    low, high = done.predictor.intervals(rows.feeds, 0.8)
    np.testing.assert_array_equal(done.predictor.quantile(rows.feeds, 0.1), low)
    np.testing.assert_array_equal(done.predictor.quantile(rows.feeds, 0.9), high)
    assert (done.predictor.quantile(rows.feeds, 0.05) <= low).all()
    with pytest.raises(InvalidRequest, match=r"no quantile 0\.5") as error:
        done.predictor.quantile(rows.feeds, 0.5)
    assert "0.1, 0.25, 0.75, 0.9" in error.value.fix


@pytest.mark.parametrize("given", ["", "a", "0", "1", "0.1,", "0.1,1.5", ",".join(["0.1"] * 21)])
def test_quantiles_that_are_none_are_refused(given: str) -> None:
    """With an example."""
    with pytest.raises(InvalidRequest) as error:
        Options.read({"quantiles": given})
    assert error.value.code == "quantiles_invalid"
    assert Options.read({"quantiles": "0.1,0.9"}).quantiles == (0.1, 0.9)


def test_an_answer_carries_the_quantiles_asked_for(trained: Callable[[str], Trained]) -> None:
    """By name, beside the prediction."""
    done = trained("xgboost")
    result = done.predictor.predict([done.manifest.example])
    active = Active("m", "1", "Production", "r", "s3://a/b", "h")
    created = answer(active, done.predictor, result, Options(quantiles=(0.1, 0.9)), "id")
    [one] = created["predictions"]
    assert list(one["quantiles"]) == ["0.1", "0.9"]
    assert one["quantiles"]["0.1"] < one["quantiles"]["0.9"]


@pytest.mark.parametrize("coverage", prediction_intervals.COVERAGES)
def test_the_card_says_which_coverage_so_few_rows_cannot_show(coverage: str) -> None:
    """One row fewer than it says, and the bundle states no such interval."""
    needed = prediction_intervals.fewest_rows(float(coverage))
    rng = np.random.default_rng(1)
    for rows, stated in ((needed, True), (needed - 1, False)):
        result = prediction_intervals.limits(rng.normal(size=rows), np.ones(rows))
        assert (coverage in result) == stated
        words = regression_page._not_stated(rows)
        assert (f"{float(coverage):.0%} (needs {needed:,})" in words) != stated


@pytest.mark.parametrize("rounding", [1e-4, 3e-4, 1e-3])
def test_columns_equal_up_to_rounding_do_not_cancel_each_other(rounding: float) -> None:
    """The weakest penalty of the search keeps both coefficients small: a graph in float32 would not follow thousands."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=12_000)
    y = 60 * rng.normal(size=len(x))
    both = np.column_stack([x, x + rounding * rng.normal(size=len(x))]).astype(np.float32)
    trial = optuna.trial.FixedTrial({"alpha": 1.0})
    RidgeRegression().search_space(trial)  # type: ignore[arg-type] # answers as a trial does
    weakest = {"alpha": trial.distributions["alpha"].low}  # type: ignore[attr-defined] # of a float
    fitted = RidgeRegression().estimator(weakest, seed=0, jobs=1, classes=0).fit(both, y)
    assert np.abs(fitted.coef_).max() < 10


def test_an_error_in_percent_of_zero_is_not_shown_as_a_number() -> None:
    """One observed 0 makes the metric 10^15: the card says that it is not defined, and shows every other one."""
    assert regression_page._score_texts("mape", 6.2e15, (1e15, 9e15)) == ("not defined: an observed value is 0", "")
    assert regression_page._score_texts("mape", 0.25, (0.2, 0.3))[0] == "0.2500"
    assert regression_page._score_texts("rmse", 6.2e15, None)[0] == "6,200,000,000,000,000"
