"""Which held-out rows a comparison with the served model may use."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.config import settings as settings_module
from dropforge.datasets.table_schema import ROW_HASH
from dropforge.deployment.active_model import Active
from dropforge.inference.bundle_manifest import BundleManifest, Feature
from dropforge.inference.predictor import Prediction
from dropforge.metrics.weighted_rows import Rows
from dropforge_local.memory import MemoryStore
from dropforge_training.data.holdout_split import BUCKETS
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.evaluate import champion

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


def _score(
    monkeypatch: pytest.MonkeyPatch, share: float, moved: tuple[int, ...]
) -> tuple[champion.Served, TrainingData]:
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
    monkeypatch.setattr(champion, "ActivePointer", lambda *_: SimpleNamespace(read=lambda: (active, "etag")))
    monkeypatch.setattr(champion, "open_active", lambda *_: _Predictor(manifest))
    result = champion.score(MemoryStore(), "b", data, SETTINGS, logging.getLogger("test"))
    assert result is not None
    return result, data


def test_rows_that_the_served_model_was_trained_on_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row below its held-out share which both sides needed, and every row above that share, is none it never saw."""
    result, _ = _score(monkeypatch, 0.1, moved=(900, BUCKETS + 7))
    assert result.unseen.tolist() == [True, False, False, False, False]
    result, _ = _score(monkeypatch, 0.0, moved=())  # a bundle older than the field: the settings' share
    assert result.unseen.all()


def test_the_comparison_and_its_sketch_are_of_unseen_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that the served model was trained on neither count as rows of the comparison nor as a look at them."""
    result, data = _score(monkeypatch, 0.2, moved=(1500,))
    candidate = Rows(data.heldout.y, data.heldout.y, np.column_stack([1 - data.heldout.y, data.heldout.y]), 1)
    output = champion.compare(result, candidate, data, SETTINGS)
    assert output["sketch"] == [5, 900, 1999, BUCKETS + 7]
    assert output["slices"][0]["rows"] == 4
