"""The fitted pipeline as an ONNX graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
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

from dropforge.errors import JobFailed
from dropforge_training.export import xgboost_graph
from dropforge_training.export.forest_split import split
from dropforge_training.preprocessing.cleaner import TableCleaner

NUMBERS, TEXTS = "numbers", "texts"


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
        XGBRegressor, "XGBoostXGBRegressor", calculate_linear_regressor_output_shapes, xgboost_graph.convert
    )
    update_registered_converter(
        HistGradientBoostingRegressor,
        "SklearnHistGradientBoostingRegressor",
        calculate_linear_regressor_output_shapes,
        _convert_hist_gradient_boosting_regressor,
    )


def to_onnx(pipeline: Pipeline, numbers: int, texts: int) -> tuple[bytes, str]:
    """Graph of everything after the cleaner, and the name of its output: probabilities, or a regression's numbers.

    Raises JobFailed naming the step that has no converter, and the way out.
    """
    _check_cleaner(pipeline.steps[0][1])
    _register_regressors()
    update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        xgboost_graph.convert,
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
    inputs = ([(NUMBERS, FloatTensorType([None, numbers]))] if numbers else []) + (
        [(TEXTS, StringTensorType([None, texts]))] if texts else []
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
        output = f"the step {named} has no ONNX converter" if named else str(error)
        raise JobFailed(
            f"the pipeline cannot be exported to ONNX: {output}",
            code="not_exportable",
            fix="use a step that has a converter (docs/how-to-new-model.md), do its work by `processing` in settings.yaml, or say "
            "`serve: python` in the model's entry: slower, in a function of its own",
        ) from error
    if not classifier:
        return graph.SerializeToString(), graph.graph.output[0].name
    probabilities = graph.graph.output[1].name
    return split(graph).SerializeToString(), probabilities


def _check_cleaner(cleaner: Any) -> None:
    """The API does a cleaner's work from the manifest: it can do what TableCleaner does, and nothing else."""
    changed = changed_methods(cleaner)
    if changed:
        raise JobFailed(
            f"the step cleaner ({type(cleaner).__name__}) cannot be exported: its {', '.join(changed)} is Python code of your own, "
            "which the prediction API does not run",
            code="not_exportable",
            fix="do its work by `processing` in settings.yaml, by TableCleaner's parameters, or in preprocessor() with steps that "
            "have an ONNX converter (docs/how-to-new-model.md); or say `serve: python` in the model's entry: slower, in a function "
            "of its own",
        )


def changed_methods(cleaner: Any) -> list[str]:
    """Methods of a cleaner that are not those of TableCleaner."""
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
            result = _without_converter([(i[0], i[1]) for i in inner], f"{within}{name} → ")
            if result:
                return result
        elif type(step) not in sklearn_operator_name_map:
            return f"{within}{name} ({type(step).__name__})"
    return ""


def records(x: Any) -> list[dict[str, Any]]:
    """Rows as a caller would send them: numbers, text, null; dates as ISO text."""
    columns = {c: [_plain(v) for v in x[c]] for c in x.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or value != value:  # noqa: PLR0124 - NaN and NaT
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    plain = value.item() if hasattr(value, "item") else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() and math.fabs(plain) < 2**53 else plain
