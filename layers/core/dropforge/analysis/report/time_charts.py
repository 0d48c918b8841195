"""A series over time as SVG text: reference and new as steps by period on one axis of time, with two standard errors around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from dropforge.analysis.report import axes
from dropforge.analysis.report_model import TimePoints, TimeSeries
from dropforge.analysis.timeline import Unit

_WIDTH, _HEIGHT = 360, 132
_LEFT, _TOP, _BASE = 44, 10, 112
_NARROWEST = 2.0  # a period's step

Scale = Callable[[float], float]


def chart(series: TimeSeries, unit: Unit) -> str:
    """Empty without a value. `unit`: of the labels below."""
    parts = [p for p in (series.reference, series.new) if any(v is not None for v in p.values)]
    if not parts:
        return ""
    start, end = min(p.starts[0] for p in parts), max(p.ends[-1] for p in parts)
    low, high = _range(series, [v for p in parts for v in p.values if v is not None])

    def x(moment: float) -> float:
        return _LEFT + (_WIDTH - _LEFT) * (moment - start) / (end - start)

    def y(value: float) -> float:
        return _BASE - (_BASE - _TOP) * (min(max(value, low), high) - low) / (high - low)

    drawn = []
    for part, css in ((series.reference, "ref"), (series.new, "new")):
        if part in parts:
            drawn += [_band(part, x, y, css), _steps(part, x, y, css)]
    shown = _percent if series.kind in {"fraction", "missing"} else axes.plain
    texts = "".join(
        f'<text x="{_LEFT - 5}" y="{y(value) + 3:.0f}" text-anchor="end">{shown(value)}</text>' for value in (high, low)
    )
    middle, last = (start + end) / 2, max(p.starts[-1] for p in parts)
    for moment, place, anchor in (
        (start, _LEFT, "start"),
        (middle, (_LEFT + _WIDTH) // 2, "middle"),
        (last, _WIDTH, "end"),
    ):
        texts += f'<text x="{place}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{label(moment, unit)}</text>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(series.title)}, by {unit}, {shown(low)} to '
        f'{shown(high)}">{"".join(drawn)}<line x1="{_LEFT}" y1="{_BASE}" x2="{_WIDTH}" y2="{_BASE}"/>{texts}</svg>'
    )


def label(moment: float, unit: Unit) -> str:
    """A period's start, as exact as the unit."""
    try:
        date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment)
    except OverflowError:
        return axes.date(moment) or ""
    match unit:
        case "hour":
            return f"{date:%m-%d %H:%M}"
        case "month":
            return f"{date:%Y-%m}"
        case "quarter":
            return f"{date.year} Q{(date.month + 2) // 3}"
        case "year":
            return str(date.year)
        case _:
            return date.date().isoformat()


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _range(series: TimeSeries, values: Sequence[float]) -> tuple[float, float]:
    """From zero for rows; for the others what the values reach, with room around them, and never more than is possible."""
    low, high = min(values), max(values)
    if series.kind == "rows":
        return 0.0, high or 1.0
    room = 0.15 * (high - low) or (0.01 if series.kind != "mean" else abs(high) * 0.05 or 1.0)
    if series.kind == "mean":
        return low - room, high + room
    return max(0.0, low - room), min(1.0, high + room)


def _segments(part: TimePoints) -> list[list[int]]:
    """Indices of periods that follow each other without a gap."""
    segments = list[list[int]]()
    for i, value in enumerate(part.values):
        if value is None:
            continue
        if segments and segments[-1][-1] == i - 1 and part.ends[i - 1] == part.starts[i]:
            segments[-1].append(i)
        else:
            segments.append([i])
    return segments


def _steps(part: TimePoints, x: Scale, y: Scale, css: str) -> str:
    path = ""
    for segment in _segments(part):
        first = x(part.starts[segment[0]])
        path += f"M{first:.1f}"
        for i in segment:
            value = part.values[i]
            path += (
                f"{' ' if i == segment[0] else 'V'}{y(value or 0.0):.1f}H{max(x(part.ends[i]), first + _NARROWEST):.1f}"
            )
    return f'<path class="trend {css}" d="{path}"/>'


def _band(part: TimePoints, x: Scale, y: Scale, css: str) -> str:
    """Two standard errors around each value; nothing for counts."""
    path = ""
    for segment in _segments(part) if part.errors else ():
        first = x(part.starts[segment[0]])
        bounds = [(part.starts[i], part.ends[i], part.values[i] or 0.0, 2 * (part.errors[i] or 0.0)) for i in segment]
        path += f"M{first:.1f} {y(bounds[0][2] + bounds[0][3]):.1f}"
        path += "".join(f"V{y(v + e):.1f}H{max(x(end), first + _NARROWEST):.1f}" for _, end, v, e in bounds)
        path += "".join(f"V{y(v - e):.1f}H{x(start):.1f}" for start, _, v, e in reversed(bounds)) + "Z"
    return f'<path class="band {css}" d="{path}"/>' if path else ""
