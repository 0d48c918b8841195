"""The fitted pipeline as a serving bundle, proven equal on every held-out row before anybody may serve it."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from skl2onnx.operator_converters.random_forest import (
    convert_sklearn_random_forest_classifier,
    convert_sklearn_random_forest_regressor_converter,
)
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from xgboost import XGBClassifier, XGBRegressor

from dropforge.errors import DropforgeError, InvalidRequest, JobFailed
from dropforge.serving.manifest import BundleManifest, Feature, GraphInput, PythonModel
from dropforge.serving.predictor import open_graph, read_manifest
from dropforge_training import synthetic
from dropforge_training.forest import split
from dropforge_training.processing import MISSING_TOKEN, LabelledPipeline, NumberPipeline, TableCleaner
from dropforge_training.python_models import open_pickle
from dropforge_training.steps import NO_STEPS
from dropforge_training.tables import Table, TrainingData

TOLERANCE = 1e-5
_NUMBERS, _TEXTS = "numbers", "texts"


class _PlainNumbers:
    """A graph container that takes numpy's numbers and truth values in attributes: the onnx package refuses them."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> Any:
        return self._container.add_node(*arguments, **{k: _plain_attribute(v) for k, v in attributes.items()})


def _plain_attribute(given: Any) -> Any:
    if not isinstance(given, list | np.ndarray):
        return given
    values = [v.item() if isinstance(v, np.generic) else v for v in given]
    return [int(v) if isinstance(v, bool) else v for v in values]


def _convert_hist_gradient_boosting(scope: Any, operator: Any, container: Any) -> None:
    """The library's converter; it writes where a missing value goes as truth values."""
    convert_sklearn_random_forest_classifier(scope, operator, _PlainNumbers(container))


def _convert_hist_gradient_boosting_regressor(scope: Any, operator: Any, container: Any) -> None:
    """The library's converter; it writes the base value as an array."""
    convert_sklearn_random_forest_regressor_converter(scope, operator, _PlainNumbers(container))


def _register_regressors() -> None:
    update_registered_converter(
        XGBRegressor, "XGBoostXGBRegressor", calculate_linear_regressor_output_shapes, convert_xgboost
    )
    update_registered_converter(
        HistGradientBoostingRegressor,
        "SklearnHistGradientBoostingRegressor",
        calculate_linear_regressor_output_shapes,
        _convert_hist_gradient_boosting_regressor,
    )


def to_onnx(pipeline: Pipeline, numbers: int, texts: int) -> tuple[bytes, str]:
    """Graph of everything after the processor, and the name of its output: probabilities, or a regression's numbers.

    Raises JobFailed naming the step that has no converter, and the way out.
    """
    _check_processor(pipeline.steps[0][1])
    _register_regressors()
    update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        HistGradientBoostingClassifier,
        "SklearnHistGradientBoostingClassifier",
        calculate_linear_classifier_output_shapes,
        _convert_hist_gradient_boosting,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"], "raw_scores": [True, False]},
    )
    rest = pipeline[1:]
    classifier = hasattr(rest.steps[-1][1], "classes_")
    inputs = ([(_NUMBERS, FloatTensorType([None, numbers]))] if numbers else []) + (
        [(_TEXTS, StringTensorType([None, texts]))] if texts else []
    )
    try:
        graph = convert_sklearn(
            rest,
            initial_types=inputs,
            options={id(rest.steps[-1][1]): {"zipmap": False}} if classifier else None,
            target_opset={"": 17, "ai.onnx.ml": 3},
        )
    except Exception as error:
        # converters raise many classes; for the user it is one thing: this step cannot be exported
        named = _without_converter(rest.steps)
        told = f"the step {named} has no ONNX converter" if named else str(error)
        raise JobFailed(
            f"the pipeline cannot be exported to ONNX: {told}",
            code="not_exportable",
            fix="use a step that has a converter (docs/how-to-new-model.md), do its work by `processing` in settings.yaml, or say "
            "`serve: python` in the model's entry: slower, in a function of its own",
        ) from error
    if not classifier:
        return graph.SerializeToString(), graph.graph.output[0].name
    probabilities = graph.graph.output[1].name
    return split(graph).SerializeToString(), probabilities


def _check_processor(cleaner: Any) -> None:
    """The API does a processor's work from the manifest: it can do what TableCleaner does, and nothing else."""
    changed = _changed(cleaner)
    if changed:
        raise JobFailed(
            f"the step processor ({type(cleaner).__name__}) cannot be exported: its {', '.join(changed)} is Python code of your own, "
            "which the prediction API does not run",
            code="not_exportable",
            fix="do its work by `processing` in settings.yaml, by TableCleaner's parameters, or in preprocessor() with steps that "
            "have an ONNX converter (docs/how-to-new-model.md); or say `serve: python` in the model's entry: slower, in a function "
            "of its own",
        )


def _changed(cleaner: Any) -> list[str]:
    """What a processor does otherwise than TableCleaner."""
    return [
        name
        for name in ("fit", "transform", "_numbers", "_texts", "unseen")
        if getattr(type(cleaner), name, None) is not getattr(TableCleaner, name)
    ]


def _without_converter(steps: list[tuple[str, Any]], within: str = "") -> str:
    """Name and class of the first step that no converter is registered for, looked for inside column transformers and pipelines."""
    for name, step in steps:
        if isinstance(step, str):
            continue  # passthrough, drop
        inner = getattr(step, "transformers_", None) or getattr(step, "steps", None)
        if inner:
            found = _without_converter([(i[0], i[1]) for i in inner], f"{within}{name} → ")
            if found:
                return found
        elif type(step) not in sklearn_operator_name_map:
            return f"{within}{name} ({type(step).__name__})"
    return ""


def manifest_for(
    model: LabelledPipeline | NumberPipeline,
    data: TrainingData,
    onnx: bytes,
    probabilities_output: str,
    *,
    python: PythonModel | None = None,
    project: str,
    name: str,
    run_id: str,
    dataset_id: str,
    target: str,
    markers: dict[str, tuple[str, ...]],
    metrics: dict[str, float],
    importance: dict[str, float],
    holdout_share: float,
) -> BundleManifest:
    """What the API must know, taken from the fitted processor and the training rows. `python`: of a bundle without a graph."""
    cleaner = _described(model.pipeline.steps[0][1], data)
    kinds = {c.name: c.kind for c in data.features}
    features = []
    for c in data.features:
        steps = data.steps.get(c.name, NO_STEPS)
        if c.name in cleaner.categories:
            features.append(
                Feature(
                    c.name,
                    kinds[c.name],
                    tuple(cleaner.known_[c.name]),
                    missing_markers=markers.get(c.name, ()),
                    cast=steps.cast,
                    merge=cleaner.merged_[c.name],
                    unseen=steps.rare_into,
                )
            )
            continue
        low, high = _seen(data.train.x[c.name])
        features.append(
            Feature(
                c.name,
                kinds[c.name],
                minimum=low,
                maximum=high,
                missing_markers=markers.get(c.name, ()),
                cast=steps.cast,
                low=steps.low,
                high=steps.high,
                log=steps.log,
                number_format=c.number_format,
            )
        )
    inputs = [
        GraphInput(n, dtype, tuple(columns))
        for n, dtype, columns in (
            (_NUMBERS, "float64" if python else "float32", cleaner.numbers),
            (_TEXTS, "text" if python else "string", cleaner.categories),
        )
        if columns
    ]
    return BundleManifest(
        project=project,
        model=name,
        run_id=run_id,
        dataset_id=dataset_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        target=target,
        features=tuple(features),
        inputs=tuple(inputs),
        probabilities_output=probabilities_output,
        classes=tuple(data.classes),
        positive_class=data.positive,
        threshold=model.threshold if isinstance(model, LabelledPipeline) else 0.0,
        onnx_sha256="" if python else hashlib.sha256(onnx).hexdigest(),
        python=python,
        missing_token=MISSING_TOKEN,
        metrics={k: round(v, 6) for k, v in metrics.items()},
        importance={k: round(v, 6) for k, v in importance.items()},
        example=records(synthetic.row(data.train.x, kinds))[0],
        holdout_share=holdout_share,
        moved_rows=data.moved,
        calibration=model.calibration if isinstance(model, LabelledPipeline) else None,
        regression=model.rule if isinstance(model, NumberPipeline) else None,
    )


def _described(cleaner: Any, data: TrainingData) -> TableCleaner:
    """The processor as a manifest can tell it; for one of the project's own what TableCleaner would know of the same columns."""
    if not _changed(cleaner):
        plain: TableCleaner = cleaner
        return plain
    told = TableCleaner(cleaner.numbers, cleaner.categories, cleaner.markers, steps=cleaner.steps)
    return told.fit(data.train.x)


def _seen(raw: Any) -> tuple[float | None, float | None]:
    """Range of the training values in double precision as a caller would send them: before rounding, clipping and logarithms."""
    if pd.api.types.is_datetime64_any_dtype(raw):
        moments = np.asarray(raw, dtype="datetime64[us]")
        values = np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6 / 86_400)
    else:
        values = np.asarray(pd.to_numeric(raw, errors="coerce"), dtype=np.float64)
    seen = values[np.isfinite(values)]
    return (float(seen.min()), float(seen.max())) if len(seen) else (None, None)


def records(x: Any) -> list[dict[str, Any]]:
    """Rows as a caller would send them: numbers, text, null; dates as ISO text."""
    columns = {c: [_plain(v) for v in x[c]] for c in x.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    plain = value.item() if hasattr(value, "item") else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() and math.fabs(plain) < 2**53 else plain


def check_parity(
    model: LabelledPipeline, manifest: BundleManifest, body: bytes, rows: Table, log: logging.Logger, chunk: int = 2000
) -> tuple[dict[str, float], np.ndarray]:
    """Predict every held-out row through the API's own predictor and through the pipeline. `body`: the graph, or the pickle.

    Returns the figures, and the probabilities as the bundle gives them, shape [rows, classes].

    Of a pickle it shows that rows as callers send them, and the model as it comes out of its file, give what training saw.

    Raises JobFailed when a probability differs by more than TOLERANCE or is no number, or when a label flips that is not a
    tie: such a bundle is never served. Within TOLERANCE of the threshold, or of the second class, either label is right.
    """
    try:
        read = read_manifest(manifest.to_json())
        predictor = open_pickle(read, body) if read.python else open_graph(read, body)
    except DropforgeError as error:
        raise JobFailed(f"the bundle cannot be opened: {error.message}", code="bundle_broken", fix=error.fix) from error
    differences, flips, probabilities = [], 0, []
    for start in range(0, len(rows), chunk):
        part = rows.x.iloc[start : start + chunk]
        try:
            served = predictor.predict(records(part))
        except InvalidRequest as error:
            raise JobFailed(
                f"the bundle refuses held-out rows: {error.message}", code="parity", fix=error.fix
            ) from error
        expected = model.predict_proba(part)
        probabilities.append(served.probabilities)
        differences.append(np.abs(served.probabilities - expected).max())
        flipped = np.array(served.labels, dtype=object) != model.predict(part)
        flips += int((flipped & ~_undecided(expected, model)).sum())
    worst = float(np.max(differences))  # NaN where any difference is: Python's max would drop it
    log.info("bundle checked", extra={"rows": len(rows), "max_abs_difference": worst, "label_flips": flips})
    if not worst <= TOLERANCE or flips:
        raise JobFailed(
            f"the bundle differs from its pipeline: max |Δp| {worst:.2g} (allowed {TOLERANCE:g}), {flips} of {len(rows)} labels flip",
            code="parity",
            fix="a step is not exact in float32 (scaling before trees?); remove it, or use a step with an exact converter"
            if read.python is None
            else "a step depends on more than the row's values (types of columns, their order, chance); take numbers as float64",
        )
    figures = {"max_abs_difference": worst, "label_flips": float(flips), "rows": float(len(rows))}
    return figures, np.concatenate(probabilities)


@dataclass(frozen=True, slots=True)
class CheckedNumbers:
    """A regression's held-out rows as its bundle gives them. `output`: before the inverse transform, `widths`: shape [rows]."""

    figures: dict[str, float]
    output: np.ndarray
    widths: np.ndarray


def check_number_parity(
    model: NumberPipeline,
    manifest: BundleManifest,
    body: bytes,
    width_body: bytes,
    rows: Table,
    log: logging.Logger,
    chunk: int = 2000,
) -> CheckedNumbers:
    """As check_parity, for a regression: the difference is relative to the larger of the number and the target's standard deviation.

    Raises JobFailed when one differs by more than TOLERANCE or is no number.
    """
    try:
        read = read_manifest(manifest.to_json())
        predictor = open_pickle(read, body) if read.python else open_graph(read, body, lambda: width_body)
    except DropforgeError as error:
        raise JobFailed(f"the bundle cannot be opened: {error.message}", code="bundle_broken", fix=error.fix) from error
    spread = float(np.std(rows.y)) or 1.0
    differences, outputs, widths = [], [], []
    for start in range(0, len(rows), chunk):
        part = rows.x.iloc[start : start + chunk]
        try:
            served = predictor.predict(records(part))
        except InvalidRequest as error:
            raise JobFailed(
                f"the bundle refuses held-out rows: {error.message}", code="parity", fix=error.fix
            ) from error
        expected = model.predict(part)
        size = np.maximum(np.abs(expected), spread)
        differences.append((np.abs(served.probabilities[:, 0] - expected) / size).max())
        outputs.append(predictor.raw_run(served.feeds).reshape(-1).astype(np.float64))
        widths.append(predictor.widths(served.feeds, len(part)))
    worst = float(np.max(differences))  # NaN where any difference is: Python's max would drop it
    log.info("bundle checked", extra={"rows": len(rows), "max_relative_difference": worst})
    if not worst <= TOLERANCE:
        raise JobFailed(
            f"the bundle differs from its pipeline: relative difference {worst:.2g} (allowed {TOLERANCE:g})",
            code="parity",
            fix="a step is not exact in float32; remove it, or use a step with an exact converter",
        )
    figures = {"max_abs_difference": worst, "rows": float(len(rows))}
    return CheckedNumbers(figures, np.concatenate(outputs), np.concatenate(widths))


def _undecided(probabilities: np.ndarray, model: LabelledPipeline) -> np.ndarray:
    """Which rows lie so near a decision that a difference within TOLERANCE may turn it, shape [rows]."""
    if model.positive:
        chance = probabilities[:, list(model.classes_).index(model.positive)]
        return np.asarray(np.abs(chance - model.threshold) <= TOLERANCE)
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
    return np.asarray(first - second <= 2 * TOLERANCE)
