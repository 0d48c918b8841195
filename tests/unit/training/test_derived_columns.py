"""Columns that models compute from dates, categories and texts: the served bundle gives the numbers that training gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.config.settings import load
from dropforge.datasets.table_schema import Column
from dropforge.inference import column_predictor as batch
from dropforge.inference.bundle_manifest import BundleManifest, Derived
from dropforge.inference.derived_columns import of_dates, phrases
from dropforge.inference.predictor import Predictor, open_graph
from dropforge_training.data import training_table
from dropforge_training.export import onnx_graph
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.preprocessing.derived_columns import columns
from dropforge_training.search import validation_folds

Bench = Callable[..., Any]
KINDS = {
    "pickup": "datetime",
    "dropoff": "datetime",
    "zone": "category",
    "remark": "text",
    "member": "boolean",
    "fare": "number",
    "tip": "category",
}
MODEL = "dropforge_training.models.xgboost:XGBoost"
SETTINGS = """
project: trips
data: {{target: {target}, task: {task}, ignore: [{other}], missing_markers: ["?"]}}
training: {{target_transform: none{training}}}
models:
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
    search: {{learning_rate: 0.3, max_depth: 4}}
    budget: {{trials: 1, seconds: 60}}
  - name: ridge
    class: dropforge_training.models.ridge_regression:RidgeRegression
    budget: {{trials: 1, seconds: 60}}
"""


def _frame(rows: int = 900) -> pd.DataFrame:
    """Trips whose fare depends on their hour, their length, their zone of 150, and a word of the remark; cells are missing."""
    rng = np.random.default_rng(8)
    pickup = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 400 * 86_400, rows), unit="s")
    minutes = rng.exponential(15, rows)
    zone = rng.integers(0, 150, rows)
    words = np.array(["airport", "station", "hotel", "museum", "home", "harbour"], dtype=object)
    remark = ["please go to " + " ".join(rng.choice(words, 3)) + f" {i}" for i in range(rows)]
    night = (pickup.hour >= 22) | (pickup.hour < 5)
    airport = np.array(["airport" in r for r in remark])
    fare = 3 + minutes + 8 * night + zone / 10 + 9 * airport + rng.normal(0, 1, rows)
    frame = pd.DataFrame(
        {
            "pickup": pickup,
            "dropoff": pickup + pd.to_timedelta(minutes * 60, unit="s").round("s"),
            "zone": [f"zone {z}" for z in zone],
            "remark": remark,
            "member": pd.array(rng.random(rows) < 0.5, dtype="boolean"),
            "fare": fare,
            "tip": np.where(fare > np.median(fare), "yes", "no").astype(object),
        }
    )
    for column in ("pickup", "dropoff", "zone", "remark", "member"):
        frame.loc[rng.random(rows) < 0.05, column] = None
    return frame


def _bench(bench: Bench, task: str = "regression", training: str = "") -> Any:
    target, other = ("fare", "tip") if task == "regression" else ("tip", "fare")
    text = SETTINGS.format(target=target, other=other, task=task, training=training)
    return bench(frame=_frame(), kinds=KINDS, target=target, text=text)


_DONE: dict[tuple[str, str], tuple[Predictor, BundleManifest, Any, str]] = {}


def _served(bench: Bench, model: str, task: str) -> tuple[Predictor, BundleManifest, Any, str]:
    if (model, task) not in _DONE:
        created = _bench(bench, task)
        result = created.run(created.job(model, upload=f"derived{model}{task[:5]}"))
        folder = Path(result.bundle_uri)
        manifest = BundleManifest.from_json((folder / "manifest.json").read_bytes())
        predictor = open_graph(manifest, (folder / "model.onnx").read_bytes())
        _DONE[model, task] = predictor, manifest, result, created.tracking_uri
    return _DONE[model, task]


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("xgboost", "regression"),
        pytest.param("ridge", "regression", marks=pytest.mark.campaign),
        pytest.param("xgboost", "classification", marks=pytest.mark.campaign),
    ],
)
def test_the_graph_gets_what_the_pipeline_computed(bench: Bench, model: str, task: str) -> None:
    """Dates with hours, missing cells, unknown zones, odd texts: the same float32 numbers, not one bit off, and the same answers."""
    import mlflow

    predictor, manifest, result, tracking = _served(bench, model, task)
    x = _frame().drop(columns=["fare", "tip"]).iloc[:200].copy()
    x.loc[x.index[:5], "zone"] = "zone never seen"
    x.loc[x.index[5:10], "zone"] = "?"
    x.loc[x.index[10:15], "remark"] = ["AIRPORT, please!", "airport", "to the  hotel\tairport", "", "Hotel-Museum"]
    records = onnx_graph.records(x)
    mlflow.set_tracking_uri(tracking)
    logged = mlflow.sklearn.load_model(result.model_source)
    clean = logged.pipeline.steps[0][1].transform(x)
    names = [d.name for d in manifest.derived]
    assert len(names) > 20
    numbers = next(i for i in manifest.inputs if i.dtype == "float32")
    one = predictor.predict(records).feeds[numbers.name]
    many = batch.feeds(predictor, {c: np.array([r[c] for r in records], dtype=object) for c in x.columns})[numbers.name]
    expected = clean[list(numbers.features)].to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(many, expected)


def test_each_kind_of_column_is_there_and_used(bench: Bench) -> None:
    """Hours, weekdays, days between the two dates, the mean by zone, words; the model is far better than without them."""
    _, manifest, result, _ = _served(bench, "xgboost", "regression")
    names = {d.name for d in manifest.derived}
    assert {
        "pickup (hour)",
        "pickup (weekday)",
        "pickup (month)",
        "days from pickup to dropoff",
        "zone (target mean)",
    } <= names
    assert "remark: airport" in names
    assert sum(d.part == "phrase" for d in manifest.derived) <= 50
    assert len({f.name for f in manifest.features} & names) == 0
    created = _bench(bench, training=", derived_columns: false, phrases: 0")
    without = created.run(created.job("xgboost", upload="withoutderived"))
    assert result.metrics["rmse"] < 0.7 * without.metrics["rmse"]


@pytest.mark.parametrize(("zones", "with_means"), [(25, True), (10, False)])
def test_categories_of_twenty_values_and_more_have_target_means(
    bench: Bench, tmp_path: Path, zones: int, with_means: bool
) -> None:
    """Fewer values are told apart by a column each as well."""
    frame = _frame()
    frame["zone"] = [f"zone {number % zones}" for number in range(len(frame))]
    text = SETTINGS.format(target="fare", other="tip", task="regression", training="")
    created = bench(frame=frame, kinds=KINDS, target="fare", text=text)
    data = training_table.load(created.store, created.manifest, created.settings, tmp_path)
    assert ("zone (target mean)" in {d.name for d in data.derived}) == with_means


def test_a_training_rows_own_target_is_not_in_its_feature(bench: Bench, tmp_path: Path) -> None:
    """Target means are out of fold in every fit: of a column of chance they do not predict the rows they were learned from."""
    frame = _frame()
    rng = np.random.default_rng(1)
    frame["zone"] = [f"zone {z}" for z in rng.integers(0, 300, len(frame))]
    created = bench(
        frame=frame,
        kinds=KINDS,
        target="fare",
        text=SETTINGS.format(target="fare", other="tip", task="regression", training=""),
    )
    data = training_table.load(created.store, created.manifest, created.settings, tmp_path)
    cleaner = validation_folds.cleaner_for(XGBoost(), data, {})
    learned = cleaner.fit_transform(data.train.x, data.train.y)["zone (target mean)"]
    served = cleaner.transform(data.train.x)["zone (target mean)"]
    assert abs(np.corrcoef(learned, data.train.y)[0, 1]) < 0.15
    assert np.corrcoef(served, data.train.y)[0, 1] > 0.3


def test_rare_zones_with_a_mean_are_no_unseen_categories(bench: Bench) -> None:
    """No warning for a category beyond the hundred that have columns; one for a category that training never saw."""
    predictor, manifest, _, _ = _served(bench, "xgboost", "regression")
    zone = next(f for f in manifest.features if f.name == "zone")
    means = next(d for d in manifest.derived if d.part == "target_mean").means
    rare = next(z for z in means if z not in zone.categories and z != manifest.missing_token)
    row = {**manifest.example, "zone": rare}
    assert not [w for w in predictor.predict([row]).warnings if w["code"] == "unseen_category"]
    unseen = predictor.predict([{**row, "zone": "zone never seen"}]).warnings
    assert [w["field"] for w in unseen if w["code"] == "unseen_category"] == ["zone"]


@pytest.mark.parametrize(
    ("part", "moment", "expected"),
    [
        ("hour", "1970-01-01T00:00:00", 0.0),
        ("hour", "2024-02-29T18:45:00", 18.75),
        ("weekday", "2024-02-26T23:59:59", 0.0),
        ("weekday", "1969-12-28T12:00:00", 6.0),
        ("month", "2024-12-31T23:59:59", 12.0),
        ("month", "1969-11-30T00:00:00", 11.0),
        ("day_of_year", "2024-12-31T00:00:00", 366.0),
        ("day_of_year", "1960-03-01T00:00:00", 61.0),
    ],
)
def test_parts_of_dates_are_those_of_the_calendar(part: str, moment: str, expected: float) -> None:
    """Before 1970, in leap years, at midnight and a second before it."""
    days = np.array([np.datetime64(moment, "us").astype(np.int64) / 1e6 / 86_400, np.nan])
    result = of_dates(Derived("d", part, ("d",)), {"d": days})
    assert result[0] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(result[1])


def test_a_sentence_nobody_has_written_before_is_no_unseen_category(bench: Bench) -> None:
    """A model has its words; a sentence is a category only where many rows have it."""
    predictor, manifest, _, _ = _served(bench, "xgboost", "regression")
    assert next(f for f in manifest.features if f.name == "remark").categories == ()
    answer = predictor.predict([{**manifest.example, "remark": "to the airport, for the first time"}])
    assert not [w for w in answer.warnings if w["field"] == "remark"]


@pytest.mark.parametrize("number", [True, False])
def test_words_that_tell_the_target_are_chosen_before_frequent_ones(number: bool) -> None:
    """Of a budget of two columns the word that decides gets one, though ten words are more frequent."""
    rng = np.random.default_rng(4)
    often = [f"word{i}" for i in range(10)]
    decides = rng.random(400) < 0.1
    texts = [" ".join([*rng.choice(often, 5, replace=False), *(["refund"] if d else [])]) for d in decides]
    table = pd.DataFrame({"text": [f"{t} {i}" for i, t in enumerate(texts)]})
    y = decides * 3.0 + rng.normal(0, 0.1, 400) if number else decides.astype(np.int64)
    settings = load(
        f"project: words\ndata: {{target: y}}\ntraining: {{phrases: 2}}\nmodels: [{{name: m, class: {MODEL}}}]\n"
    )
    made = columns(table, y, [Column(name="text", kind="text")], settings, two_classes=True)
    assert "refund" in {d.phrase for d in made}
    assert len(made) == 2


def test_phrases_are_words_and_pairs() -> None:
    """Small letters, two letters and more, as scikit-learn's CountVectorizer cuts them."""
    assert phrases("Go to A B, the Hôtel!") == {"go", "to", "the", "hôtel", "go to", "to the", "the hôtel"}
