"""A profile from counts: bins, frequent values and axes are decided here, by independent questions, two at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dropforge.analysis import column_pairs, timeline
from dropforge.analysis.data_profile import (
    BUCKETS,
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

Ask = Callable[[Any], Any]


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
    if same is not None:
        edges, points, fences = same.edges, same.points, same.fences
    else:
        edges, points, fences = _edges(db, values)
    counts, sketch, outliers, distinct, below = [0] * (len(edges) + 1), list[int](), 0, 0, 0
    frequent = dict[float, int]()
    again = tuple(same.frequent) if same else ()
    table = db.execute(_numeric_query(values, edges, fences, again)).fetchall()
    for what, key, count, value in table:
        match what:
            case "bin":
                counts[int(key)] += int(count)
            case "far":
                outliers = int(count or 0)
            case "below":
                below = int(count or 0)
            case "top":
                frequent[float(value)] = int(count)
            case "distinct":
                distinct = int(count)
            case _:
                sketch.append(int(key))
    # The statement's parts give their rows in any order.
    top = dict(sorted(frequent.items(), key=lambda f: (-f[1], f[0])))
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        rows=rows,
        missing=int(known["missing"]),
        distinct=distinct,
        edges=tuple(edges),
        points=points,
        counts=tuple(counts),
        minimum=_float(known["minimum"]),
        maximum=_float(known["maximum"]),
        total=float(known["total"] or 0),
        squares=float(known["squares"] or 0),
        fences=fences,
        outliers=outliers,
        below=below,
        frequent=tuple(top),
        frequent_counts=tuple(top.values()),
        frequent_bound=list(top.values())[FREQUENT - 1] if distinct > len(top) else 0,
        sketch=tuple(sorted(sketch)),
    )


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


def _edges(db: Any, values: str) -> tuple[tuple[float, ...], bool, tuple[float, float] | None]:
    """The values themselves when they are few, else the distinct quantiles; and the fences of outliers."""
    few = db.execute(f"SELECT v, c FROM (SELECT v, c FROM {values} LIMIT {_POINTS + 1}) ORDER BY v").fetchall()
    if len(few) <= _POINTS:
        total, seen, quartiles = sum(int(c) for _, c in few), 0, list[float]()
        for value, count in few:
            seen += int(count)
            while len(quartiles) < 3 and seen * 4 >= total * (len(quartiles) + 1):
                quartiles.append(float(value))
        return tuple(float(x) for x, _ in few), True, _fences(quartiles[0], quartiles[2]) if few else None
    # The smallest value with at least k 64ths of the rows at or below it, from the counts of the distinct values: a value is
    # picked when its rows pass some k.
    passing = db.execute(
        f"SELECT v, upto * {_QUANTILES} // n AS k FROM (SELECT v, c, CAST(sum(c) OVER (ORDER BY v) AS BIGINT) AS upto, "
        f"CAST(sum(c) OVER () AS BIGINT) AS n FROM {values}) "
        f"WHERE upto = c OR k > (upto - c) * {_QUANTILES} // n ORDER BY v"
    ).fetchall()
    matches = [next(x for x, upto in passing if upto >= k) for k in range(_QUANTILES + 1)]
    quarter = _QUANTILES // 4
    fences = _fences(float(matches[quarter]), float(matches[3 * quarter]))
    return tuple(sorted({float(q) for q in matches})), False, fences


def _fences(low: float, high: float) -> tuple[float, float] | None:
    span = high - low
    return (low - _FAR * span, high + _FAR * span) if span > 0 and math.isfinite(span) else None


def _categories(
    db: Any, texts: str, column: Column, rows: int, missing: int, same: ColumnProfile | None
) -> ColumnProfile:
    grouped = f"WITH g AS MATERIALIZED (SELECT text, c FROM {texts}) "
    known = list(same.values) if same else []
    again = f" OR text IN ({', '.join(map(quote, known))})" if known else ""
    # One row more than is named: whether there are more.
    table = db.execute(
        f"{grouped}SELECT text, c FROM g QUALIFY row_number() OVER (ORDER BY c DESC, text) <= {_CATEGORIES + 1}{again} "
        "ORDER BY c DESC, text"
        if again
        else f"{grouped}SELECT text, c FROM g ORDER BY c DESC, text LIMIT {_CATEGORIES + 1}"
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
