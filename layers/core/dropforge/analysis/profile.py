"""What a comparison needs to know of a data set: counts on fixed bins. Small, mergeable, stored beside the data.

The reference fixes the bins; every later profile counts on the reference's bins, so the reference's rows are never
read again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dropforge.analysis import pairs
from dropforge.analysis.pairs import Pairs
from dropforge.data.engine import name, quote
from dropforge.data.schema import ROW_HASH, Column, Schema

_POINTS = 80  # numeric columns with at most this many values are counted value by value
_QUANTILES = 64
_CATEGORIES = 200
_IN_MEMORY_BYTES = 64_000_000  # of compressed Parquet


class ColumnProfile(BaseModel):
    """Counts of one column.

    Numeric (and datetime, as seconds): `edges` ascending; counts[i] is the number of values in (edges[i-1], edges[i]],
    counts[-1] the values above the last edge; with `points` the edges are the values themselves. Categories: `values`
    and their counts, `other` for the rest.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: str
    rows: int
    missing: int
    distinct: int
    edges: tuple[float, ...] = ()
    points: bool = False
    values: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    other: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    squares: float = 0.0

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def binned(self) -> bool:
        return self.kind in {"integer", "number", "datetime"}

    @property
    def mean(self) -> float | None:
        return self.total / self.present if self.present and self.binned else None

    @property
    def std(self) -> float | None:
        """Population standard deviation."""
        if not self.present or not self.binned:
            return None
        mean = self.total / self.present
        return math.sqrt(max(0.0, self.squares / self.present - mean * mean))


class Profile(BaseModel):
    """`datasets/{dataset_id}/profile.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = 1
    rows: int
    duplicates: int
    target: str
    columns: tuple[ColumnProfile, ...] = Field(default=())
    pairs: Pairs = Pairs()

    def column(self, wanted: str) -> ColumnProfile | None:
        return next((c for c in self.columns if c.name == wanted), None)


def build(connection: Any, snapshot: Path, schema: Schema, like: Profile | None = None) -> Profile:
    """Profile of a Parquet snapshot: its own bins when `like` is None, else the bins of `like`."""
    source = _source(connection, snapshot)
    basics = _basics(connection, source, schema)
    rows = basics["rows"]
    columns = []
    for i, column in enumerate(schema.columns):
        same = like.column(column.name) if like else None
        facts = {k: basics[f"{k}{i}"] for k in ("missing", "distinct", "minimum", "maximum", "total", "squares")}
        if column.numeric or column.kind == "datetime":
            columns.append(_numeric(connection, source, column, rows, facts, same))
        else:
            columns.append(_categories(connection, source, column, rows, facts, same))
    axes = like.pairs.axes if like else tuple(a for c in columns if (a := _axis(c)) is not None)
    return Profile(
        rows=rows,
        duplicates=rows - basics["hashes"],
        target=schema.target,
        columns=tuple(columns),
        pairs=pairs.count(connection, source, schema, axes),
    )


def _axis(column: ColumnProfile) -> pairs.Axis | None:
    """Coarse bins of equal share for numbers, the most frequent values for categories; None for free text and constants."""
    if column.binned:
        total, running, cuts = column.present, 0, list[float]()
        for edge, count in zip(column.edges, column.counts, strict=False):
            running += count
            if running * pairs.BINS >= total * (len(cuts) + 1) and len(cuts) < pairs.BINS - 1:
                cuts.append(edge)
        return pairs.Axis(name=column.name, edges=tuple(cuts)) if cuts and column.distinct > 1 else None
    if column.kind == "text" or column.distinct < 2:
        return None
    order = sorted(range(len(column.values)), key=lambda i: -column.counts[i])
    return pairs.Axis(name=column.name, values=tuple(column.values[i] for i in order[: pairs.VALUES]))


def _source(connection: Any, snapshot: Path) -> str:
    """The snapshot, decoded once into memory when it is small: a profile asks many questions of it."""
    file = f"read_parquet({quote(str(snapshot))})"
    if snapshot.stat().st_size > _IN_MEMORY_BYTES:
        return file
    connection.execute(f"CREATE OR REPLACE TEMP TABLE snapshot AS FROM {file}")
    return "snapshot"


def _sql_value(column: Column) -> str:
    return f"epoch({name(column.name)})" if column.kind == "datetime" else name(column.name)


def _basics(connection: Any, source: str, schema: Schema) -> dict[str, Any]:
    select = ["count(*) AS rows", f"count(DISTINCT {name(ROW_HASH)}) AS hashes"]
    for i, c in enumerate(schema.columns):
        v = _sql_value(c)
        numeric = c.numeric or c.kind == "datetime"
        select += [f"count(*) - count({name(c.name)}) AS missing{i}", f"approx_count_distinct({v}) AS distinct{i}"]
        select += (
            [f"min({v}) AS minimum{i}", f"max({v}) AS maximum{i}"]
            if numeric
            else [f"NULL AS minimum{i}", f"NULL AS maximum{i}"]
        )
        d = f"CAST({v} AS DOUBLE)"
        select += (
            [f"sum({d}) AS total{i}", f"sum({d} * {d}) AS squares{i}"]
            if numeric
            else [f"0 AS total{i}", f"0 AS squares{i}"]
        )
    cursor = connection.execute(f"SELECT {', '.join(select)} FROM {source}")
    names = [d[0] for d in cursor.description]
    return dict(zip(names, cursor.fetchall()[0], strict=True))


def _numeric(
    connection: Any, source: str, column: Column, rows: int, facts: dict[str, Any], same: ColumnProfile | None
) -> ColumnProfile:
    v = f"CAST({_sql_value(column)} AS DOUBLE)"
    if same is not None and same.edges:
        edges, points = same.edges, same.points
    else:
        edges, points = _edges(connection, source, v, int(facts["distinct"] or 0))
    counts = [0] * (len(edges) + 1)
    if edges:
        # The list is sorted, so the bin of a value is the number of edges below it.
        listed = "[" + ", ".join(repr(e) for e in edges) + "]"
        found = connection.execute(
            f"SELECT len(list_filter({listed}::DOUBLE[], lambda e: e < v)), c FROM "
            f"(SELECT {v} AS v, count(*) AS c FROM {source} WHERE {v} IS NOT NULL GROUP BY 1)"
        ).fetchall()
        for bin_number, count in found:
            counts[int(bin_number)] += int(count)
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        rows=rows,
        missing=int(facts["missing"]),
        distinct=int(facts["distinct"] or 0),
        edges=tuple(edges),
        points=points,
        counts=tuple(counts),
        minimum=_float(facts["minimum"]),
        maximum=_float(facts["maximum"]),
        total=float(facts["total"] or 0),
        squares=float(facts["squares"] or 0),
    )


def _edges(connection: Any, source: str, v: str, distinct: int) -> tuple[tuple[float, ...], bool]:
    """The values themselves when they are few, else the distinct quantiles."""
    if distinct <= 2 * _POINTS:
        values = connection.execute(
            f"SELECT DISTINCT {v} FROM {source} WHERE {v} IS NOT NULL ORDER BY 1 LIMIT {_POINTS + 1}"
        ).fetchall()
        if len(values) <= _POINTS:
            return tuple(float(x[0]) for x in values), True
    wanted = [i / _QUANTILES for i in range(_QUANTILES + 1)]
    found = connection.execute(f"SELECT quantile_disc({v}, {wanted}) FROM {source}").fetchall()[0][0] or []
    return tuple(sorted({float(q) for q in found})), False


def _categories(
    connection: Any, source: str, column: Column, rows: int, facts: dict[str, Any], same: ColumnProfile | None
) -> ColumnProfile:
    found = connection.execute(
        f"SELECT CAST({name(column.name)} AS VARCHAR), count(*) FROM {source} WHERE {name(column.name)} IS NOT NULL "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_CATEGORIES + (len(same.values) if same else 0)}"
    ).fetchall()
    counts = {str(value): int(count) for value, count in found}
    known = list(same.values) if same else []
    values = known + [value for value in counts if value not in set(known)][:_CATEGORIES]
    kept = [counts.get(value, 0) for value in values]
    present = rows - int(facts["missing"])
    return ColumnProfile(
        name=column.name,
        kind=column.kind,
        rows=rows,
        missing=int(facts["missing"]),
        distinct=max(len(counts), int(facts["distinct"] or 0)) if len(counts) >= _CATEGORIES else len(counts),
        values=tuple(values),
        counts=tuple(kept),
        other=present - sum(kept),
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
