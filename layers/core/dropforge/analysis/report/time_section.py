"""Which series over time a report shows, from the timelines of two profiles: rows, the target, and missing values that move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report_model import TimePoints, TimeReport, TimeSeries
from dropforge.analysis.timeline import PERIODS, SECONDS, Timeline, Unit, next_start
from dropforge.config.settings import DataSettings

_FEWEST = 5  # rows with a value, below which a period has no fraction and no mean
_CLASSES_SHOWN, _MISSING_SHOWN = 3, 6
_MOVED_DEVIATE, _MOVED_POINTS = (
    5.0,
    0.02,
)  # of the test that the fraction is the same in all periods; and by how much one differs
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


def _rows(timeline: Timeline | None, unit: Unit) -> TimePoints:
    """Rows by period as a rate per `unit`, 0 where there are none: the first and the last period are rarely whole."""
    if timeline is None:
        return _NONE
    counts = dict(zip(timeline.starts, timeline.rows, strict=True))
    starts, start = list[int](), timeline.starts[0]
    while start <= timeline.starts[-1] and len(starts) < PERIODS + 1:
        starts.append(start)
        start = next_start(start, timeline.unit)
    points = _points(timeline, starts, ())
    scale = SECONDS[unit] / SECONDS[timeline.unit]
    lengths = [next_start(s, timeline.unit) - s for s in starts]
    values = [
        counts.get(s, 0) * scale * length / (end - start)
        for s, length, start, end in zip(starts, lengths, points.starts, points.ends, strict=True)
    ]
    return points.model_copy(update={"values": tuple(values)})


def _points(
    timeline: Timeline, starts: Sequence[int], values: Sequence[float | None], errors: Sequence[float | None] = ()
) -> TimePoints:
    """The first period begins, and the last one ends, with the rows."""
    begins = [max(s, int(timeline.first)) for s in starts]
    ends = [min(next_start(s, timeline.unit), int(timeline.last)) for s in starts]
    return TimePoints(starts=tuple(begins), ends=tuple(ends), values=tuple(values), errors=tuple(errors))


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
    counted = [
        _fraction_series(
            f"{data.target} = {name}", data.target, "fraction", [_of_class(t, name) for t in (before, now)]
        )
        for name in classes
    ]
    yield from _most_moving(counted, _CLASSES_SHOWN, at_least=1)


def _missing(before: Timeline | None, now: Timeline | None) -> Iterator[TimeSeries]:
    """The columns whose fraction of missing values moves most over time; none where it does not move."""
    names = dict.fromkeys(c for t in (before, now) if t for c in t.missing)
    counted = [
        _fraction_series(f"{name}: missing", name, "missing", [_of_missing(t, name) for t in (before, now)])
        for name in names
    ]
    yield from _most_moving(counted, _MISSING_SHOWN)


class _Counted(NamedTuple):
    """Rows of some kind (k) of all rows (n) by period; None without a timeline."""

    timeline: Timeline
    k: Sequence[int]
    n: Sequence[int]


def _of_class(timeline: Timeline | None, name: str) -> _Counted | None:
    return _Counted(timeline, timeline.classes[name], timeline.known) if timeline and name in timeline.classes else None


def _of_missing(timeline: Timeline | None, name: str) -> _Counted | None:
    if timeline is None:
        return None
    return _Counted(timeline, timeline.missing.get(name, (0,) * len(timeline.rows)), timeline.rows)


def _fraction_series(
    title: str, column: str, kind: Literal["fraction", "missing"], parts: Sequence[_Counted | None]
) -> tuple[float, TimeSeries]:
    """The series, and how far it moves."""
    reference, new = (_fractions(p) if p else _NONE for p in parts)
    series = TimeSeries(title=title, kind=kind, column=column, reference=reference, new=new)
    return _movement([(k, n) for p in parts if p for k, n in zip(p.k, p.n, strict=True) if n >= _FEWEST]), series


def _most_moving(counted: list[tuple[float, TimeSeries]], most: int, at_least: int = 0) -> list[TimeSeries]:
    ranked = sorted(counted, key=lambda c: -c[0])[:most]
    return [series for i, (movement, series) in enumerate(ranked) if movement or i < at_least]


def _movement(periods: Sequence[tuple[int, int]]) -> float:
    """Largest distance of a period's fraction from that of all periods; 0 where it is tiny, or chance explains it.

    Pearson's statistic for equal fractions, as normal deviate: Wilson and Hilferty (1931).
    """
    rows, total = sum(n for _, n in periods), sum(k for k, _ in periods)
    degrees = len(periods) - 1
    if degrees < 1 or not 0 < total < rows:
        return 0.0
    p = total / rows
    statistic = math.fsum((k - n * p) ** 2 / (n * p * (1 - p)) for k, n in periods)
    deviate = (math.cbrt(statistic / degrees) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    far = max(abs(k / n - p) for k, n in periods)
    return far if deviate > _MOVED_DEVIATE and far > _MOVED_POINTS else 0.0


def _fractions(counted: _Counted) -> TimePoints:
    """Fractions with their standard errors, of Agresti and Coull (1998): two successes and two failures added."""
    values, errors = list[float | None](), list[float | None]()
    for k, n in zip(counted.k, counted.n, strict=True):
        adjusted = (k + 2) / (n + 4)
        values.append(k / n if n >= _FEWEST else None)
        errors.append(math.sqrt(adjusted * (1 - adjusted) / (n + 4)) if n >= _FEWEST else None)
    return _points(counted.timeline, counted.timeline.starts, values, errors)


def _means(timeline: Timeline | None) -> TimePoints:
    """Means with their standard errors."""
    if timeline is None or not timeline.total:
        return _NONE
    values, errors = list[float | None](), list[float | None]()
    for n, x, xx in zip(timeline.known, timeline.total, timeline.squares, strict=True):
        variance = max(0.0, (xx - x * x / n) / (n - 1)) if n >= _FEWEST else 0.0
        values.append(x / n if n >= _FEWEST else None)
        errors.append(math.sqrt(variance / n) if n >= _FEWEST else None)
    return _points(timeline, timeline.starts, values, errors)
