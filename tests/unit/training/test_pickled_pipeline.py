"""`serve: python`: a model with code of the user's own, trained, proven and run from its bundle."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge_local.memory import MemoryStore
from dropforge_local.memory_function import MemoryFunction
from dropforge_training.export import parity, pickled_pipeline
from dropforge_training.preprocessing.cleaner import LabelledPipeline

OWN = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import make_pipeline
from dropforge_training.models.model_spec import ModelSpec
from dropforge_training.preprocessing.cleaner import TableCleaner

SCALE = 3.0


def scaled(values):
    return np.nan_to_num(values) / SCALE


class Scaled(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        self.fitted_ = True
        return self

    def transform(self, x):
        return scaled(x)

    def get_feature_names_out(self, names=None):
        return names


class NoteNumbers(TableCleaner):
    '''The number in a note, and the month of a date, which no rule of settings.yaml makes.'''

    def transform(self, x):
        clean = super().transform(x)
        notes = x["note"].map(lambda t: float(t.split()[1]) if isinstance(t, str) and " " in t else np.nan)
        clean["visits"] = clean["visits"] + notes.to_numpy(dtype=np.float32) % 5 + x["since"].dt.month.to_numpy() % 2
        return clean


class OwnTrees(ModelSpec):
    def search_space(self, trial):
        return {"n_estimators": trial.suggest_int("n_estimators", 20, 20)}

    def estimator(self, params, *, seed, jobs, classes):
        return ExtraTreesClassifier(**params, random_state=seed, n_jobs=1)

    def number_step(self):
        return make_pipeline(Scaled())


class OwnCleaner(OwnTrees):
    def cleaner(self, numbers, categories, markers, steps):
        return NoteNumbers(numbers, categories, markers, steps=steps)


class Touchy(NoteNumbers):
    def transform(self, x):
        if (x["colour"] == "black").any():
            raise LookupError("no black")
        return super().transform(x)


class TouchyTrees(OwnTrees):
    def cleaner(self, numbers, categories, markers, steps):
        return Touchy(numbers, categories, markers, steps=steps)
"""
ENTRIES = "".join(
    f"""
  - name: {name}
    class: models.own:{cls}
    serve: python
    budget: {{trials: 1, seconds: 60}}
"""
    for name, cls in (("own_trees", "OwnTrees"), ("own_cleaned", "OwnCleaner"), ("touchy", "TouchyTrees"))
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with `models/own.py` on the path, as the worker has it."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "models"]:
        del sys.modules[name]


def _bundle(folder: str) -> tuple[BundleManifest, bytes]:
    manifest = BundleManifest.from_json((Path(folder) / "manifest.json").read_bytes())
    return manifest, (Path(folder) / manifest.model_file).read_bytes()


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("own_cleaned", ("no", "yes")),
        ("own_trees", ("a", "b", "c")),
        pytest.param("own_cleaned", ("a", "b", "c"), marks=pytest.mark.campaign),
        pytest.param("own_trees", ("no", "yes"), marks=pytest.mark.campaign),
    ],
)
def test_code_of_ones_own_is_trained_and_proven(
    finished: Callable[..., Any], project: Path, name: str, classes: tuple[str, ...]
) -> None:
    """The bundle has a pickle and no graph; every held-out row, sent as a caller would, gives what the pipeline gives."""
    _, result = finished(name, classes, extra=ENTRIES)
    assert not (Path(result.bundle_uri) / "model.onnx").exists()
    manifest, body = _bundle(result.bundle_uri)
    assert manifest.python == pickled_pipeline.PythonModel(
        hashlib.sha256(body).hexdigest(), pickled_pipeline.versions()
    )
    assert manifest.parity["label_flips"] == 0
    assert manifest.parity["max_abs_difference"] <= 1e-9
    assert manifest.parity["rows"] == result.metrics["rows"]
    assert (manifest.calibration is None) or manifest.calibration.kind
    assert manifest.conformal
    assert {f.name: f.minimum is not None for f in manifest.features}["visits"]


def test_the_bundle_needs_no_folder_beside_it(finished: Callable[..., Any], project: Path) -> None:
    """Classes of one's own are in the pickle: a later change of the file, or its absence, changes no answer."""
    _, result = finished("own_cleaned", extra=ENTRIES)
    manifest, body = _bundle(result.bundle_uri)
    row = dict(manifest.example)
    before = pickled_pipeline.open_pickle(manifest, body).predict([row]).probabilities
    (project / "models" / "own.py").write_text("raise RuntimeError", encoding="utf-8")
    _forget()
    sys.path.remove(str(project))
    assert pickled_pipeline.open_pickle(manifest, body).predict([row]).probabilities.tolist() == before.tolist()
    assert not any(n.split(".")[0] == "models" for n in sys.modules)


def test_code_that_fails_on_a_row_is_told_to_the_caller(bench: Callable[..., Any], project: Path) -> None:
    """422 with the exception; the next row is answered."""
    created = bench(extra=ENTRIES)
    result = created.run(created.job("touchy", upload="python-touchy"))
    manifest, body = _bundle(result.bundle_uri)
    store = MemoryStore()
    store.put("s3://artifacts/b/manifest.json", manifest.to_json())
    store.put("s3://artifacts/b/pipeline.pkl", body)
    models = pickled_pipeline.PythonModels(store, "data", logging.getLogger("test"))
    predictor = pickled_pipeline.open_pickle(manifest, body)
    sha256 = hashlib.sha256(manifest.to_json()).hexdigest()
    active = Active("m", "1", "Production", manifest.run_id, "s3://artifacts/b", sha256)
    ModelRecords(store, "data").write(ModelRecord.of(active, serve="python", by="test"))
    ask = {k: getattr(active, k) for k in ("model", "version", "run_id", "bundle_uri", "bundle_sha256")}
    fed = {"numbers": [[170.0, 3.0, 1.0, 17_000.5]], "texts": [["black", "note 7"]]}
    assert [i.features for i in manifest.inputs] == [("size-cm", "visits", "active", "since"), ("colour", "note")]
    answer = models.answer({**ask, "feeds": fed})
    assert answer["error"]["kind"] == "InvalidRequest"
    assert "LookupError: no black" in answer["error"]["message"]
    with pytest.raises(InvalidRequest, match="no black") as failure:
        predictor.predict([{**manifest.example, "colour": "black"}])
    assert failure.value.status == 422
    answered = models.answer({**ask, "feeds": {**fed, "texts": [["red", None]]}})
    assert np.sum(answered["probabilities"]) == pytest.approx(1)


def test_a_model_that_python_serves_is_scored_beside_the_next(finished: Callable[..., Any], project: Path) -> None:
    """A later job compares itself with it on the same rows; over the same model the gain is 0."""
    created, first = finished("own_cleaned", extra=ENTRIES)
    for file in ("manifest.json", "pipeline.pkl"):
        created.store.put(f"s3://artifacts/first/{file}", (Path(first.bundle_uri) / file).read_bytes())
    active = Active("m", "1", "Production", first.run_id, "s3://artifacts/first", first.bundle_sha256)
    ActivePointer(created.store, "data").replace(active, "")
    ModelRecords(created.store, "data").write(ModelRecord.of(active, serve="python", by="test"))
    python = MemoryFunction(pickled_pipeline.PythonModels(created.store, "data", logging.getLogger("test")).answer)
    again = created.run(created.job("own_cleaned", upload="python-again"), python=lambda: python)
    assert python.calls > 1  # loaded and asked over there: a job's process opens no pickle
    document = json.loads(Path(again.comparison_uri).read_text())
    assert document["reason"] == ""
    assert document["slices"][0]["gain"] == pytest.approx(0, abs=1e-9)


def test_rows_that_only_training_could_read_are_a_failed_parity(finished: Callable[..., Any], project: Path) -> None:
    """A pipeline that depends on chance is not proven equal, and says so."""
    manifest, body = _bundle(finished("own_cleaned", extra=ENTRIES)[1].bundle_uri)
    model = pickled_pipeline.open_pickle(manifest, body)._session._model

    class Random(LabelledPipeline):
        def raw(self, x: pd.DataFrame) -> np.ndarray:
            return np.random.default_rng(len(x)).dirichlet([1, 1], len(x))

    other = Random(model.pipeline, list(model.classes_), model.threshold, model.positive)
    rows = pd.DataFrame([manifest.example] * 5).astype({"since": "datetime64[us]"})
    from dropforge.errors import JobFailed
    from dropforge_training.data.training_table import Table

    table = Table(rows, np.zeros(5, dtype=int), np.arange(5, dtype=np.uint64))
    with pytest.raises(JobFailed, match="differs from its pipeline") as failure:
        parity.check(other, manifest, body, table, logging.getLogger("test"))
    assert "chance" in failure.value.fix
