"""Inline SVG, drawn in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dropforge_ui.markup import Markup, tag
from dropforge_ui.words import number

_W, _H = 560, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 30


def curve(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    title: str,
    at: float | None = None,
    line: float | None = None,
    labels: Sequence[str] = (),
) -> Markup:
    """`ys` in 0 … 1 over `xs` (sorted). `at` marks the present value, `line` is a horizontal threshold.

    `labels`: of the five marks from 0 to 1; percentages when left out.
    """
    low, high = min(xs), max(xs)
    span = (high - low) or 1.0

    def px(x: float) -> float:
        return _LEFT + (x - low) / span * (_W - _LEFT - _RIGHT)

    def py(y: float) -> float:
        return _TOP + (1 - y) * (_H - _TOP - _BOTTOM)

    points = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in zip(xs, ys, strict=True))
    marks = []
    if line is not None:
        marks.append(tag("line", x1=_LEFT, x2=_W - _RIGHT, y1=py(line), y2=py(line), class_="threshold"))
    if at is not None and low <= at <= high:
        nearest = min(range(len(xs)), key=lambda i: abs(xs[i] - at))
        marks.append(tag("line", x1=px(at), x2=px(at), y1=_TOP, y2=_H - _BOTTOM, class_="here"))
        marks.append(tag("circle", cx=px(xs[nearest]), cy=py(ys[nearest]), r=4.5, class_="dot"))
    ticks = [low + span * i / 4 for i in range(5)]
    return _drawing(
        title,
        _grid(py, (0, 0.25, 0.5, 0.75, 1), labels),
        [
            tag("text", number(round(t) if span > 20 else round(t, 6)), x=px(t), y=_H - 10, text_anchor=_anchor(i, 5))
            for i, t in enumerate(ticks)
        ],
        marks,
        tag("polyline", points=points, class_="curve"),
    )


def lines(series: Sequence[tuple[str, Sequence[float]]], labels: Sequence[str], *, title: str, top: float) -> Markup:
    """Several series over the same positions, each a class `s0`, `s1` …; values from 0 to `top`."""
    steps = max(1, len(labels) - 1)
    top = math.ceil(round(top / 0.2, 6)) * 0.2  # the middle line is a short number

    def px(i: int) -> float:
        return _LEFT + i / steps * (_W - _LEFT - _RIGHT) if len(labels) > 1 else (_LEFT + _W - _RIGHT) / 2

    def py(y: float) -> float:
        return _TOP + (1 - min(y / top, 1.0)) * (_H - _TOP - _BOTTOM)

    drawn = []
    for k, (name, ys) in enumerate(series):
        points = " ".join(f"{px(i):.1f},{py(y):.1f}" for i, y in enumerate(ys))
        dots = [tag("circle", tag("title", f"{name}: {number(y)}"), cx=px(i), cy=py(y), r=3) for i, y in enumerate(ys)]
        drawn.append(tag("g", tag("polyline", points=points), dots, class_=f"series s{k}"))
    shown = sorted({0, len(labels) - 1}) if len(labels) > 1 else [0]
    return _drawing(
        title,
        [_level(py(top * f), number(round(top * f, 4))) for f in (0, 0.5, 1)],
        [
            tag("text", labels[i], x=px(i), y=_H - 10, text_anchor="start" if i == 0 < len(labels) - 1 else "end")
            for i in shown
        ],
        drawn,
    )


def columns(values: Sequence[tuple[str, float, float]], *, title: str) -> Markup:
    """Stacked columns: (label, whole, part of it that is bad)."""
    top = max((v for _, v, _ in values), default=0) or 1
    top += top % 2  # the middle line is a whole number
    wide = (_W - _LEFT - _RIGHT) / max(1, len(values))

    def py(y: float) -> float:
        return _TOP + (1 - y / top) * (_H - _TOP - _BOTTOM)

    drawn = []
    for i, (label, whole, bad) in enumerate(values):
        x = _LEFT + i * wide + wide * 0.12
        tip = tag("title", f"{label}: {number(whole)}" + (f", {number(bad)} of them errors" if bad else ""))
        drawn.append(tag("rect", tip, x=x, y=py(whole), width=wide * 0.76, height=py(0) - py(whole), class_="whole"))
        if bad:
            drawn.append(tag("rect", x=x, y=py(bad), width=wide * 0.76, height=py(0) - py(bad), class_="bad"))
    ends = [(0, "start"), (len(values) - 1, "end")] if len(values) > 1 else [(0, "start")]
    at = {"start": _LEFT, "end": _W - _RIGHT}
    return _drawing(
        title,
        [_level(py(top * f), number(round(top * f, 2))) for f in (0, 0.5, 1)],
        drawn,
        [tag("text", values[i][0], x=at[a], y=_H - 10, text_anchor=a) for i, a in ends if values],
    )


def interval(point: float, low: float, high: float, scale: tuple[float, float]) -> Markup:
    """A point with its interval on a common scale."""
    span = (scale[1] - scale[0]) or 1.0

    def px(v: float) -> float:
        return 4 + (v - scale[0]) / span * 112

    return tag(
        "svg",
        tag("line", x1=4, x2=116, y1=9, y2=9, class_="axis"),
        tag("line", x1=px(low), x2=px(high), y1=9, y2=9, class_="whisker") if high > low else None,
        tag("circle", cx=px(point), cy=9, r=4, class_="dot"),
        viewBox="0 0 120 18",
        class_="df-interval",
        aria_hidden="true",
    )


def _grid(py: object, levels: Sequence[float], labels: Sequence[str] = ()) -> list[Markup]:
    """Upright scale; `labels`: percentages when left out."""
    assert callable(py)  # noqa: S101 - narrows the type
    shown = labels or [f"{level:.0%}" for level in levels]
    return [_level(py(level), label) for level, label in zip(levels, shown, strict=True)]


def _level(y: float, label: str) -> Markup:
    rule = tag("line", x1=_LEFT, x2=_W - _RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="rule")
    return tag("g", rule, tag("text", label, x=_LEFT - 6, y=f"{y + 3.5:.1f}", text_anchor="end"))


def _anchor(i: int, of: int) -> str:
    return "start" if i == 0 else "end" if i == of - 1 else "middle"


def _drawing(title: str, *parts: object) -> Markup:
    return tag(
        "svg", tag("title", title), *parts, viewBox=f"0 0 {_W} {_H}", role="img", aria_label=title, class_="df-chart"
    )
