"""Rows asked for their profile: one decoded copy, independent questions, as many at once as there are cores."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dropforge.analysis import column_pairs
from dropforge.analysis.data_profile import (
    BUCKETS,
    FREQUENT,
    ROW_SKETCH,
    VALUE_SKETCH,
    ColumnProfile,
    Profile,
    Sums,
    is_binned,
)
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest import text_encoding
from dropforge.ingest.duckdb_connection import name, quote

_POINTS = 80  # numeric columns with at most this many values are counted value by value
_QUANTILES = 64
_CATEGORIES = 200
_CLASSES = 100
_NUMBERS = 14  # columns whose products are summed: 91 pairs
_IN_MEMORY_BYTES = 64_000_000  # of compressed Parquet
_AT_ONCE = 2
_FAR = 3.0  # interquartile ranges
_HASHES = 2**64
_SUSPICIOUS = 5000  # texts looked at for a wrong encoding
_TIMES = 4  # datetime columns whose distances are counted: 6 pairs

Ask = Callable[[Any], Any]


def build(connection: Any, source: str, schema: Schema, like: Profile | None = None) -> Profile:
    """Profile of a relation of accepted rows: its own bins when `like` is None, else the bins of `like`."""
    basics = _basics(connection, source, schema)
    rows = int(basics["rows"])
    numbers = [c for c in schema.columns if c.numeric]
    with ThreadPoolExecutor(_AT_ONCE) as pool:

        def ask(question: Ask) -> Any:
            # A cursor is a connection of its own to the same tables; DuckDB leaves the interpreter's lock while it works.
            return pool.submit(lambda: question(connection.cursor()))

        coded = ask(lambda db: column_pairs.code(db, source, schema, like.pairs.axes)) if like else None
        columns = [ask(_column(source, c, i, basics, like)) for i, c in enumerate(schema.columns)]
        classes = ask(lambda db: _class_sums(db, source, schema, numbers))
        products = ask(lambda db: _products(db, source, numbers[:_NUMBERS], basics, schema))
        repeats = ask(lambda db: _repeats(db, source, schema))
        sketch = ask(lambda db: _sketch(db, source, rows))
        gaps = [ask(_gap(source, a, b, like)) for a, b in _time_pairs(schema)]
        done = tuple(c.result() for c in columns)
        axes = like.pairs.axes if like else tuple(_axis(c) for c in done if c.name != schema.target or c.distinct > 1)
        if coded is None:
            column_pairs.code(connection, source, schema, axes)
        else:
            coded.result()
        counted = [part.result() for part in [ask(q) for q in column_pairs.questions(axes, schema.target, rows)]]
        connection.execute("DROP TABLE IF EXISTS coded")
        distinct_rows, conflicts = repeats.result()
        hashes, repeated = sketch.result()
        return Profile(
            rows=rows,
            duplicates=rows - distinct_rows,
            conflicts=conflicts,
            target=schema.target,
            columns=done,
            pairs=column_pairs.collect(axes, schema.target, counted),
            by_class=classes.result(),
            products=products.result(),
            gaps=tuple(g.result() for g in gaps),
            sketch=hashes,
            sketch_counts=repeated,
        )


def in_memory(connection: Any, snapshot: Path) -> str:
    """A Parquet snapshot as a relation, decoded once into memory when it is small: a profile asks many questions of it."""
    file = f"read_parquet({quote(str(snapshot))})"
    if snapshot.stat().st_size > _IN_MEMORY_BYTES:
        return file
    connection.execute(f"CREATE OR REPLACE TABLE snapshot AS FROM {file}")
    return "snapshot"


def _sql_value(column: Column) -> str:
    return f"epoch({name(column.name)})" if column.kind == "datetime" else name(column.name)


def _basics(connection: Any, source: str, schema: Schema) -> dict[str, Any]:
    select = ["count(*) AS rows"]
    for i, c in enumerate(schema.columns):
        select.append(f"count(*) - count({name(c.name)}) AS missing{i}")
        if is_binned(c.kind):
            v, d = _sql_value(c), f"CAST({_sql_value(c)} AS DOUBLE)"
            select += [f"min({v}) AS minimum{i}", f"max({v}) AS maximum{i}"]
            select += [f"sum({d}) AS total{i}", f"sum({d} * {d}) AS squares{i}"]
    cursor = connection.execute(f"SELECT {', '.join(select)} FROM {source}")
    names = [d[0] for d in cursor.description]
    return dict(zip(names, cursor.fetchall()[0], strict=True))


def _column(source: str, column: Column, i: int, basics: dict[str, Any], like: Profile | None) -> Ask:
    same = like.column(column.name) if like else None
    if same is not None and same.binned != is_binned(column.kind):
        same = None
    if not is_binned(column.kind):
        return lambda db: _categories(db, source, column, i, basics, same)
    known = {k: basics[f"{k}{i}"] for k in ("missing", "minimum", "maximum", "total", "squares")}

    def ask(db: Any) -> ColumnProfile:
        v = f"CAST({_sql_value(column)} AS DOUBLE)"
        counted = _numeric(db, source, v, column, int(basics["rows"]), known, same)
        hours = _hours(db, source, column) if column.kind == "datetime" else ()
        return counted.model_copy(update={"hours": hours}) if hours else counted

    return ask


def _time_pairs(schema: Schema) -> list[tuple[Column, Column]]:
    times = [c for c in schema.columns if c.kind == "datetime"][:_TIMES]
    return [(a, b) for k, a in enumerate(times) for b in times[k + 1 :]]


def _gap(source: str, first: Column, second: Column, like: Profile | None) -> Ask:
    """Seconds from the first column to the second, profiled like a column of numbers."""
    label = f"{second.name} - {first.name}"
    v = f"CAST({_sql_value(second)} - {_sql_value(first)} AS DOUBLE)"

    def ask(db: Any) -> ColumnProfile:
        (row,) = db.execute(
            f"SELECT count(*), count(*) - count({v}), min({v}), max({v}), sum({v}), sum({v} * {v}) FROM {source}"
        ).fetchall()
        known = dict(zip(("missing", "minimum", "maximum", "total", "squares"), row[1:], strict=True))
        same = like.gap(label) if like else None
        return _numeric(db, source, v, Column(name=label, kind="number"), int(row[0]), known, same)

    return ask


def _hours(db: Any, source: str, column: Column) -> tuple[int, ...]:
    rows = db.execute(
        f"SELECT hour({name(column.name)}), count(*) FROM {source} WHERE {name(column.name)} IS NOT NULL GROUP BY 1"
    ).fetchall()
    counts = [0] * 24
    for hour, count in rows:
        counts[int(hour)] = int(count)
    return tuple(counts)


def _numeric(
    db: Any, source: str, v: str, column: Column, rows: int, known: dict[str, Any], same: ColumnProfile | None
) -> ColumnProfile:
    """`v`: SQL of the value as DOUBLE; `known`: missing, minimum, maximum, total and squares of it."""
    if same is not None:
        edges, points, fences = same.edges, same.points, same.fences
    else:
        edges, points, fences = _edges(db, source, v)
    counts, sketch, outliers, distinct, below = [0] * (len(edges) + 1), list[int](), 0, 0, 0
    frequent = dict[float, int]()
    again = tuple(same.frequent) if same else ()
    table = db.execute(_numeric_query(source, v, edges, fences, again)).fetchall()
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
        frequent=tuple(frequent),
        frequent_counts=tuple(frequent.values()),
        frequent_bound=sorted(frequent.values(), reverse=True)[FREQUENT - 1] if distinct > len(frequent) else 0,
        sketch=tuple(sorted(sketch)),
    )


def _numeric_query(
    source: str, v: str, edges: tuple[float, ...], fences: tuple[float, float] | None, again: tuple[float, ...]
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
        f"WITH g AS MATERIALIZED (SELECT {v} AS v, count(*) AS c FROM {source} WHERE {v} IS NOT NULL GROUP BY 1) "
        f"SELECT 'bin', coalesce(k, {len(edges)})::UBIGINT AS k, sum(c), 0.0 FROM {binned} GROUP BY 2 "
        f"UNION ALL SELECT 'far', 0, sum(c), 0 FROM g WHERE {far} "
        f"UNION ALL SELECT 'below', 0, sum(c), 0 FROM g WHERE {under} "
        "UNION ALL SELECT 'distinct', 0, count(*), 0 FROM g "
        f"UNION ALL {top}(SELECT 'top', 0, c, v FROM g ORDER BY c DESC, v LIMIT {FREQUENT}) "
        f"UNION ALL (SELECT 'hash', hash(v), 0, 0 FROM g ORDER BY 2 LIMIT {VALUE_SKETCH})"
    )


def _edges(db: Any, source: str, v: str) -> tuple[tuple[float, ...], bool, tuple[float, float] | None]:
    """The values themselves when they are few, else the distinct quantiles; and the fences of outliers."""
    few = db.execute(
        f"SELECT v, c FROM (SELECT {v} AS v, count(*) AS c FROM {source} WHERE {v} IS NOT NULL GROUP BY 1 LIMIT {_POINTS + 1}) "
        "ORDER BY v"
    ).fetchall()
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
        f"CAST(sum(c) OVER () AS BIGINT) AS n FROM (SELECT {v} AS v, count(*) AS c FROM {source} WHERE {v} IS NOT NULL GROUP BY 1)) "
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
    db: Any, source: str, column: Column, i: int, basics: dict[str, Any], same: ColumnProfile | None
) -> ColumnProfile:
    rows, missing = int(basics["rows"]), int(basics[f"missing{i}"])
    grouped = (
        f"WITH g AS MATERIALIZED (SELECT CAST(v AS VARCHAR) AS text, c FROM "
        f"(SELECT {name(column.name)} AS v, count(*) AS c FROM {source} GROUP BY 1) WHERE v IS NOT NULL) "
    )
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


def _class_sums(db: Any, source: str, schema: Schema, numbers: list[Column]) -> tuple[Sums, ...]:
    """Count, sum and sum of squares of every number for every class of the target."""
    numbers = [c for c in numbers if c.name != schema.target]
    if not numbers:
        return ()
    target = name(schema.target)
    select = []
    for c in numbers:
        d = f"CAST({name(c.name)} AS DOUBLE)"
        select += [f"count({d})", f"coalesce(sum({d}), 0)", f"coalesce(sum({d} * {d}), 0)"]
    rows = db.execute(
        f"SELECT {target}, {', '.join(select)} FROM {source} WHERE {target} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT {_CLASSES}"
    ).fetchall()
    sums = [
        Sums(first=c.name, group=str(row[0]), n=int(row[1 + 3 * k]), x=row[2 + 3 * k], xx=row[3 + 3 * k])
        for row in rows
        for k, c in enumerate(numbers)
    ]
    return tuple(sorted(sums, key=lambda s: (s.first, s.second, s.group)))


def _products(db: Any, source: str, numbers: list[Column], basics: dict[str, Any], schema: Schema) -> tuple[Sums, ...]:
    """Sums of products of every pair of numbers, over the rows where both are there."""
    at = {c.name: i for i, c in enumerate(schema.columns)}
    wanted = [(a, b) for k, a in enumerate(numbers) for b in numbers[k + 1 :]]
    if not wanted:
        return ()
    select, known = [], list[dict[str, Any]]()
    for a, b in wanted:
        i, j = at[a.name], at[b.name]
        x, y = f"CAST({name(a.name)} AS DOUBLE)", f"CAST({name(b.name)} AS DOUBLE)"
        select.append(f"sum({x} * {y})")
        if basics[f"missing{i}"] or basics[f"missing{j}"]:
            known.append({})
            both_x, both_y = (
                f"CASE WHEN {y} IS NULL THEN NULL ELSE {x} END",
                f"CASE WHEN {x} IS NULL THEN NULL ELSE {y} END",
            )
            select += [f"count({x} * {y})", f"sum({both_x})", f"sum({both_y})"]
            select += [f"sum({both_x} * {x})", f"sum({both_y} * {y})"]
        else:  # every row has both: their sums are known already
            known.append({"n": basics["rows"], "x": basics[f"total{i}"], "y": basics[f"total{j}"],
                          "xx": basics[f"squares{i}"], "yy": basics[f"squares{j}"]})  # fmt: skip
    row = iter(db.execute(f"SELECT {', '.join(select)} FROM {source}").fetchall()[0])
    sums = []
    for (a, b), have in zip(wanted, known, strict=True):
        xy = next(row)
        values = have or {k: next(row) for k in ("n", "x", "y", "xx", "yy")}
        sums.append(Sums(first=a.name, second=b.name, xy=xy or 0.0, **{k: v or 0 for k, v in values.items()}))
    return tuple(sorted(sums, key=lambda s: (s.first, s.second, s.group)))


def _repeats(db: Any, source: str, schema: Schema) -> tuple[int, int]:
    """Distinct rows; and rows equal to others in every column but the target, with a label not the most frequent there."""
    features = ", ".join(name(c.name) for c in schema.columns if c.name != schema.target) or "0"
    row = db.execute(
        "SELECT coalesce(sum(rows), 0), coalesce(sum(n - top) FILTER (labels > 1), 0) FROM ("
        "SELECT h, count(*) AS rows, count(label) AS labels, sum(c) FILTER (label IS NOT NULL) AS n, "
        "max(c) FILTER (label IS NOT NULL) AS top FROM "
        f"(SELECT hash({features}) AS h, {name(schema.target)} AS label, count(*) AS c FROM {source} GROUP BY 1, 2) "
        "GROUP BY 1)"
    ).fetchall()[0]
    return int(row[0]), int(row[1])


def _sketch(db: Any, source: str, rows: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest hashes of the distinct rows and how often each occurs.

    Hashes are spread evenly: of many rows nearly all lie above the limit and need not be grouped.
    """
    limit = int(_HASHES * 4 * ROW_SKETCH / rows) if rows > 16 * ROW_SKETCH else None
    for where in (f"WHERE {name(ROW_HASH)} < {limit}::UBIGINT", "") if limit else ("",):
        table = db.execute(
            f"SELECT {name(ROW_HASH)}, count(*) FROM {source} {where} GROUP BY 1 ORDER BY 1 LIMIT {ROW_SKETCH}"
        ).fetchall()
        if len(table) == ROW_SKETCH:
            break
    return tuple(int(h) for h, _ in table), tuple(int(c) for _, c in table)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
