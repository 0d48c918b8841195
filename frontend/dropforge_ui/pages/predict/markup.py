"""A prediction, its reasons, and how it would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropforge_ui import charts
from dropforge_ui.markup import Markup, bar, card, chip, empty, join, tag
from dropforge_ui.shapes import ModelInfo, Prediction
from dropforge_ui.words import ago, contribution, count, number, who

_SHOWN = 10


def waiting() -> Markup:
    """While the prediction is computed."""
    return card("Prediction", empty("Nothing predicted yet", "Fill the form, or keep the example, and press Predict."))


def no_model() -> Markup:
    """Where no model is active."""
    return card(
        "Predict",
        empty(
            "No model is active",
            "A prediction needs a model that answers.",
            join(
                "Upload a table under ",
                tag("b", "Data"),
                ", then set an alias on a version and activate it under ",
                tag("b", "Models"),
                ".",
            ),
        ),
    )


def model_line(info: ModelInfo) -> Markup:
    """Who answers."""
    model = info["model"]
    parts = (
        tag("b", model["name"]),
        f" version {model['version']} ",
        chip(model.get("alias", ""), "accent"),
        tag(
            "span",
            f" predicts {info['target']}; set {ago(info.get('set_at', ''))} by {who(info.get('set_by') or 'somebody')}",
        ),
    )
    return tag("p", parts, class_="df-lead")


def result(answer: Prediction, info: ModelInfo, milliseconds: float) -> Markup:
    """The first prediction of an answer."""
    first = answer["predictions"][0]
    if "prediction" in first:
        return _number_result(first, answer, info, milliseconds)
    probabilities: Mapping[str, float] = first["probabilities"]
    label = str(first["label"])
    ordered = sorted(probabilities.items(), key=lambda p: -p[1])[:_SHOWN]
    bars = [bar(k, p, f"{p:.1%}", "accent" if k == label else "") for k, p in ordered]
    return card(
        "Prediction",
        tag("div", tag("span", info["target"], class_="eyebrow"), tag("p", label, class_="df-answer"), role="status"),
        bars,
        _threshold(answer, info),
        prediction_set(first),
        warnings(answer.get("warnings", [])),
        _foot(answer, milliseconds),
    )


def _number_result(first: Mapping[str, Any], answer: Prediction, info: ModelInfo, milliseconds: float) -> Markup:
    shown = tag("p", number(first["prediction"]), class_="df-answer")
    return card(
        "Prediction",
        tag("div", tag("span", info["target"], class_="eyebrow"), shown, role="status"),
        interval(first),
        warnings(answer.get("warnings", [])),
        _foot(answer, milliseconds),
    )


def _foot(answer: Prediction, milliseconds: float) -> Markup:
    model = answer["model"]
    text = f"{model['name']} version {model['version']}, answered in {milliseconds:.0f}\N{NO-BREAK SPACE}ms"
    return tag("p", text, class_="df-foot")


def interval(first: Mapping[str, Any]) -> Markup | None:
    """Where the number lies with the coverage asked for."""
    matches = first.get("interval")
    if not matches:
        return None
    level = f"{float(matches['coverage']):.0%}"
    return tag(
        "p", f"{level} interval: ", tag("b", f"{number(matches['low'])} to {number(matches['high'])}"), class_="df-note"
    )


def _threshold(answer: Prediction, info: ModelInfo) -> Markup | None:
    threshold, positive = answer.get("threshold"), info.get("positive_class")
    if threshold is None or not positive:
        return None
    return tag("p", f"“{positive}” is predicted from a probability of {threshold:.0%}.", class_="df-note")


def prediction_set(first: Mapping[str, Any]) -> Markup | None:
    """The labels that cannot be ruled out at the coverage asked for (conformal prediction)."""
    matches = first.get("prediction_set")
    if not matches:
        return None
    labels, level = matches["labels"], f"{float(matches['coverage']):.0%}"
    if not labels:
        return tag("p", f"This row is unlike every class: no label is plausible at {level} coverage.", class_="df-note")
    named = [(chip(str(x), "accent"), " ") for x in labels]
    if len(labels) == 1 and labels[0] != first["label"]:
        close = (f"A close call: at {level} coverage only ", named, "is plausible, though the other is likelier.")
        return tag("p", close, class_="df-note")
    output = "Only one label is plausible" if len(labels) == 1 else f"{len(labels)} labels are plausible"
    return tag("p", f"{output} at {level} coverage: ", named, class_="df-note")


def warnings(response: Sequence[Mapping[str, Any]]) -> Markup | None:
    """What the model was given that it did not know."""
    if not response:
        return None
    items = [
        tag(
            "li",
            tag("b", w["field"]) if w.get("field") else None,
            " " if w.get("field") else None,
            w.get("message", ""),
            f" (and {count(w['rows'] - 1, 'more row')})" if w.get("rows", 1) > 1 else None,
        )
        for w in response[:_SHOWN]
    ]
    more = tag("li", f"and {len(response) - _SHOWN} more") if len(response) > _SHOWN else None
    return tag("div", tag("strong", count(len(response), "warning")), tag("ul", items, more), class_="df-warn")


def contributions(first: Mapping[str, Any], record: Mapping[str, Any]) -> Markup | None:
    """What each feature did to the model's output, the largest first; None when the model does not say."""
    output = first.get("explanation")
    if not output or not output.get("contributions"):
        return None
    ordered = sorted(output["contributions"].items(), key=lambda p: -abs(p[1]))
    top = abs(ordered[0][1]) or 1.0
    rows = [_push(name, value, value / top, record.get(name)) for name, value in ordered[:_SHOWN]]
    rest = sum(v for _, v in ordered[_SHOWN:])
    others = (
        f"The other {len(ordered) - _SHOWN} features together: {contribution(rest)}." if len(ordered) > _SHOWN else ""
    )
    unit = str(output.get("space", "")).replace("_", " ")
    note = (
        f"To the right speaks for “{output['class']}”, to the left against it; in {unit}."
        if output.get("class")
        else f"To the right raises the prediction, to the left lowers it{_SPACES.get(str(output.get('space')), '')}."
    )
    return card("Why", tag("p", note, class_="df-note"), rows, tag("p", others, class_="df-note") if others else None)


_SPACES = {"log1p": "; on the logarithm of the target"}


def _push(name: str, value: float, share: float, given: Any) -> Markup:
    side = "right" if value >= 0 else "left"
    width = f"width:{abs(share) * 50:.2f}%"
    shown = "unknown" if given in (None, "") else number(given) if isinstance(given, int | float) else str(given)
    return tag(
        "div",
        tag("span", name, tag("small", shown), class_="name"),
        tag("span", tag("i", style=width, class_=side), class_="track both"),
        tag("span", contribution(value), class_="value"),
        class_="df-bar",
    )


def what_if(
    feature: str,
    values: Sequence[Any],
    probabilities: Sequence[float],
    present: Any,
    label: str,
    threshold: float | None,
) -> Markup:
    """The probability of `label` when only `feature` changes."""
    title = f"Probability of {label} by {feature}"
    spread = f"{min(probabilities):.0%} to {max(probabilities):.0%}"
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        here = float(present) if isinstance(present, int | float) else None
        drawn = charts.curve([float(v) for v in values], list(probabilities), title=title, at=here, line=threshold)
    else:
        ordered = sorted(zip(values, probabilities, strict=True), key=lambda p: -p[1])
        drawn = join(
            bar(str(v), p, f"{p:.1%}", "accent" if v == present else "", "now" if v == present else "")
            for v, p in ordered
        )
    output = f"Everything else as in the form, {feature} alone takes it from {spread}."
    named = tag("p", tag("b", f"Probability of “{label}”"), class_="df-note")
    return tag("div", named, tag("div", drawn), tag("p", output, class_="df-note"), class_="df-stacked")


def what_if_number(feature: str, values: Sequence[Any], numbers: Sequence[float], present: Any, target: str) -> Markup:
    """The predicted number when only `feature` changes."""
    title = f"{target} by {feature}"
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        here = float(present) if isinstance(present, int | float) else None
        labels = tuple(number(low + span * i / 4) for i in range(5))
        shares = [(n - low) / span for n in numbers]
        drawn = charts.curve([float(v) for v in values], shares, title=title, at=here, labels=labels)
    else:
        ordered = sorted(zip(values, numbers, strict=True), key=lambda p: -p[1])
        drawn = join(
            bar(
                str(v),
                (n - low) / span,
                number(n),
                "accent" if v == present else "",
                "now" if v == present else "",
            )
            for v, n in ordered
        )
    output = f"Everything else as in the form, {feature} alone takes it from {number(low)} to {number(high)}."
    named = tag("p", tag("b", f"Predicted {target}"), class_="df-note")
    return tag("div", named, tag("div", drawn), tag("p", output, class_="df-note"), class_="df-stacked")


def batch_done(rows: int, labels: Mapping[str, int], warned: int, seconds: float) -> Markup:
    """Summary of a predicted file."""
    total = max(1, sum(labels.values()))
    bars = [bar(k, n / total, f"{n:,}", "accent") for k, n in sorted(labels.items(), key=lambda p: -p[1])[:_SHOWN]]
    output = f"{count(rows, 'row')} predicted in {seconds:.1f} s"
    note = f"{count(warned, 'value')} outside what the model has seen" if warned else "no warnings"
    return join(tag("p", tag("b", output), f"; {note}.", role="status", class_="df-note"), bars)
