"""The bundle beside its pipeline on every held-out row, before anybody may serve it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from dropforge.errors import DropforgeError, InvalidRequest, JobFailed
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.inference.predictor import Prediction, Predictor, open_graph, read_manifest
from dropforge_training.data.training_table import Table
from dropforge_training.export.onnx_graph import records
from dropforge_training.export.pickled_pipeline import open_pickle
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline

CHUNK = 2000  # rows predicted at a time
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Checked:
    """Held-out rows as the bundle gives them.

    `output`: probabilities, shape [rows, classes]; of a regression its numbers before the inverse transform, shape [rows].
    `widths`: of a regression's rows, shape [rows]; else empty.
    """

    figures: dict[str, float]
    output: np.ndarray
    widths: np.ndarray


class _Comparison(Protocol):
    """What of a chunk's rows must be equal, and what is wrong where it is not."""

    outputs: list[np.ndarray]
    widths: list[np.ndarray]

    def difference(self, predictor: Predictor, served: Prediction, rows: pd.DataFrame) -> float:
        """The largest one of these rows; NaN where a number is none."""

    def figures(self, worst: float, rows: int) -> dict[str, float]: ...

    def problem(self, figures: dict[str, float]) -> str:
        """Empty when the bundle may be served."""


class _Labels:
    """Of a classification: every probability, and every label that is not a tie.

    Within TOLERANCE of the threshold, or of the second class, either label is right.
    """

    def __init__(self, model: LabelledPipeline) -> None:
        self.outputs: list[np.ndarray] = []
        self.widths: list[np.ndarray] = []
        self._model = model
        self._flips = 0

    def difference(self, _predictor: Predictor, served: Prediction, rows: pd.DataFrame) -> float:
        expected = self._model.predict_proba(rows)
        self.outputs.append(served.probabilities)
        flipped = np.array(served.labels, dtype=object) != self._model.predict(rows)
        self._flips += int((flipped & ~self._undecided(expected)).sum())
        return float(np.abs(served.probabilities - expected).max())

    def figures(self, worst: float, rows: int) -> dict[str, float]:
        return {"max_abs_difference": worst, "label_flips": float(self._flips), "rows": float(rows)}

    def problem(self, figures: dict[str, float]) -> str:
        worst = figures["max_abs_difference"]
        if worst <= TOLERANCE and not self._flips:
            return ""
        return f"max |Δp| {worst:.2g} (allowed {TOLERANCE:g}), {self._flips} of {figures['rows']:.0f} labels flip"

    def _undecided(self, probabilities: np.ndarray) -> np.ndarray:
        """Which rows lie so near a decision that a difference within TOLERANCE may turn it, shape [rows]."""
        if self._model.positive:
            chance = probabilities[:, list(self._model.classes_).index(self._model.positive)]
            return np.asarray(np.abs(chance - self._model.threshold) <= TOLERANCE)
        first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
        return np.asarray(first - second <= 2 * TOLERANCE)


class _Numbers:
    """Of a regression: every number, relative to the larger of itself and the target's standard deviation; every width is a number."""

    def __init__(self, model: NumberPipeline, y: np.ndarray) -> None:
        self.outputs: list[np.ndarray] = []
        self.widths: list[np.ndarray] = []
        self._model = model
        self._spread = float(np.std(y)) or 1.0

    def difference(self, predictor: Predictor, served: Prediction, rows: pd.DataFrame) -> float:
        expected = self._model.predict(rows)
        self.outputs.append(predictor.raw_run(served.feeds).reshape(-1).astype(np.float64))
        self.widths.append(predictor.widths(served.feeds, len(rows)))
        if not np.isfinite(self.widths[-1]).all():
            return float("nan")
        size = np.maximum(np.abs(expected), self._spread)
        return float((np.abs(served.probabilities[:, 0] - expected) / size).max())

    def figures(self, worst: float, rows: int) -> dict[str, float]:
        return {"max_abs_difference": worst, "rows": float(rows)}

    def problem(self, figures: dict[str, float]) -> str:
        worst = figures["max_abs_difference"]
        return "" if worst <= TOLERANCE else f"relative difference {worst:.2g} (allowed {TOLERANCE:g})"


def check(
    model: LabelledPipeline | NumberPipeline,
    manifest: BundleManifest,
    body: bytes,
    rows: Table,
    log: logging.Logger,
    *,
    width: bytes = b"",
) -> Checked:
    """Predict every held-out row through the API's own predictor and through the pipeline.

    body: the graph, or the pickle; width: the graph of a regression's widths. Of a pickle it shows that rows as callers send
    them, and the model as it comes out of its file, give what training saw.

    Raises JobFailed when a probability or a number differs by more than TOLERANCE or is no number, or when a label flips that
    is not a tie: such a bundle is never served.
    """
    try:
        read = read_manifest(manifest.to_json())
        predictor = open_pickle(read, body) if read.python else open_graph(read, body, lambda: width)
    except DropforgeError as error:
        raise JobFailed(f"the bundle cannot be opened: {error.message}", code="bundle_broken", fix=error.fix) from error
    compared: _Comparison = _Numbers(model, rows.y) if isinstance(model, NumberPipeline) else _Labels(model)
    differences = []
    for start in range(0, len(rows), CHUNK):
        part = rows.x.iloc[start : start + CHUNK]
        try:
            served = predictor.predict(records(part))
        except InvalidRequest as error:
            raise JobFailed(
                f"the bundle refuses held-out rows: {error.message}", code="parity", fix=error.fix
            ) from error
        differences.append(compared.difference(predictor, served, part))
    # NaN where any difference is: Python's max would drop it
    figures = compared.figures(float(np.max(differences)), len(rows))
    log.info("bundle checked", extra=figures)
    if problem := compared.problem(figures):
        raise JobFailed(
            f"the bundle differs from its pipeline: {problem}",
            code="parity",
            fix="a step is not exact in float32 (scaling before trees?); remove it, or use a step with an exact converter"
            if read.python is None
            else "a step depends on more than the row's values (types of columns, their order, chance); take numbers as float64",
        )
    widths = np.concatenate(compared.widths) if compared.widths else np.empty(0)
    return Checked(figures, np.concatenate(compared.outputs), widths)
