"""Which series over time a report shows, from the timelines of two profiles: rows, the target, and missing values that move."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report_model import TimePoints, TimeReport, TimeSeries
from dropforge.analysis.timeline import PERIODS, SECONDS, Timeline, next_start
from dropforge.config.settings import DataSettings

_FEWEST = 5  # rows with a value, below which a period has no fraction and no mean
_CLASSES_SHOWN, _MISSING_SHOWN = 3, 6
_MOVED_ERRORS, _MOVED_POINTS = 4.5, 0.02  # of a period's fraction from that of all: in standard errors, and by itself
_NONE = TimePoints()


def time_report(reference: Profile | None, new: Profile, data: DataSettings) -> TimeReport | None:
    """None without a time column, and where all rows are of one period."""
    now, before = new.timeline, reference.timeline if reference else None
    if before and now and before.column != now.column:
        before = None
    shown = [t for t in (before, now) if t]
    if len({(t.unit, s) for t in shown for s in t.starts}) < 2:
        return None
    unit = shown[0].unit
    rows = TimeSeries(
        title=f"Rows per {unit}",
        kind="rows",
        reference=_rows(before, unit),
        new=_rows(now, unit),
    )
    series = [rows, *_target(before, now, data), *_missing(before, now)]
    ends = [t.outside for t in shown]
    return TimeReport(
        column=shown[0].column,
        unit=unit,
        unit_new=now.unit if now else unit,
        outside=(sum(a for a, _ in ends), sum(b for _, b in ends)),
        series=tuple(series),
    )


def _rows(timeline: Timeline | None, unit: str) -> TimePoints:
    """Rows by period, 0 where there are none; per `unit` where the periods are of another length."""
    if timeline is None:
        return _NONE
    counts = dict(zip(timeline.starts, timeline.rows, strict=True))
    scale = SECONDS[unit] / SECONDS[timeline.unit]  # type: ignore[index] # a Unit
    starts, start = list[int](), timeline.starts[0]
    while start <= timeline.starts[-1] and len(starts) < PERIODS + 1:
        starts.append(start)
        start = next_start(start, timeline.unit)
    values = [counts.get(s, 0) * scale for s in starts]
    return TimePoints(starts=tuple(starts), ends=_ends(timeline, starts), values=tuple(values))


def _ends(timeline: Timeline, starts: Sequence[int]) -> tuple[int, ...]:
    return tuple(next_start(s, timeline.unit) for s in starts)


def _target(before: Timeline | None, now: Timeline | None, data: DataSettings) -> Iterator[TimeSeries]:
    if any(t and t.total for t in (before, now)):
        yield TimeSeries(
            title=f"Mean of {data.target}", kind="mean", column=data.target, reference=_means(before), new=_means(now)
        )
        return
    classes = list(dict.fromkeys(c for t in (before, now) if t for c in t.classes))
    if len(classes) == 2:
        rarer = min(classes, key=lambda c: sum(sum(t.classes.get(c, ())) for t in (before, now) if t))
        classes = [data.positive_class if data.positive_class in classes else rarer]
    series = []
    for name in classes:
        parts = [_fractions(t, t.classes.get(name) if t else None, t.known if t else ()) for t in (before, now)]
        series.append(_fraction_series(f"{data.target} = {name}", data.target, parts))
    yield from sorted(series, key=_movement, reverse=True)[:_CLASSES_SHOWN]


def _missing(before: Timeline | None, now: Timeline | None) -> list[TimeSeries]:
    """The columns whose fraction of missing values moves most over time; none where it does not move."""
    series = []
    for name in dict.fromkeys(c for t in (before, now) if t for c in t.missing):
        parts = [
            _fractions(t, t.missing.get(name, (0,) * len(t.rows)) if t else None, t.rows if t else ())
            for t in (before, now)
        ]
        series.append(_fraction_series(f"{name}: missing", name, parts, kind="missing"))
    moving = [s for s in series if _movement(s) > 0]
    return sorted(moving, key=_movement, reverse=True)[:_MISSING_SHOWN]


def _fraction_series(title: str, column: str, parts: Sequence[TimePoints], kind: str = "fraction") -> TimeSeries:
    return TimeSeries.model_validate(
        {"title": title, "kind": kind, "column": column, "reference": parts[0], "new": parts[1]}
    )


def _movement(series: TimeSeries) -> float:
    """Largest distance of a period's fraction from the mean of all periods, where it is beyond chance and not tiny; else 0."""
    points = [
        (value, error)
        for part in (series.reference, series.new)
        for value, error in zip(part.values, part.errors, strict=True)
        if value is not None and error is not None
    ]
    if not points:
        return 0.0
    weights = [1 / max(error, 1e-9) ** 2 for _, error in points]
    center = math.fsum(w * v for w, (v, _) in zip(weights, points, strict=True)) / math.fsum(weights)
    far = [abs(v - center) for v, e in points if abs(v - center) > max(_MOVED_ERRORS * e, _MOVED_POINTS)]
    return max(far, default=0.0)


def _fractions(timeline: Timeline | None, counts: Sequence[int] | None, rows: Iterable[int]) -> TimePoints:
    """Fractions with their standard errors, of Agresti and Coull (1998): two successes and two failures added."""
    if timeline is None or counts is None:
        return _NONE
    values, errors = list[float | None](), list[float | None]()
    for k, n in zip_longest(counts, rows, fillvalue=0):
        adjusted = (k + 2) / (n + 4)
        values.append(k / n if n >= _FEWEST else None)
        errors.append(math.sqrt(adjusted * (1 - adjusted) / (n + 4)) if n >= _FEWEST else None)
    return TimePoints(
        starts=timeline.starts, ends=_ends(timeline, timeline.starts), values=tuple(values), errors=tuple(errors)
    )


def _means(timeline: Timeline | None) -> TimePoints:
    """Means with their standard errors."""
    if timeline is None or not timeline.total:
        return _NONE
    values, errors = list[float | None](), list[float | None]()
    for n, x, xx in zip(timeline.known, timeline.total, timeline.squares, strict=True):
        variance = max(0.0, (xx - x * x / n) / (n - 1)) if n >= _FEWEST else 0.0
        values.append(x / n if n >= _FEWEST else None)
        errors.append(math.sqrt(variance / n) if n >= _FEWEST else None)
    return TimePoints(
        starts=timeline.starts, ends=_ends(timeline, timeline.starts), values=tuple(values), errors=tuple(errors)
    )
