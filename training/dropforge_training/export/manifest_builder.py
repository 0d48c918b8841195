"""The manifest of a bundle: what the API must know, taken from the fitted cleaner and the training rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from dropforge.datasets.table_schema import Column
from dropforge.inference import number_steps
from dropforge.inference.bundle_manifest import BundleManifest, Derived, Feature, GraphInput, PythonModel
from dropforge_training.data.training_table import TrainingData
from dropforge_training.export import example_rows
from dropforge_training.export.onnx_graph import NUMBERS, TEXTS, changed_methods, records
from dropforge_training.preprocessing.cleaner import MISSING_TOKEN, LabelledPipeline, NumberPipeline, TableCleaner
from dropforge_training.preprocessing.transforms import NO_STEPS


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A bundle's model file: a graph and the name of its output, or a pickle, which `python` describes."""

    body: bytes
    output: str = "probabilities"
    python: PythonModel | None = None


@dataclass(frozen=True, slots=True)
class ManifestFacts:
    """What a manifest says besides what the model and its data give. `markers`: by column the texts that mean missing."""

    project: str
    model: str
    run_id: str
    dataset_id: str
    target: str
    holdout_share: float
    markers: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, float]
    importance: Mapping[str, float]


def manifest_for(
    model: LabelledPipeline | NumberPipeline, data: TrainingData, exported: ExportedModel, facts: ManifestFacts
) -> BundleManifest:
    """The manifest without prediction sets or intervals, parity and explanations, which are known later."""
    step, python = model.pipeline.steps[0][1], exported.python
    cleaner = _described(step, data)
    kinds = {c.name: c.kind for c in data.features}
    return BundleManifest(
        project=facts.project,
        model=facts.model,
        run_id=facts.run_id,
        dataset_id=facts.dataset_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        target=facts.target,
        features=tuple(_feature(c, cleaner, data, facts.markers.get(c.name, ())) for c in data.features),
        inputs=_inputs(cleaner, kinds, python=python is not None),
        probabilities_output=exported.output,
        classes=tuple(data.classes),
        positive_class=data.positive,
        threshold=model.threshold if isinstance(model, LabelledPipeline) else 0.0,
        onnx_sha256="" if python else hashlib.sha256(exported.body).hexdigest(),
        python=python,
        missing_token=MISSING_TOKEN,
        metrics={k: round(v, 6) for k, v in facts.metrics.items()},
        importance={k: round(v, 6) for k, v in facts.importance.items()},
        example=records(example_rows.row(data.train.x, kinds))[0],
        holdout_share=facts.holdout_share,
        moved_rows=data.moved,
        split=data.split,
        rules=data.rules,
        derived=() if python else _fitted_columns(step),
        calibration=model.calibration if isinstance(model, LabelledPipeline) else None,
        regression=model.rule if isinstance(model, NumberPipeline) else None,
    )


def _feature(column: Column, cleaner: TableCleaner, data: TrainingData, markers: tuple[str, ...]) -> Feature:
    """How the API reads and cleans the column."""
    name, steps = column.name, data.steps.get(column.name, NO_STEPS)
    if name in cleaner.categories:
        return Feature(
            name,
            column.kind,
            tuple(cleaner.known_[name]),
            missing_markers=markers,
            cast=steps.cast,
            merge=cleaner.merged_[name],
            unseen=steps.rare_into,
        )
    low, high = _range(data.train.x[name])
    return Feature(
        name,
        column.kind,
        minimum=low,
        maximum=high,
        missing_markers=markers,
        cast=steps.cast,
        steps=tuple(number_steps.stored(n, step) for n, step in cleaner.number_steps_.get(name, ())),
        number_format=column.number_format,
    )


def _inputs(cleaner: TableCleaner, kinds: Mapping[str, str], *, python: bool) -> tuple[GraphInput, ...]:
    """Of a pickled pipeline without the derived columns, which it computes itself."""
    numbers = [n for n in cleaner.numbers if not python or n in kinds]
    inputs = (
        (NUMBERS, "float64" if python else "float32", numbers),
        (TEXTS, "text" if python else "string", cleaner.categories),
    )
    return tuple(GraphInput(n, dtype, tuple(columns)) for n, dtype, columns in inputs if columns)


def _described(cleaner: Any, data: TrainingData) -> TableCleaner:
    """The cleaner as a manifest can tell it; for one of the project's own what TableCleaner would know of the same columns."""
    if not changed_methods(cleaner):
        plain: TableCleaner = cleaner
        return plain
    output = TableCleaner(cleaner.numbers, cleaner.categories, cleaner.markers, steps=cleaner.steps)
    return output.fit(data.train.x)


def _fitted_columns(cleaner: Any) -> tuple[Derived, ...]:
    return getattr(cleaner, "fit_derived_", ())


def _range(raw: Any) -> tuple[float | None, float | None]:
    """Range of the training values in double precision as a caller would send them: before rounding, clipping and logarithms."""
    if pd.api.types.is_datetime64_any_dtype(raw):
        moments = np.asarray(raw, dtype="datetime64[us]")
        values = np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6 / 86_400)
    else:
        values = np.asarray(pd.to_numeric(raw, errors="coerce"), dtype=np.float64)
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
