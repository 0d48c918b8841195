"""The serving bundle of a fitted model: exported, proven equal to its pipeline, its prediction sets calibrated on what it serves."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dropforge.serving.explain import EXPLAIN_FILE
from dropforge.serving.manifest import MANIFEST_FILE, BundleManifest, PythonModel
from dropforge.serving.regression import values
from dropforge.settings import Settings
from dropforge_training import conformal, explanation, export, intervals, python_models
from dropforge_training.fitting import FittedNumbers
from dropforge_training.models.base import Candidate
from dropforge_training.processing import LabelledPipeline
from dropforge_training.tables import TrainingData

WIDTH_FILE = "width.onnx"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a bundle, and what it gives for the held-out rows: `probabilities`, shape [rows, classes], or `numbers`."""

    manifest: BundleManifest
    model: bytes
    explanation: bytes
    probabilities: np.ndarray
    width: bytes = b""
    numbers: export.CheckedNumbers | None = None

    @property
    def sha256(self) -> str:
        """Of the manifest, which names the hashes of the other files."""
        return hashlib.sha256(self.manifest.to_json()).hexdigest()

    def write(self, folder: Path) -> None:
        """Its files into a new folder."""
        folder.mkdir()
        (folder / self.manifest.model_file).write_bytes(self.model)
        (folder / MANIFEST_FILE).write_bytes(self.manifest.to_json())
        if self.width and self.manifest.regression is not None:
            (folder / self.manifest.regression.width_file).write_bytes(self.width)
        if self.explanation:
            (folder / EXPLAIN_FILE).write_bytes(self.explanation)


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose model it is: names and ids for the manifest."""

    model: str
    run_id: str
    dataset_id: str


def build(
    model: LabelledPipeline,
    candidate: Candidate,
    data: TrainingData,
    settings: Settings,
    origin: Origin,
    *,
    metrics: dict[str, float],
    importance: dict[str, float],
    log: logging.Logger,
) -> Bundle:
    """Export, check parity on every held-out row, calibrate the prediction sets, and prepare explanations.

    Raises JobFailed when a step cannot be exported, or the bundle does not say what its pipeline says.
    """
    python: PythonModel | None = None
    chosen = next(m for m in settings.models if m.name == origin.model)
    if chosen.serve == "python":
        body, python = python_models.dump(model, candidate)
        output = "probabilities"
    else:
        cleaner = model.pipeline.steps[0][1]
        body, output = export.to_onnx(model.pipeline, len(cleaner.numbers), len(cleaner.categories))
    manifest = export.manifest_for(
        model,
        data,
        body,
        output,
        python=python,
        project=settings.project,
        name=origin.model,
        run_id=origin.run_id,
        dataset_id=origin.dataset_id,
        target=settings.data.target,
        markers=data.markers(settings),
        metrics=metrics,
        importance=importance,
        holdout_share=settings.training.holdout_share,
    )
    parity, probabilities = export.check_parity(model, manifest, body, data.heldout, log)
    manifest = replace(
        manifest,
        parity=parity,
        conformal=conformal.limits(data.heldout.y, probabilities),
        conformal_method=conformal.METHOD,
        conformal_rows=conformal.rows_by_class(data.heldout.y, len(data.classes)),
    )
    why = b"" if python else explanation.explanation(model, manifest, data.train.x, data.heldout.x, log)
    if why:
        named = {"file": EXPLAIN_FILE, "sha256": hashlib.sha256(why).hexdigest()}
        manifest = replace(manifest, explanation=named)
    return Bundle(manifest, body, why, probabilities)


def build_numbers(
    fitted: FittedNumbers,
    candidate: Candidate,
    data: TrainingData,
    settings: Settings,
    origin: Origin,
    *,
    metrics: dict[str, float],
    importance: dict[str, float],
    log: logging.Logger,
) -> Bundle:
    """As build, for a regression: its prediction intervals are calibrated on the held-out rows as the bundle predicts them."""
    model, rule = fitted.model, fitted.model.rule
    cleaner = model.pipeline.steps[0][1]
    shape = len(cleaner.numbers), len(cleaner.categories)
    python, width = None, b""
    if next(m for m in settings.models if m.name == origin.model).serve == "python":
        body, python = python_models.dump(model, candidate)
        output = "probabilities"
    else:
        body, output = export.to_onnx(model.pipeline, *shape)
        if fitted.width is not None:
            width, width_output = export.to_onnx(fitted.width, *shape)
            sha256 = hashlib.sha256(width).hexdigest()
            rule = replace(rule, width_file=WIDTH_FILE, width_sha256=sha256, width_output=width_output)
    manifest = export.manifest_for(
        model,
        data,
        body,
        output,
        python=python,
        project=settings.project,
        name=origin.model,
        run_id=origin.run_id,
        dataset_id=origin.dataset_id,
        target=settings.data.target,
        markers=data.markers(settings),
        metrics=metrics,
        importance=importance,
        holdout_share=settings.training.holdout_share,
    )
    manifest = replace(manifest, regression=rule)
    checked = export.check_number_parity(model, manifest, body, width, data.heldout, log)
    residuals = data.fitted(data.heldout.y) - checked.output
    rule = replace(
        rule,
        intervals=intervals.limits(residuals, checked.widths),
        interval_method=intervals.METHOD,
        interval_rows=len(residuals),
    )
    manifest = replace(manifest, parity=checked.figures, regression=rule)
    why = b"" if python else explanation.explanation(model, manifest, data.train.x, data.heldout.x, log)
    if why:
        manifest = replace(manifest, explanation={"file": EXPLAIN_FILE, "sha256": hashlib.sha256(why).hexdigest()})
    return Bundle(manifest, body, why, values(rule, checked.output)[:, None], width, checked)
