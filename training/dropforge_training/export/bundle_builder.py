"""The serving bundle of a fitted model: exported, proven equal to its pipeline, its prediction sets calibrated on what it serves."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from sklearn.pipeline import Pipeline

from dropforge.config.settings import Settings
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest
from dropforge.inference.explanation import EXPLAIN_FILE
from dropforge.inference.predictor import Predictor, open_graph
from dropforge_training.data import holdout_split
from dropforge_training.data.training_table import TrainingData
from dropforge_training.explain import explanation_file as explanation
from dropforge_training.export import onnx_graph, parity, pickled_pipeline
from dropforge_training.export.manifest_builder import ExportedModel, ManifestFacts, manifest_for
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
    """Where a model comes from: the plug-in (`candidate`) with its rows and settings, and the names that identify it.

    `exported`: the model file, where it is known already.
    """

    candidate: ModelSpec
    data: TrainingData
    settings: Settings
    model: str
    run_id: str
    dataset_id: str
    exported: ExportedModel | None = None


def build(
    model: LabelledPipeline | NumberPipeline,
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
    data, exported = origin.data, origin.exported or _exported(model, origin)
    manifest = _manifest(model, origin, exported, metrics, importance)
    widths = b""
    if width is not None and not exported.python:
        manifest, widths = _with_width(manifest, width, model)
    checked = parity.check(model, manifest, exported.body, data.heldout, log, width=widths)
    manifest = _calibrated(replace(manifest, parity=checked.figures), data, checked)
    explained = b""
    if not exported.python:
        explained = explanation.explanation(model, manifest, data.train.x, data.heldout.x, log)
    if explained:
        described = {"file": EXPLAIN_FILE, "sha256": hashlib.sha256(explained).hexdigest()}
        manifest = replace(manifest, explanation=described)
    return Bundle(manifest, exported.body, explained, checked, widths)


def opened(model: LabelledPipeline | NumberPipeline, origin: Origin) -> tuple[ExportedModel, Predictor | None]:
    """The model file, and the predictor that serves it; None for a pickle, which no predictor of the API runs.

    Raises JobFailed when a step cannot be exported.
    """
    exported = _exported(model, origin)
    if exported.python:
        return exported, None
    return exported, open_graph(_manifest(model, origin, exported, {}, {}), exported.body)


def _manifest(
    model: LabelledPipeline | NumberPipeline,
    origin: Origin,
    exported: ExportedModel,
    metrics: dict[str, float],
    importance: dict[str, float],
) -> BundleManifest:
    settings = origin.settings
    facts = ManifestFacts(
        project=settings.project,
        model=origin.model,
        run_id=origin.run_id,
        dataset_id=origin.dataset_id,
        target=settings.data.target,
        holdout_share=holdout_split.share(settings),
        markers=origin.data.markers(settings),
        metrics=metrics,
        importance=importance,
    )
    return manifest_for(model, origin.data, exported, facts)


def _exported(model: LabelledPipeline | NumberPipeline, origin: Origin) -> ExportedModel:
    """By the entry of settings.yaml: the pipeline as a graph, or pickled."""
    if next(m for m in origin.settings.models if m.name == origin.model).serve == "python":
        body, python = pickled_pipeline.dump(model, origin.candidate)
        return ExportedModel(body, python=python)
    return ExportedModel(*onnx_graph.to_onnx(model.pipeline, *_inputs(model)))


def _inputs(model: LabelledPipeline | NumberPipeline) -> tuple[int, int]:
    """Columns of numbers and of texts that the graph takes."""
    cleaner = model.pipeline.steps[0][1]
    return len(cleaner.numbers), len(cleaner.categories)


def _with_width(
    manifest: BundleManifest, width: Pipeline, model: LabelledPipeline | NumberPipeline
) -> tuple[BundleManifest, bytes]:
    """The manifest with the graph of a regression's widths, and that graph."""
    if manifest.regression is None:
        return manifest, b""
    graph, output = onnx_graph.to_onnx(width, *_inputs(model))
    digest = hashlib.sha256(graph).hexdigest()
    rule = replace(manifest.regression, width_file=WIDTH_FILE, width_sha256=digest, width_output=output)
    return replace(manifest, regression=rule), graph


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
    rule = manifest.regression
    limits = prediction_intervals.limits(prediction_intervals.residuals(rule, y, checked.output), checked.widths)
    rule = replace(
        rule,
        intervals=limits,
        interval_method=prediction_intervals.METHOD,
        interval_rows=len(checked.output),
    )
    return replace(manifest, regression=rule)
