"""The serving bundle of a fitted model: exported, proven equal to its pipeline, its prediction sets calibrated on what it serves."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dropforge.serving.explain import EXPLAIN_FILE
from dropforge.serving.manifest import MANIFEST_FILE, BundleManifest, PythonModel
from dropforge.settings import Settings
from dropforge_training import conformal, explanation, export, python_models
from dropforge_training.models.base import Candidate
from dropforge_training.processing import LabelledPipeline
from dropforge_training.tables import TrainingData


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a bundle, and `probabilities` as it gives them for the held-out rows, shape [rows, classes]."""

    manifest: BundleManifest
    model: bytes
    explanation: bytes
    probabilities: np.ndarray

    @property
    def sha256(self) -> str:
        """Of the manifest, which names the hashes of the other files."""
        return hashlib.sha256(self.manifest.to_json()).hexdigest()

    def write(self, folder: Path) -> None:
        """Its files into a new folder."""
        folder.mkdir()
        (folder / self.manifest.model_file).write_bytes(self.model)
        (folder / MANIFEST_FILE).write_bytes(self.manifest.to_json())
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
        body, output = export.to_onnx(model, len(cleaner.numbers), len(cleaner.categories))
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
