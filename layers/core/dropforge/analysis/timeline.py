"""Rows, target and missing values by period of a time column: what the report's charts over time are drawn from.

The rows are grouped once, by hour or day (`Counts.by_time`, additive over shards); unit and window are chosen from those groups,
so that a profile has a bounded number of periods whatever dates the column holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge.datasets.table_schema import Column, Schema

Unit = Literal["hour", "day", "week", "month", "quarter", "year"]

_DAY = 86_400.0
SECONDS: Final[dict[Unit, float]] = {
    "hour": 3600.0,
    "day": _DAY,
    "week": 7 * _DAY,
    "month": 30.4375 * _DAY,
    "quarter": 91.3125 * _DAY,
    "year": 365.25 * _DAY,
}
PERIODS = 120  # of one timeline, the most
_LONGEST: Final[dict[Unit, float]] = {"hour": 4, "day": 100, "week": 730, "month": 3653, "quarter": 10_958}  # in days
_HOURLY_SPAN = 366 * _DAY  # from the first to the last moment, up to which rows are grouped by hour, else by day
TIMES = 3  # datetime columns that are looked at; the one with the fewest missing values is used
CLASSES = 12  # of a target, up to which each class is counted
_FOLLOWED = 64  # columns whose missing values are counted by period
_STORED = 24  # of these: in a profile, those with most missing values
_TAIL = 64  # one of so many rows may lie outside the window at either end


class Timeline(BaseModel):
    """Additive counts by period. Tuples have one entry a period with rows, in the order of `starts`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    column: str = Field(description="the time column")
    unit: Unit
    starts: tuple[int, ...] = Field(default=(), description="seconds since 1970 (UTC) of the period's start, ascending")
    rows: tuple[int, ...] = ()
    outside: tuple[int, int] = Field(default=(0, 0), description="rows before the first period, and after the last")
    first: float = Field(description="seconds since 1970 of the earliest moment in the periods, by the hour or day")
    last: float
    known: tuple[int, ...] = Field(default=(), description="rows with a target")
    total: tuple[float, ...] = Field(default=(), description="of a target that is a number: its sum")
    squares: tuple[float, ...] = ()
    classes: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="rows by class of the target")
    missing: dict[str, tuple[int, ...]] = Field(default_factory=dict, description="rows without a value, by column")


def time_columns(schema: Schema) -> list[int]:
    """Indices of the datetime columns that are counted by period."""
    indices = [i for i, c in enumerate(schema.columns) if c.kind == "datetime" and c.name != schema.target]
    return indices[:TIMES]


def base_unit(minimum: float, maximum: float) -> Unit:
    """What rows are grouped by at first. A part of a table is never grouped by a longer unit than the whole."""
    return "hour" if maximum - minimum <= _HOURLY_SPAN else "day"


def followed(schema: Schema) -> list[Column]:
    """The columns whose missing values are counted by period."""
    return [c for c in schema.columns if c.name != schema.target][:_FOLLOWED]


def counted_classes(schema: Schema) -> tuple[str, ...]:
    """The target's classes, where they are few enough to be counted one by one."""
    return schema.classes if len(schema.classes) <= CLASSES and _is_class(schema) else ()


def target_sums(schema: Schema) -> int:
    """Columns t0, t1 … of `Counts.by_time`: rows with a target, then its sum and squares, or the rows of each class."""
    return 1 + (len(counted_classes(schema)) if _is_class(schema) else 2)


def build(db: Any, schema: Schema, by_time: Callable[[int], str], basics: Sequence[Any]) -> Timeline | None:
    """None without a time column that has values.

    by_time: statement for (start, n, t0 …, m0 …) of the column of an index. basics: of every column, in order: missing, and of
    dates minimum and maximum in seconds since 1970.
    """
    filled = [i for i in time_columns(schema) if basics[i]["minimum"] is not None]
    if not filled:
        return None
    chosen = min(filled, key=lambda i: (basics[i]["missing"], i))
    grouped_by = base_unit(float(basics[chosen]["minimum"]), float(basics[chosen]["maximum"]))
    db.execute(f"CREATE OR REPLACE TEMP TABLE by_time AS {by_time(chosen)}")
    groups = db.execute("SELECT epoch(start)::BIGINT AS s, CAST(sum(n) AS BIGINT) FROM by_time GROUP BY 1 ORDER BY 1")
    unit, first, last = _window([(int(s), int(n)) for s, n in groups.fetchall()])
    sums = [f"t{k}" for k in range(target_sums(schema))] + [f"m{k}" for k in range(len(followed(schema)))]
    periods = db.execute(
        f"SELECT epoch(date_trunc('{unit}', start))::BIGINT AS s, sum(n), {', '.join(f'sum({s})' for s in sums)} FROM by_time "
        f"WHERE epoch(start) BETWEEN {first} AND {last} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    outside = db.execute(
        f"SELECT coalesce(sum(n) FILTER (epoch(start) < {first}), 0), coalesce(sum(n) FILTER (epoch(start) > {last}), 0) "
        "FROM by_time"
    ).fetchone()
    db.execute("DROP TABLE by_time")
    counted = list(zip(*periods, strict=True))
    width = target_sums(schema)
    return Timeline(
        column=schema.columns[chosen].name,
        unit=unit,
        starts=counted[0],
        rows=_whole(counted[1]),
        outside=_whole(outside),
        first=float(first),
        last=float(last) + SECONDS[grouped_by],
        **_target(schema, counted[2 : 2 + width]),
        missing=_missing(schema, counted[2 + width :]),
    )


def _window(groups: list[tuple[int, int]]) -> tuple[Unit, int, int]:
    """Unit of the groups without their tails; first and last start: of these, and of as many around them as PERIODS allow."""
    total, seen = sum(n for _, n in groups), 0
    low, high = groups[0][0], groups[-1][0]
    for start, n in groups:
        before, seen = seen, seen + n
        if before * _TAIL < total <= seen * _TAIL:
            low = start
        if before * _TAIL < (_TAIL - 1) * total <= seen * _TAIL:
            high = start
    unit: Unit = next((u for u, days in _LONGEST.items() if high - low <= days * _DAY), "year")
    span = (PERIODS - 2) * SECONDS[unit]
    low = next(start for start, _ in groups if start >= high - span)
    high = next(start for start, _ in reversed(groups) if start <= low + span)
    return unit, low, high


def _is_class(schema: Schema) -> bool:
    target = next((c for c in schema.columns if c.name == schema.target), None)
    return target is None or not target.numeric


def _target(schema: Schema, sums: Sequence[Sequence[Any]]) -> dict[str, Any]:
    known = _whole(sums[0])
    if not any(known):
        return {}
    if _is_class(schema):
        return {"known": known, "classes": dict(zip(counted_classes(schema), map(_whole, sums[1:]), strict=True))}
    return {"known": known, "total": tuple(map(float, sums[1])), "squares": tuple(map(float, sums[2]))}


def _missing(schema: Schema, sums: Sequence[Sequence[Any]]) -> dict[str, tuple[int, ...]]:
    counts = {c.name: _whole(s) for c, s in zip(followed(schema), sums, strict=True) if any(s)}
    most = sorted(counts, key=lambda name: -sum(counts[name]))[:_STORED]
    return {name: counts[name] for name in counts if name in most}


def _whole(values: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def next_start(start: int, unit: Unit) -> int:
    """Seconds since 1970 of the start of the period after the one that starts at `start`."""
    if unit in {"hour", "day", "week"}:
        return start + int(SECONDS[unit])
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    months = {"month": 1, "quarter": 3, "year": 12}[unit] + moment.month - 1
    if moment.year + months // 12 > 9999:
        return start + int(SECONDS[unit])
    return int(moment.replace(year=moment.year + months // 12, month=months % 12 + 1).timestamp())
