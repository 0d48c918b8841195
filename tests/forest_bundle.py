"""A small real bundle: trained, exported and checked by the training package."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from dropforge.datasets.table_schema import Column
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.explain import explanation_file
from dropforge_training.export import onnx_graph, parity
from dropforge_training.export.manifest_builder import ExportedModel, ManifestFacts, manifest_for
from dropforge_training.models.random_forest import RandomForest
from dropforge_training.preprocessing.cleaner import LabelledPipeline


@dataclass(frozen=True)
class Bundle:
    """Bytes of a bundle and the pipeline it came from."""

    manifest: BundleManifest
    onnx: bytes
    model: LabelledPipeline
    rows: pd.DataFrame
    explain: bytes


def _table(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 300
    x = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n).astype(float),
            "job": rng.choice(["clerk", "cook", "nurse"], n).astype(object),
            "member": pd.array(rng.choice([True, False], n), dtype="boolean"),
            "joined": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
        }
    )
    x.loc[::17, "age"] = np.nan
    x.loc[::13, "job"] = None
    y = ((x["age"].fillna(40) + 20 * (x["job"] == "nurse")) > 55).to_numpy().astype(int)
    return x, y


def trained() -> Bundle:
    """Binary: labels no and yes, yes from 0.4."""
    x, y = _table(1)
    kinds = (
        Column(name="age", kind="integer"),
        Column(name="job", kind="category"),
        Column(name="member", kind="boolean"),
        Column(name="joined", kind="datetime"),
    )
    data = TrainingData(
        Table(x, y, np.arange(len(y), dtype=np.uint64)),
        Table(x, y, np.arange(len(y), dtype=np.uint64)),
        ["no", "yes"],
        "yes",
        kinds,
        0,
        len(y),
        {},
        x[[]],
    )
    markers = {c.name: ("?",) for c in kinds}
    candidate = RandomForest()
    cleaner = candidate.cleaner(["age", "member", "joined"], ["job"], markers, {})
    clean = cleaner.fit(x).transform(x)
    preprocessor = candidate.preprocessor(cleaner)
    forest = RandomForestClassifier(20, max_depth=5, random_state=0).fit(
        np.asarray(preprocessor.fit_transform(clean), dtype=np.float32), y
    )
    model = LabelledPipeline(
        Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", forest)]),
        ["no", "yes"],
        0.4,
        "yes",
    )
    onnx, output = onnx_graph.to_onnx(model.pipeline, 3, 1)
    facts = ManifestFacts("demo", "forest", "r1", "d1", "bought", 0.2, markers, {"roc_auc": 0.9}, {"age": 0.1})
    manifest = manifest_for(model, data, ExportedModel(onnx, output), facts)
    parity.check(model, manifest, onnx, data.heldout, logging.getLogger("test"))
    explain = explanation_file.explanation(model, manifest, x, x, logging.getLogger("test"))
    named = {"file": "explain.npz", "sha256": hashlib.sha256(explain).hexdigest()}
    answer_text = dataclasses.replace(manifest, explanation=named, conformal={"0.9": (0.5, 0.6)})
    return Bundle(answer_text, onnx, model, x, explain)
