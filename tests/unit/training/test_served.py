"""Which held-out rows a comparison with the served model may use."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge import settings as settings_module
from dropforge.data.schema import ROW_HASH
from dropforge.serving.manifest import BundleManifest, Feature
from dropforge.serving.pointer import Active
from dropforge.serving.predictor import Prediction
from dropforge_local.memory import MemoryStore
from dropforge_training import served
from dropforge_training.metrics import Rows
from dropforge_training.splits import BUCKETS
from dropforge_training.tables import Table, TrainingData

SETTINGS = settings_module.load(
    "project: demo\ndata: {target: y}\ntraining: {holdout_share: 0.2}\nmodels: [{name: m, class: 'a.b:C'}]\n"
)
HASHES = np.array([5, 900, 1500, 1999, BUCKETS + 7], dtype=np.uint64)  # all below a held-out share of 0.2


class _Predictor:
    def __init__(self, manifest: BundleManifest) -> None:
        self.manifest = manifest

    def predict(self, records: list[dict[str, Any]]) -> Prediction:
        chance = np.array([r["x"] for r in records])
        return Prediction(["yes" if c >= 0.5 else "no" for c in chance], np.column_stack([1 - chance, chance]), [], {})


def _score(monkeypatch: pytest.MonkeyPatch, share: float, moved: tuple[int, ...]) -> tuple[served.Served, TrainingData]:
    """The served model was trained with this held-out share, and on these rows below it."""
    features = (Feature("x", "number"),)
    manifest = BundleManifest(
        "p", "m", "r", "d", "t", "y", features, (), "p", ("no", "yes"), "yes", 0.5, "0", holdout_share=share, moved_rows=moved
    )  # fmt: skip
    x = pd.DataFrame({"x": [0.1, 0.9, 0.8, 0.2, 0.7]})
    heldout = Table(x, np.array([0, 1, 1, 0, 1]), HASHES)
    data = TrainingData(
        heldout, heldout, ["no", "yes"], "yes", (), 0, 5, {}, pd.DataFrame(index=range(5)), heldout_raw=x.assign(**{ROW_HASH: HASHES})
    )  # fmt: skip
    active = Active("p-m", "1", "Production", "r", "s3://b/k", "0")
    monkeypatch.setattr(served, "ActivePointer", lambda *_: SimpleNamespace(read=lambda: (active, "etag")))
    monkeypatch.setattr(served, "open_active", lambda *_: _Predictor(manifest))
    found = served.score(MemoryStore(), "b", data, SETTINGS, logging.getLogger("test"))
    assert found is not None
    return found, data


def test_rows_that_the_served_model_was_trained_on_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row below its held-out share which both sides needed, and every row above that share, is none it never saw."""
    found, _ = _score(monkeypatch, 0.1, moved=(900, BUCKETS + 7))
    assert found.fair.tolist() == [True, False, False, False, False]
    found, _ = _score(monkeypatch, 0.0, moved=())  # a bundle older than the field: the settings' share
    assert found.fair.all()


def test_the_comparison_and_its_sketch_are_of_unseen_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that the served model was trained on neither count as rows of the comparison nor as a look at them."""
    found, data = _score(monkeypatch, 0.2, moved=(1500,))
    candidate = Rows(data.heldout.y, data.heldout.y, np.column_stack([1 - data.heldout.y, data.heldout.y]), 1)
    told = served.compare(found, candidate, data, SETTINGS)
    assert told["sketch"] == [5, 900, 1999, BUCKETS + 7]
    assert told["slices"][0]["rows"] == 4
