"""Every shipped model's bundle against its pipeline, on real tables: binary, multiclass, and one half empty."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.pipeline import Pipeline

from dropforge.config import settings as settings_module
from dropforge.errors import JobFailed
from dropforge.inference.bundle_manifest import BundleManifest, Calibration
from dropforge.inference.predictor import Prediction
from dropforge_training.data import training_table
from dropforge_training.data.training_table import Table
from dropforge_training.export import onnx_graph, parity
from dropforge_training.export.manifest_builder import ExportedModel, ManifestFacts, manifest_for
from dropforge_training.models import model_spec
from dropforge_training.preprocessing.cleaner import LabelledPipeline
from dropforge_training.search import validation_folds

from ...conftest import repeats

MODELS = {
    "random_forest": "RandomForest",
    "xgboost": "XGBoost",
    "logistic_regression": "LogisticRegression",
    "hist_gradient_boosting": "HistGradientBoosting",
    "tree_ensemble": "TreeEnsemble",
}
SETTINGS = 'project: parity\ndata: {target: label}\nmodels: [{name: m, class: "a.b:C"}]\n'
ROWS = repeats(1000, 3000)


ESTIMATORS = [*((m, 1) for m in MODELS), ("xgboost", 3), ("tree_ensemble", 4)]
IN_EVERY_RUN = {  # each estimator once, each table twice
    ("random_forest", 1, "wine"),
    ("xgboost", 1, "adult_half_empty"),
    ("logistic_regression", 1, "adult"),
    ("hist_gradient_boosting", 1, "adult_half_empty"),
    ("xgboost", 3, "wine"),
    ("tree_ensemble", 1, "adult"),
    ("tree_ensemble", 4, "adult"),
}
COMBINATIONS = [
    pytest.param(*c, marks=() if c in IN_EVERY_RUN else pytest.mark.campaign)
    for c in ((m, bag, t) for m, bag in ESTIMATORS for t in ("adult", "adult_half_empty", "wine"))
]


def _adult(lines: list[str], *, empty: float) -> pd.DataFrame:
    """The example's first rows; `empty`: share of cells taken out."""
    header, *body = [[cell.strip() for cell in line.split(",")] for line in lines[: ROWS + 1]]
    frame = pd.DataFrame(body, columns=header).rename(columns={"income": "label"}).replace("?", None)
    for column in ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"):
        frame[column] = pd.array(frame[column].astype(float), dtype="Int64")
    rng = np.random.default_rng(5)
    for column in frame.columns.drop("label"):
        frame.loc[rng.random(len(frame)) < empty, column] = None
    return frame


def _wine() -> pd.DataFrame:
    """Thirteen measurements of 178 wines of three growers, as scikit-learn ships them."""
    result = load_wine(as_frame=True)
    return result.data.assign(label=[f"grower {t}" for t in result.target])


@pytest.mark.repeated
@pytest.mark.parametrize(("model", "bag", "table"), COMBINATIONS)
def test_a_bundle_says_what_its_pipeline_says(
    snapshot: Callable[..., Any], adult_lines: list[str], tmp_path: Path, model: str, bag: int, table: str
) -> None:
    """On every held-out row, calibrated and not, a bag of estimators too: no probability differs by more than 1e-5 and no
    label flips.
    """
    frame = _wine() if table == "wine" else _adult(adult_lines, empty=0.5 if table == "adult_half_empty" else 0.0)
    kinds = {
        c: "number" if t.kind == "f" else "integer" if t.kind in "iu" else "category" for c, t in frame.dtypes.items()
    }
    settings = settings_module.load(SETTINGS)
    data = training_table.load(*snapshot(frame, kinds=kinds), settings, tmp_path)
    candidate = model_spec.load(f"dropforge_training.models.{model}:{MODELS[model]}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3)).ask()
    params = candidate.search_space(trial)
    cleaner = validation_folds.cleaner_for(candidate, data, data.markers(settings))
    clean = cleaner.fit(data.train.x).transform(data.train.x)
    preprocessor = candidate.preprocessor(cleaner)
    matrix = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
    parts = []
    for seed in range(1, bag + 1):
        given = params if bag == 1 else (candidate.portfolio() * bag)[seed - 1]
        if candidate.rounds:
            given = {**given, candidate.rounds: 60 // bag}
        part = candidate.estimator(given, seed=seed, jobs=1, classes=len(data.classes))
        parts.append(part.fit(matrix, data.train.y))
    estimator = candidate.blend(parts) if candidate.blends else parts[0]
    pipeline = Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])
    for calibration in (None, Calibration("sigmoid", 0.8, (0.0, *[0.2] * (len(data.classes) - 1)), 1e-4)):
        created = LabelledPipeline(pipeline, data.classes, 0.45, data.positive, calibration)
        onnx, output = onnx_graph.to_onnx(created.pipeline, len(cleaner.numbers), len(cleaner.categories))
        facts = ManifestFacts("parity", model, "r", "d", "label", 0.2, {}, {}, {})
        manifest = manifest_for(created, data, ExportedModel(onnx, output), facts)
        answer_text = parity.check(created, manifest, onnx, data.heldout, logging.getLogger("test")).figures
        assert answer_text["max_abs_difference"] <= parity.TOLERANCE
        assert (answer_text["label_flips"], answer_text["rows"]) == (0, len(data.heldout))


class _Says:
    """A pipeline, or a bundle's predictor, with the probabilities of `yes` that a test names."""

    def __init__(self, chance: list[float]) -> None:
        self.probabilities = np.column_stack([1 - np.array(chance), chance])

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        return self.probabilities[rows["place"]]

    def predict(self, records: list[dict[str, int]]) -> Prediction:
        probabilities = self.probabilities[[r["place"] for r in records]]
        return Prediction(["yes" if p >= 0.5 else "no" for p in probabilities[:, 1]], probabilities, [], {})


def _checked(monkeypatch: pytest.MonkeyPatch, pipeline: list[float], bundle: list[float]) -> dict[str, float]:
    monkeypatch.setattr(parity, "CHUNK", 2)
    monkeypatch.setattr(parity, "open_graph", lambda *_: _Says(bundle))
    model = LabelledPipeline(_Says(pipeline), ["no", "yes"], 0.5, "yes")
    manifest = BundleManifest("p", "m", "r", "d", "t", "y", (), (), "p", ("no", "yes"), "yes", 0.5, "0")
    rows = Table(
        pd.DataFrame({"place": range(len(pipeline))}), np.zeros(len(pipeline), dtype=int), np.arange(len(pipeline))
    )
    return parity.check(model, manifest, b"", rows, logging.getLogger("test")).figures


def test_a_label_at_the_threshold_may_turn_within_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tie of float32 rounding is no difference; a label that turns beyond the tolerance is."""
    output = _checked(monkeypatch, [0.5, 0.2, 0.9], [0.499995, 0.2, 0.9])
    assert output["label_flips"] == 0
    with pytest.raises(JobFailed, match="1 of 3 labels flip"):
        _checked(monkeypatch, [0.5001, 0.2, 0.9], [0.4999, 0.2, 0.9])


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_probability_that_is_no_number_never_passes(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """In whichever chunk it stands, and whatever the others are."""
    chance = [0.1, 0.2, 0.9]
    broken = [float("nan") if i == at else p for i, p in enumerate(chance)]
    with pytest.raises(JobFailed, match="differs from its pipeline"):
        _checked(monkeypatch, chance, broken)
