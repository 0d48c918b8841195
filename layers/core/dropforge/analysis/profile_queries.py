"""A profile from counts: bins, frequent values and axes are decided here, by independent questions, two at once."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dropforge.analysis import column_pairs, timeline
from dropforge.analysis.data_profile import (
    BUCKETS,
    EXTREMES,
    FEW_ROWS,
    FREQUENT,
    VALUE_SKETCH,
    ColumnProfile,
    Profile,
    Sums,
    is_binned,
)
from dropforge.analysis.row_counts import Basics, Counts, Gap, RowCounts, class_numbers, gaps
from dropforge.datasets.table_schema import Column, Schema
from dropforge.ingest import text_encoding
from dropforge.ingest.duckdb_connection import quote

_POINTS = 80  # numeric columns with at most this many values are counted value by value
_QUANTILES = 64
_CATEGORIES = 200
_IN_MEMORY_BYTES = 64_000_000  # of compressed Parquet
_AT_ONCE = 2
_FAR = 3.0  # interquartile ranges
_SUSPICIOUS = 5000  # texts looked at for a wrong encoding
_LISTED = 2000  # distinct numbers of a column that are fetched and looked through, at least _POINTS

Ask = Callable[[Any], Any]
Value = tuple[float, int, int]  # a distinct value, its rows, its hash


def build(connection: Any, source: str, schema: Schema, like: Profile | None = None) -> Profile:
    """Profile of a relation of accepted rows: its own bins when `like` is None, else the bins of `like`."""
    return profile(connection, RowCounts(source, schema), like)


def profile(connection: Any, counts: Counts, like: Profile | None = None) -> Profile:
    """Profile of counted rows, of one relation or of the shards of a table; `like` as in `build`."""
    schema = counts.schema
    rows, basics = counts.basics(connection)
    with ThreadPoolExecutor(_AT_ONCE) as pool:

        def ask(question: Ask) -> Any:
            # A cursor is a connection of its own to the same tables; DuckDB leaves the interpreter's lock while it works.
            return pool.submit(lambda: question(connection.cursor()))

        coded = ask(lambda db: counts.code(db, like.pairs.axes)) if like else None
        columns = [ask(_column(counts, i, rows, basics[i], like)) for i in range(len(schema.columns))]
        classes = ask(lambda db: _class_sums(db, counts))
        products = ask(lambda db: counts.products(db, basics))
        repeats = ask(lambda db: _repeats(db, counts))
        sketch = ask(lambda db: counts.sketch(db, rows))
        periods = ask(lambda db: timeline.build(db, schema, lambda i: counts.by_time(i, basics), basics))
        distances = [ask(_gap(counts, g, rows, like)) for g in gaps(schema)]
        done = tuple(c.result() for c in columns)
        axes = like.pairs.axes if like else tuple(_axis(c) for c in done if c.name != schema.target or c.distinct > 1)
        if coded is None:
            counts.code(connection, axes)
        else:
            coded.result()
        counted = [part.result() for part in [ask(q) for q in counts.pair_questions(axes, rows)]]
        connection.execute("DROP TABLE IF EXISTS coded")
        distinct_rows, conflicts = repeats.result()
        smallest = sketch.result()
        return Profile(
            rows=rows,
            duplicates=rows - distinct_rows,
            conflicts=conflicts,
            target=schema.target,
            columns=done,
            pairs=column_pairs.collect(axes, schema.target, counted),
            by_class=classes.result(),
            products=tuple(sorted(products.result(), key=lambda s: (s.first, s.second, s.group))),
            gaps=tuple(g.result() for g in distances),
            timeline=periods.result(),
            sketch=tuple(h for h, _ in smallest),
            sketch_counts=tuple(c for _, c in smallest),
        )


def in_memory(connection: Any, snapshot: Path) -> str:
    """A Parquet snapshot as a relation, decoded once into memory when it is small: a profile asks many questions of it."""
    file = f"read_parquet({quote(str(snapshot))})"
    if snapshot.stat().st_size > _IN_MEMORY_BYTES:
        return file
    connection.execute(f"CREATE OR REPLACE TABLE snapshot AS FROM {file}")
    return "snapshot"


def _column(counts: Counts, i: int, rows: int, basics: Basics, like: Profile | None) -> Ask:
    column = counts.schema.columns[i]
    same = like.column(column.name) if like else None
    if same is not None and same.binned != is_binned(column.kind):
        same = None
    if not is_binned(column.kind):
        return lambda db: _categories(db, counts.texts(i), column, rows, int(basics["missing"]), same)

    def ask(db: Any) -> ColumnProfile:
        counted = _numeric(db, counts.numbers(i), column, rows, basics, same)
        hours = counts.hours(db, i) if column.kind == "datetime" else ()
        return counted.model_copy(update={"hours": hours}) if hours else counted

    return ask


def _gap(counts: Counts, gap: Gap, rows: int, like: Profile | None) -> Ask:
    """Seconds from one column to another, profiled like a column of numbers."""

    def ask(db: Any) -> ColumnProfile:
        known, values = counts.gap(db, gap)
        return _numeric(
            db, values, Column(name=gap.label, kind="number"), rows, known, like.gap(gap.label) if like else None
        )

    return ask


def _numeric(
    db: Any, values: str, column: Column, rows: int, known: Basics, same: ColumnProfile | None
) -> ColumnProfile:
    """`values`: relation (v, c) of the distinct values; `known`: missing, minimum, maximum, total and squares of them."""
    listed = _listed(db, values, same)
    few = bool(same.lowest) if same is not None else rows - int(known["missing"]) < FEW_ROWS
    seen = _described(listed, same, few=few) if listed is not None else _by_query(db, values, same, few=few)
    # The parts of a statement give their rows in any order.
    top = dict(sorted(seen.frequent.items(), key=lambda f: (-f[1], f[0])))
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        rows=rows,
        missing=int(known["missing"]),
        distinct=seen.distinct,
        edges=seen.bins.edges,
        points=seen.bins.points,
        counts=tuple(seen.counts),
        minimum=_float(known["minimum"]),
        maximum=_float(known["maximum"]),
        total=float(known["total"] or 0),
        squares=float(known["squares"] or 0),
        fences=seen.bins.fences,
        outliers=seen.outliers,
        below=seen.below,
        frequent=tuple(top),
        frequent_counts=tuple(top.values()),
        frequent_bound=list(top.values())[FREQUENT - 1] if seen.distinct > len(top) else 0,
        sketch=tuple(sorted(seen.hashes)),
        lowest=tuple(sorted(seen.lowest)),
        highest=tuple(sorted(seen.highest, reverse=True)),
    )


class _Bins(NamedTuple):
    """Edges of the bins of a column of numbers, whether they are its values, and the fences of outliers."""

    edges: tuple[float, ...]
    points: bool
    fences: tuple[float, float] | None


@dataclass(slots=True)
class _Numbers:
    """What is counted of the distinct values: by bin, beyond the fences, below the first edge, of frequent values; smallest hashes; of
    few rows the extremes.
    """

    bins: _Bins
    counts: list[int]
    outliers: int = 0
    below: int = 0
    distinct: int = 0
    frequent: dict[float, int] = field(default_factory=dict)
    hashes: list[int] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    highest: list[float] = field(default_factory=list)


def _listed(db: Any, values: str, same: ColumnProfile | None) -> list[Value] | None:
    """The distinct values in ascending order; None when they are more than are listed.

    Of few values a list is looked through sooner than a statement on them is planned.
    """
    if same is not None and same.distinct > _LISTED:
        return None
    found = db.execute(f"SELECT v, c, hash(v) FROM {values} LIMIT {_LISTED + 1}").fetchall()
    return sorted((float(v), int(c), int(h)) for v, c, h in found) if len(found) <= _LISTED else None


def _described(listed: Sequence[Value], same: ColumnProfile | None, *, few: bool) -> _Numbers:
    """As `_by_query`, of a list."""
    bins = _Bins(same.edges, same.points, same.fences) if same is not None else _bins_of_list(listed)
    counts = [0] * (len(bins.edges) + 1)
    for value, count, _ in listed:
        counts[bisect_left(bins.edges, value)] += count
    low, high = bins.fences or (-math.inf, math.inf)
    again = set(same.frequent) if same is not None else set[float]()
    top = heapq.nsmallest(FREQUENT, listed, key=lambda x: (-x[1], x[0]))
    return _Numbers(
        bins,
        counts,
        outliers=sum(c for v, c, _ in listed if v < low or v > high),
        below=sum(c for v, c, _ in listed if bins.edges and v < bins.edges[0]),
        distinct=len(listed),
        frequent={v: c for v, c, _ in (*top, *(x for x in listed if x[0] in again))},
        hashes=heapq.nsmallest(VALUE_SKETCH, (h for _, _, h in listed)),
        lowest=[v for v, _, _ in listed[:EXTREMES]] if few else [],
        highest=[v for v, _, _ in listed[-EXTREMES:]] if few else [],
    )


def _by_query(db: Any, values: str, same: ColumnProfile | None, *, few: bool) -> _Numbers:
    """Counts of a relation (v, c)."""
    bins = _Bins(same.edges, same.points, same.fences) if same is not None else _bins(db, values)
    edges, again = bins.edges, tuple(same.frequent) if same else ()
    seen = _Numbers(bins, [0] * (len(edges) + 1))
    statement = _numeric_query(values, edges, bins.fences, again) + (_extremes_query() if few else "")
    for what, key, count, value in db.execute(statement).fetchall():
        match what:
            case "bin":
                seen.counts[int(key)] += int(count)
            case "far":
                seen.outliers = int(count or 0)
            case "below":
                seen.below = int(count or 0)
            case "top":
                seen.frequent[float(value)] = int(count)
            case "distinct":
                seen.distinct = int(count)
            case "lowest":
                seen.lowest.append(float(value))
            case "highest":
                seen.highest.append(float(value))
            case _:
                seen.hashes.append(int(key))
    return seen


def _numeric_query(
    values: str, edges: tuple[float, ...], fences: tuple[float, float] | None, again: tuple[float, ...]
) -> str:
    """One pass: (what, key, count, value) of bins, outliers, distinct and frequent values, those of `again`, and a hash sketch."""
    # The bin of a value is that of the smallest edge not below it; above the last edge there is none.
    listed = ", ".join(f"({e!r}::DOUBLE, {k})" for k, e in enumerate(edges))
    joined = f"(SELECT k, c FROM g ASOF LEFT JOIN (VALUES {listed}) AS e(edge, k) ON g.v <= e.edge)"
    binned = joined if edges else "(SELECT 0 AS k, c FROM g)"
    far = f"v < {fences[0]!r} OR v > {fences[1]!r}" if fences else "false"
    under = f"v < {edges[0]!r}" if edges else "false"
    listed_again = ", ".join(repr(x) for x in again)
    top = f"SELECT 'top', 0, c, v FROM g WHERE v IN ({listed_again}) UNION ALL " if again else ""
    return (
        f"WITH g AS MATERIALIZED (SELECT v, c FROM {values}) "
        f"SELECT 'bin', coalesce(k, {len(edges)})::UBIGINT AS k, sum(c), 0.0 FROM {binned} GROUP BY 2 "
        f"UNION ALL SELECT 'far', 0, sum(c), 0 FROM g WHERE {far} "
        f"UNION ALL SELECT 'below', 0, sum(c), 0 FROM g WHERE {under} "
        "UNION ALL SELECT 'distinct', 0, count(*), 0 FROM g "
        f"UNION ALL {top}(SELECT 'top', 0, c, v FROM g ORDER BY c DESC, v LIMIT {FREQUENT}) "
        f"UNION ALL (SELECT 'hash', hash(v), 0, 0 FROM g ORDER BY 2 LIMIT {VALUE_SKETCH})"
    )


def _extremes_query() -> str:
    """More parts of that query: the smallest and the largest values."""
    return "".join(
        f" UNION ALL (SELECT '{what}', 0, 0, v FROM g ORDER BY v {order} LIMIT {EXTREMES})"
        for what, order in (("lowest", "ASC"), ("highest", "DESC"))
    )


def _bins_of_list(listed: Sequence[Value]) -> _Bins:
    """The values themselves when they are few, else as `_bins`."""
    total = sum(count for _, count, _ in listed)
    if len(listed) > _POINTS:
        passing, upto = list[tuple[float, int]](), 0
        for value, count, _ in listed:
            before, upto = upto, upto + count
            if not before or upto * _QUANTILES // total > before * _QUANTILES // total:
                passing.append((value, upto * _QUANTILES // total))
        return _quantile_bins(passing)
    seen, quartiles = 0, list[float]()
    for value, count, _ in listed:
        seen += count
        while len(quartiles) < 3 and seen * 4 >= total * (len(quartiles) + 1):
            quartiles.append(value)
    return _Bins(tuple(v for v, _, _ in listed), True, _fences(quartiles[0], quartiles[2]) if listed else None)


def _bins(db: Any, values: str) -> _Bins:
    """The distinct quantiles: the smallest value with at least k 64ths of the rows at or below it.

    From the counts of the distinct values: a value is picked when its rows pass some k.
    """
    passing = db.execute(
        f"SELECT v, upto * {_QUANTILES} // n AS k FROM (SELECT v, c, CAST(sum(c) OVER (ORDER BY v) AS BIGINT) AS upto, "
        f"CAST(sum(c) OVER () AS BIGINT) AS n FROM {values}) "
        f"WHERE upto = c OR k > (upto - c) * {_QUANTILES} // n ORDER BY v"
    ).fetchall()
    return _quantile_bins([(float(v), int(k)) for v, k in passing])


def _quantile_bins(passing: Sequence[tuple[float, int]]) -> _Bins:
    """`passing`: values in ascending order, and how many 64ths of the rows are at or below each."""
    matches = [next(x for x, upto in passing if upto >= k) for k in range(_QUANTILES + 1)]
    quarter = _QUANTILES // 4
    return _Bins(tuple(sorted(set(matches))), False, _fences(matches[quarter], matches[3 * quarter]))


def _fences(low: float, high: float) -> tuple[float, float] | None:
    span = high - low
    return (low - _FAR * span, high + _FAR * span) if span > 0 and math.isfinite(span) else None


def _categories(
    db: Any, texts: str, column: Column, rows: int, missing: int, same: ColumnProfile | None
) -> ColumnProfile:
    grouped = f"WITH g AS MATERIALIZED (SELECT text, c FROM {texts}) "
    known = list(same.values) if same else []
    again = f" OR text IN ({', '.join(map(quote, known))})" if known else ""
    table = _top(db, texts) if same is None or same.distinct <= _CATEGORIES else None
    if table is None or (again and len(table) > _CATEGORIES):
        table = db.execute(
            f"{grouped}SELECT text, c FROM g QUALIFY row_number() OVER (ORDER BY c DESC, text) <= {_CATEGORIES + 1}{again} "
            "ORDER BY c DESC, text"
        ).fetchall()
    counts = {str(value): int(count) for value, count in table}
    is_known = set(known)
    values = known + [value for value in counts if value not in is_known][:_CATEGORIES]
    stored = [counts.get(value, 0) for value in values]
    other = rows - missing - sum(stored)
    profile = ColumnProfile(
        name=column.name,
        kind=column.kind,
        rows=rows,
        missing=missing,
        distinct=len(counts),
        values=tuple(values),
        counts=tuple(stored),
        other=other,
        damaged=sum(n for v, n in counts.items() if text_encoding.is_damaged(v)),
    )
    return profile.model_copy(update=_rest(db, grouped)) if other else profile


def _top(db: Any, texts: str) -> list[tuple[str, int]]:
    """The most frequent texts with their counts; one more than is named, if there are more."""
    top: list[tuple[str, int]] = db.execute(
        f"SELECT text, c FROM {texts} ORDER BY c DESC, text LIMIT {_CATEGORIES + 1}"
    ).fetchall()
    return top


def _rest(db: Any, grouped: str) -> dict[str, Any]:
    """What describes a column of more values than are named: exact number of them, buckets, sketch, damaged texts."""
    rows = db.execute(
        f"{grouped}, h AS MATERIALIZED (SELECT text, c, md5_number_lower(text) AS h FROM g) "
        f"SELECT 'bucket', h % {BUCKETS} AS h, sum(c), '' FROM h GROUP BY 2 "
        "UNION ALL SELECT 'distinct', 0, count(*), '' FROM h "
        f"UNION ALL (SELECT 'damaged', 0, c, text FROM h WHERE {text_encoding.suspicious_sql('text')} LIMIT {_SUSPICIOUS}) "
        f"UNION ALL (SELECT 'sketch', h, c, '' FROM h ORDER BY h LIMIT {VALUE_SKETCH})"
    ).fetchall()
    buckets, sketch, distinct, damaged = [0] * BUCKETS, list[tuple[int, int]](), 0, 0
    for what, key, count, text in rows:
        match what:
            case "bucket":
                buckets[int(key)] = int(count)
            case "distinct":
                distinct = int(count)
            case "damaged":
                damaged += int(count) if text_encoding.is_damaged(text) else 0
            case _:
                sketch.append((int(key), int(count)))
    sketch.sort()
    return {
        "distinct": distinct,
        "buckets": tuple(buckets),
        "damaged": damaged,
        "sketch": tuple(h for h, _ in sketch),
        "sketch_counts": tuple(c for _, c in sketch),
    }


def _axis(column: ColumnProfile) -> column_pairs.Axis:
    """Coarse bins of equal share for numbers, the most frequent values for categories; presence for free text and constants."""
    if column.binned and column.distinct > 1:
        total, running, cuts = column.present, 0, list[float]()
        for edge, count in zip(column.edges, column.counts, strict=False):
            running += count
            if running * column_pairs.BINS >= total * (len(cuts) + 1) and len(cuts) < column_pairs.BINS - 1:
                cuts.append(edge)
        return column_pairs.Axis(name=column.name, edges=tuple(cuts))
    if column.binned or column.kind == "text" or column.distinct < 2:
        return column_pairs.Axis(name=column.name)
    order = sorted(range(len(column.values)), key=lambda i: -column.counts[i])
    return column_pairs.Axis(name=column.name, values=tuple(column.values[i] for i in order[: column_pairs.VALUES]))


def _class_sums(db: Any, counts: Counts) -> tuple[Sums, ...]:
    """Count, sum and sum of squares of every number for every class of the target."""
    numbers = class_numbers(counts.schema)
    sums = [
        Sums(first=c.name, group=str(row[0]), n=int(row[1 + 3 * k]), x=row[2 + 3 * k], xx=row[3 + 3 * k])
        for row in counts.classes(db)
        for k, c in enumerate(numbers)
    ]
    return tuple(sorted(sums, key=lambda s: (s.first, s.second, s.group)))


def _repeats(db: Any, counts: Counts) -> tuple[int, int]:
    """Distinct rows; and rows equal to others in every column but the target, with a label not the most frequent there."""
    distinct = conflicts = 0
    for relation in counts.repeats():
        row = db.execute(
            "SELECT coalesce(sum(rows), 0), coalesce(sum(n - top) FILTER (labels > 1), 0) FROM ("
            "SELECT h, count(*) AS rows, count(label) AS labels, sum(c) FILTER (label IS NOT NULL) AS n, "
            f"max(c) FILTER (label IS NOT NULL) AS top FROM {relation} GROUP BY 1)"
        ).fetchall()[0]
        distinct, conflicts = distinct + int(row[0]), conflicts + int(row[1])
    return distinct, conflicts


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
