"""The form of a model's features: which control a feature gets, and what a control's value means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropforge_ui.shapes import Feature
from dropforge_ui.words import number

UNKNOWN = "unknown"
_CURVE_POINTS = 41
_MOST_CATEGORIES = 60


def hint(feature: Feature) -> str:
    """What the model saw in training, in a few words."""
    low, high = feature.get("minimum"), feature.get("maximum")
    if feature["kind"] in {"integer", "number"} and low is not None and high is not None:
        return f"{number(low)} to {number(high)} in training"
    if feature["kind"] == "category":
        return f"{len(feature.get('categories', ()))} values in training"
    return {"datetime": "such as 2026-01-31", "boolean": "true or false"}.get(feature["kind"], "any text")


def control(feature: Feature, example: Any) -> Any:
    """A Gradio component with the example's value in it; an empty one is an unknown value."""
    import gradio as gr

    present = initial(feature, example)
    given: dict[str, Any] = {
        "interactive": True,
        "label": feature["name"],
        "info": hint(feature) or None,
        "elem_classes": ["df-field"],
    }
    if feature["kind"] in {"integer", "number"}:
        exact = {"precision": 0} if feature["kind"] == "integer" else {}
        return gr.Number(value=present, placeholder=UNKNOWN, **exact, **given)
    if feature["kind"] == "boolean":
        return gr.Dropdown(choices=["true", "false", UNKNOWN], value=present, **given)
    if feature["kind"] == "category":
        choices = [*feature.get("categories", ()), UNKNOWN]
        return gr.Dropdown(choices=choices, value=present, allow_custom_value=True, **given)
    return gr.Textbox(value=present, placeholder=UNKNOWN, lines=1, max_lines=1, **given)


def initial(feature: Feature, example: Any) -> Any:
    """What a control shows for a value of a row; empty or UNKNOWN for None."""
    if feature["kind"] in {"integer", "number"}:
        return _number(example)
    return _word(example) if feature["kind"] in {"boolean", "category"} else str(example or "")


def value(feature: Feature, given: Any) -> Any:
    """What the API is sent for a control's value; None for unknown."""
    if given is None or given in ("", UNKNOWN):
        return None
    if feature["kind"] == "integer" and isinstance(given, float) and given.is_integer():
        return int(given)
    return given


def record(features: Sequence[Feature], given: Sequence[Any]) -> dict[str, Any]:
    """A row of the form's values, by feature."""
    return {f["name"]: value(f, v) for f, v in zip(features, given, strict=True)}


def sweep(feature: Feature, present: Any) -> list[Any]:
    """The values of a what-if: evenly over the training range (and the present value), or every category."""
    if feature["kind"] == "category":
        matches: list[Any] = list(feature.get("categories", ()))[:_MOST_CATEGORIES]
        return matches if present is None or present in matches else [present, *matches]
    if feature["kind"] == "boolean":
        return ["true", "false"]
    low, high = feature.get("minimum"), feature.get("maximum")
    if feature["kind"] not in {"integer", "number"} or low is None or high is None:
        return []
    if isinstance(present, int | float):
        low, high = min(low, present), max(high, present)
    steps = [low + (high - low) * i / (_CURVE_POINTS - 1) for i in range(_CURVE_POINTS)]
    if feature["kind"] == "integer":
        steps = [float(round(s)) for s in steps]
    if isinstance(present, int | float):
        steps.append(float(present))
    return sorted(set(steps))


def variable(features: Sequence[Feature]) -> list[str]:
    """Names of the features a what-if can vary."""
    return [f["name"] for f in features if len(sweep(f, None)) > 1]


def rows(base: Mapping[str, Any], name: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """The row with one feature set to each of the values."""
    return [{**base, name: v} for v in values]


def _number(given: Any) -> float | None:
    return float(given) if isinstance(given, int | float) else None


def _word(given: Any) -> str:
    if given is None or given == "":
        return UNKNOWN
    return str(given).lower() if isinstance(given, bool) else str(given)
