"""The serving bundle of a fitted model: exported, proven equal to its pipeline, its prediction sets calibrated on what it serves."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from sklearn.pipeline import Pipeline

from dropforge.config.settings import Settings
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest, PythonModel
from dropforge.inference.explanation import EXPLAIN_FILE
from dropforge_training.data import holdout_split
from dropforge_training.data.training_table import TrainingData
from dropforge_training.explain import explanation_file as explanation
from dropforge_training.export import onnx_graph, parity, pickled_pipeline
from dropforge_training.fit import conformal, prediction_intervals
from dropforge_training.models.model_spec import ModelSpec
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline

WIDTH_FILE = "width.onnx"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of a bundle, and what it gives for the held-out rows."""

    manifest: BundleManifest
    model: bytes
    explanation: bytes
    checked: parity.Checked
    width: bytes = b""

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
    model: LabelledPipeline | NumberPipeline,
    candidate: ModelSpec,
    data: TrainingData,
    settings: Settings,
    origin: Origin,
    *,
    metrics: dict[str, float],
    importance: dict[str, float],
    log: logging.Logger,
    width: Pipeline | None = None,
) -> Bundle:
    """Export, check parity on every held-out row, calibrate prediction sets or intervals on these rows, prepare explanations.

    width: of a regression, the model of how uncertain a row is.
    Raises JobFailed when a step cannot be exported, or the bundle does not say what its pipeline says.
    """
    python: PythonModel | None = None
    cleaner = model.pipeline.steps[0][1]
    shape = len(cleaner.numbers), len(cleaner.categories)
    chosen = next(m for m in settings.models if m.name == origin.model)
    if chosen.serve == "python":
        body, python = pickled_pipeline.dump(model, candidate)
        output = "probabilities"
    else:
        body, output = onnx_graph.to_onnx(model.pipeline, *shape)
    manifest = onnx_graph.manifest_for(
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
        holdout_share=holdout_split.share(settings),
    )
    widths = b""
    if manifest.regression is not None and width is not None and not python:
        widths, width_output = onnx_graph.to_onnx(width, *shape)
        rule = replace(
            manifest.regression,
            width_file=WIDTH_FILE,
            width_sha256=hashlib.sha256(widths).hexdigest(),
            width_output=width_output,
        )
        manifest = replace(manifest, regression=rule)
    checked = parity.check(model, manifest, body, data.heldout, log, width=widths)
    manifest = _calibrated(replace(manifest, parity=checked.figures), data, checked)
    why = b"" if python else explanation.explanation(model, manifest, data.train.x, data.heldout.x, log)
    if why:
        manifest = replace(manifest, explanation={"file": EXPLAIN_FILE, "sha256": hashlib.sha256(why).hexdigest()})
    return Bundle(manifest, body, why, checked, widths)


def _calibrated(manifest: BundleManifest, data: TrainingData, checked: parity.Checked) -> BundleManifest:
    """With prediction sets, or intervals of a regression, by the held-out rows as the bundle predicts them."""
    y = data.heldout.y
    if manifest.regression is None:
        return replace(
            manifest,
            conformal=conformal.limits(y, checked.output),
            conformal_method=conformal.METHOD,
            conformal_rows=conformal.rows_by_class(y, len(data.classes)),
        )
    limits = prediction_intervals.limits(data.fitted(y) - checked.output, checked.widths)
    rule = replace(
        manifest.regression,
        intervals=limits,
        interval_method=prediction_intervals.METHOD,
        interval_rows=len(checked.output),
    )
    return replace(manifest, regression=rule)
