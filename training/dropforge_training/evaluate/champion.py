"""The model that answers now, scored on a new job's held-out rows with the API's own predictor, beside the candidate."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dropforge.config.settings import Settings
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import DropforgeError, NotFound, TransientError
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.inference.predictor import Predictor
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge.observability import failure
from dropforge.ports import Function, ObjectStore
from dropforge.serving.prediction_service import open_active
from dropforge_training.data import holdout_split
from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import paired_bootstrap
from dropforge_training.export import onnx_graph

_CHUNK = 2000
_MOST_VALUES = 20  # of a sensitive column
_SKETCH = 200  # smallest row hashes by which conclude sees how many held-out rows are new (registry/gate_looks.py)


@dataclass(frozen=True, slots=True)
class Served:
    """`rows`: what it says of the held-out rows; None with the `reason` when it cannot say. `unseen`: rows it never trained on."""

    active: Active
    rows: Rows | None
    unseen: np.ndarray
    reason: str = ""


def score(
    store: ObjectStore,
    bucket: str,
    data: TrainingData,
    settings: Settings,
    log: logging.Logger,
    python: Callable[[], Function | None] = lambda: None,
) -> Served | None:
    """None when nothing is served. A served model that cannot read the new rows is a finding, not an error.

    `python`: makes the function that runs a champion without a graph; its pickle is never loaded in this process, which may
    write what the next model is made of. Raises Unavailable when the store or that function does not answer.
    """
    try:
        active, _ = ActivePointer(store, bucket).read()
    except NotFound:
        return None
    everything = np.ones(len(data.heldout), dtype=bool)
    try:
        predictor = open_active(store, bucket, active, python)
        manifest = predictor.manifest
        reason = _unlike(manifest, data, settings)
        if reason:
            return Served(active, None, everything, reason)
        rows = _numbers(predictor, data) if data.regression else _classes(predictor, data)
    except TransientError:
        raise  # another attempt may score it: a store that does not answer must not wave a candidate through
    except DropforgeError as error:
        log.warning("the served model cannot be scored", extra=failure(error))
        return Served(active, None, everything, f"the served model cannot be scored on these rows: {error.message}")
    assert data.heldout_raw is not None  # noqa: S101 - _unlike looked
    share = manifest.holdout_share or holdout_split.share(settings)
    unseen = holdout_split.unseen(manifest.split, share, manifest.moved_rows, data.heldout_raw)
    return Served(active, rows, unseen)


def _unlike(manifest: BundleManifest, data: TrainingData, settings: Settings) -> str:
    if manifest.target != settings.data.target:
        return f"the served model predicts {manifest.target!r}, not {settings.data.target!r}"
    if (manifest.task == "regression") != data.regression:
        return f"the served model is a {manifest.task}, which data.task of settings.yaml is not"
    unknown = set(manifest.classes) - set(data.classes)
    if unknown:
        return f"the served model knows classes these rows lack: {', '.join(sorted(unknown))}"
    raw = data.heldout_raw
    absent = [f.name for f in manifest.features if raw is None or f.name not in raw.columns]
    return f"these rows lack columns of the served model: {', '.join(absent)}" if absent else ""


def _classes(predictor: Predictor, data: TrainingData) -> Rows:
    """In the order of the new data's classes: a class the served model does not know has probability 0."""
    probabilities, labels = _predict(predictor, data)
    out = np.zeros((len(probabilities), len(data.classes)))
    out[:, [data.classes.index(c) for c in predictor.manifest.classes]] = probabilities
    classes = np.array(data.classes, dtype=object)
    guess = np.searchsorted(classes, np.array(labels, dtype=object)).clip(max=len(classes) - 1)
    positive = data.classes.index(data.positive) if data.positive else None
    return Rows(data.heldout.y, guess, out, positive, data.heldout.weight)


def _numbers(predictor: Predictor, data: TrainingData) -> Rows:
    predictions, _ = _predict(predictor, data)
    return of_numbers(data.heldout.y, predictions[:, 0], data.heldout.weight)


def _predict(predictor: Predictor, data: TrainingData) -> tuple[np.ndarray, list[Any]]:
    """Probabilities, float64, shape [rows, classes of the served model], or numbers, [rows, 1]; and labels."""
    assert data.heldout_raw is not None  # noqa: S101 - _unlike looked
    raw = data.heldout_raw[[f.name for f in predictor.manifest.features]]
    probabilities: list[np.ndarray] = []
    labels: list[Any] = []
    for start in range(0, len(raw), _CHUNK):
        answer = predictor.predict(onnx_graph.records(raw.iloc[start : start + _CHUNK]))
        probabilities.append(answer.probabilities)
        labels.extend(answer.labels)
    return np.concatenate(probabilities).astype(np.float64), labels


def compare(served: Served | None, candidate: Rows, data: TrainingData, settings: Settings) -> dict[str, Any]:
    """What conclude decides by: `evaluation/comparison.json`. Slices: old and new data, and values of sensitive columns."""
    rule = settings.promotion
    document: dict[str, Any] = {
        "format_version": 1,
        "metric": rule.metric,
        "confidence": rule.confidence,
        "minimum_gain": rule.minimum_gain,
        "sketch": [],
        "served": None,
        "reason": "",
        "slices": [],
    }
    if served is None:
        return document
    document["served"] = {
        **{k: getattr(served.active, k) for k in ("model", "version", "run_id", "bundle_uri", "bundle_sha256")},
        "number": served.active.number,
    }
    if served.rows is None:
        return {**document, "reason": served.reason}
    slices: dict[str, np.ndarray] = {}
    if data.heldout_new is not None:
        slices = {"old data": ~data.heldout_new, "new data": data.heldout_new}
    for column in data.groups.columns:
        texts = (
            data.groups[column].astype(object).where(data.groups[column].notna(), "(missing)").astype(str).to_numpy()
        )
        slices |= {f"{column} = {v}": texts == v for v in np.unique(texts)[:_MOST_VALUES]}
    unseen = np.flatnonzero(served.unseen)
    if not len(unseen):
        return {**document, "reason": "the served model may have been trained on all of these held-out rows"}
    inside = {name: rows[unseen] for name, rows in slices.items()}
    result = paired_bootstrap.compare(
        rule.metric,
        candidate.at(unseen),
        served.rows.at(unseen),
        inside,
        paired_bootstrap.Resampling(rule.confidence, settings.training.seed, rule.minimum_gain),
    )
    reason = "" if result else "the rows both may be scored on lack a class"
    sketch = np.unique(data.heldout.row[unseen])[:_SKETCH].tolist()
    return {**document, "slices": result, "reason": reason, "sketch": sketch}
