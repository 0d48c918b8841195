"""A model whose code no graph can hold, trained in a moment, and its bundle: for tests of what runs it."""

from __future__ import annotations

import hashlib
import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from dropforge.datasets.table_schema import Column
from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.ports import ObjectStore
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.export import parity, pickled_pipeline
from dropforge_training.export.manifest_builder import ExportedModel, ManifestFacts, manifest_for
from dropforge_training.models import model_spec
from dropforge_training.preprocessing.cleaner import LabelledPipeline

OWN = """
from sklearn.preprocessing import FunctionTransformer
from dropforge_training.models.model_spec import ModelSpec


def squared(x):
    return x * x


class Own(ModelSpec):
    def search_space(self, trial):
        return {}

    def estimator(self, params, *, seed, jobs, classes):
        raise NotImplementedError

    def number_step(self):
        return FunctionTransformer(squared, feature_names_out="one-to-one")
"""


@dataclass(frozen=True)
class Bundle:
    """The bundle's two files, and the model and rows they were made of."""

    model: LabelledPipeline
    rows: pd.DataFrame
    manifest: BundleManifest
    body: bytes

    def put(self, store: ObjectStore, artifact_bucket: str, data_bucket: str) -> Active:
        """Store it where a training job does and record it as conclude does; the pointer that names it."""
        uri = f"s3://{artifact_bucket}/mlflow/1/{self.manifest.run_id}/artifacts/bundle"
        store.put(f"{uri}/manifest.json", self.manifest.to_json())
        store.put(f"{uri}/pipeline.pkl", self.body)
        sha256 = hashlib.sha256(self.manifest.to_json()).hexdigest()
        name = f"{self.manifest.project}-{self.manifest.model}"
        active = Active(name, "1", "Production", self.manifest.run_id, uri, sha256)
        ModelRecords(store, data_bucket).write(ModelRecord.of(active, serve="python", by="test"))
        return active


def bundle(folder: Path, project: str) -> Bundle:
    """The class is a file in `folder`, for as long as this takes: whoever loads the bundle does without it."""
    sys.path.insert(0, str(folder))
    try:
        model, data, candidate = _trained(folder)
        body, named = pickled_pipeline.dump(model, candidate)
    finally:
        sys.path.remove(str(folder))
    facts = ManifestFacts(project, "own", "r1", "d1", "late", 0.2, {}, {}, {})
    manifest = manifest_for(model, data, ExportedModel(body, python=named), facts)
    manifest = replace(manifest, conformal={"0.9": (0.6, 0.6)})
    checked = parity.check(model, manifest, body, data.heldout, logging.getLogger("test"))
    assert checked.figures["label_flips"] == 0
    return Bundle(model, data.heldout.x, manifest, body)


def _trained(folder: Path) -> tuple[LabelledPipeline, TrainingData, model_spec.ModelSpec]:
    """A model whose step no converter knows, fitted on rows of two columns."""
    (folder / "models").mkdir()
    (folder / "models" / "integration.py").write_text(OWN, encoding="utf-8")
    for name in [n for n in sys.modules if n.split(".")[0] == "models"]:
        del sys.modules[name]
    candidate = model_spec.load("models.integration:Own")
    rng = np.random.default_rng(1)
    x = pd.DataFrame({"hours": rng.normal(0, 2, 300), "kind": rng.choice(["air", "sea"], 300).astype(object)})
    y = ((x["hours"] ** 2 + 2 * (x["kind"] == "sea")) > 4).to_numpy().astype(int)
    cleaner = candidate.cleaner(["hours"], ["kind"], {}, {})
    clean = cleaner.fit(x).transform(x)
    preprocessor = candidate.preprocessor(cleaner)
    matrix = preprocessor.fit_transform(clean)
    estimator = LogisticRegression().fit(np.asarray(matrix, dtype=np.float32), y)
    pipeline = Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])
    table = Table(x, y, np.arange(300, dtype=np.uint64))
    kinds = (Column(name="hours", kind="number"), Column(name="kind", kind="category"))
    data = TrainingData(table, table, ["no", "yes"], "yes", kinds, 0, 300, {}, x[[]])
    return LabelledPipeline(pipeline, ["no", "yes"], 0.5, "yes"), data, candidate
