"""What a profile counts of the rows of one relation: statements that give additive counts, none of them a decision.

`RowCounts` answers from the rows themselves. `write` stores the same answers as files, so that the counts of the shards of a table
add up to those of the whole (shard_counts). Everything that is decided from the counts (bins, frequent values, axes of pairs)
stands in profile_queries, for both alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dropforge.analysis import column_pairs, timeline
from dropforge.analysis.data_profile import ROW_SKETCH, Profile, Sums, is_binned
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest.duckdb_connection import name, quote

PRODUCTS = 14  # columns whose products are summed: 91 pairs
_TIMES = 4  # datetime columns whose distances are counted: 6 pairs
_HASHES = 2**64
_CLASSES = 100
_BASICS = ("missing", "minimum", "maximum", "total", "squares")
VALUES, TEXTS, ROWS, CLASSES, SUMS = "values.parquet", "texts.parquet", "rows.parquet", "classes.parquet", "sums.json"
TIMES = "times.parquet"

Basics = Mapping[str, Any]  # of a column: missing, and of a binned one minimum, maximum, total and squares
Sketch = Sequence[tuple[int, int]]  # smallest hashes of the distinct rows, ascending, with their rows


class Gap(NamedTuple):
    """Two datetime columns whose distance is profiled like a column of numbers."""

    label: str
    first: Column
    second: Column


class Counts(Protocol):
    """The counts of a table's accepted rows. Relations are SQL; `v` is never NULL in them, `c` is a number of rows."""

    @property
    def schema(self) -> Schema:
        """Columns and target."""

    def basics(self, db: Any) -> tuple[int, list[Basics]]:
        """Number of rows; basics of each column of the schema."""

    def numbers(self, column: int) -> str:
        """Relation (v: DOUBLE, c) of a binned column's distinct values."""

    def texts(self, column: int) -> str:
        """Relation (text, c) of the distinct values of a column that is not binned."""

    def hours(self, db: Any, column: int) -> tuple[int, ...]:
        """Rows by hour of the day of a datetime column."""

    def gap(self, db: Any, gap: Gap) -> tuple[Basics, str]:
        """Basics of a distance, and its relation (v, c)."""

    def by_time(self, column: int, basics: Sequence[Basics]) -> str:
        """Statement for (start, n, t0 …, m0 …) of a datetime column: rows, the target's sums and missing values by hour or day."""

    def classes(self, db: Any) -> list[tuple[Any, ...]]:
        """Class of the target, then n, x and xx of each number: the classes with most rows first."""

    def products(self, db: Any, basics: Sequence[Basics]) -> list[Sums]:
        """Sums of products of every pair of the first numbers, over the rows where both are there."""

    def repeats(self) -> list[str]:
        """Relations (h: hash of a row's features, label, c), each h in one of them."""

    def sketch(self, db: Any, rows: int) -> Sketch:
        """The ROW_SKETCH smallest hashes of the distinct rows and how often each occurs."""

    def code(self, db: Any, axes: Sequence[column_pairs.Axis]) -> None:
        """Prepare for `pair_questions`."""

    def pair_questions(self, axes: Sequence[column_pairs.Axis], rows: int) -> list[column_pairs.Question]:
        """As column_pairs.questions, after `code`."""


def gaps(schema: Schema) -> list[Gap]:
    """The distances that are profiled."""
    times = [c for c in schema.columns if c.kind == "datetime"][:_TIMES]
    return [Gap(f"{b.name} - {a.name}", a, b) for k, a in enumerate(times) for b in times[k + 1 :]]


def class_numbers(schema: Schema) -> list[Column]:
    """The numbers that are summed for every class of the target."""
    return [c for c in schema.columns if c.numeric and c.name != schema.target]


@dataclass(frozen=True)
class RowCounts:
    """Counts of the accepted rows that `source` (SQL) gives, typed as the schema says, with their hash."""

    source: str
    schema: Schema

    def basics(self, db: Any) -> tuple[int, list[Basics]]:
        """As Counts."""
        select = ["count(*)"]
        for c in self.schema.columns:
            select.append(f"count(*) - count({name(c.name)})")
            if is_binned(c.kind):
                v, d = _value(c), f"CAST({_value(c)} AS DOUBLE)"
                select += [f"min({v})", f"max({v})", f"sum({d})", f"sum({d} * {d})"]
        row = iter(db.execute(f"SELECT {', '.join(select)} FROM {self.source}").fetchall()[0])
        rows = int(next(row))
        widths = (len(_BASICS) if is_binned(c.kind) else 1 for c in self.schema.columns)
        return rows, [{key: next(row) for key in _BASICS[:width]} for width in widths]

    def numbers(self, column: int) -> str:
        """As Counts."""
        return self._grouped(f"CAST({_value(self.schema.columns[column])} AS DOUBLE)")

    def texts(self, column: int) -> str:
        """As Counts."""
        # Grouped as it is typed: an enumeration is quicker to group than its texts.
        cell = name(self.schema.columns[column].name)
        return (
            f"(SELECT CAST(v AS VARCHAR) AS text, c FROM (SELECT {cell} AS v, count(*) AS c FROM {self.source} GROUP BY 1) "
            "WHERE v IS NOT NULL)"
        )

    def hours(self, db: Any, column: int) -> tuple[int, ...]:
        """As Counts."""
        cell = name(self.schema.columns[column].name)
        rows = db.execute(
            f"SELECT hour({cell}), count(*) FROM {self.source} WHERE {cell} IS NOT NULL GROUP BY 1"
        ).fetchall()
        counts = [0] * 24
        for hour, count in rows:
            counts[int(hour)] = int(count)
        return tuple(counts)

    def gap(self, db: Any, gap: Gap) -> tuple[Basics, str]:
        """As Counts."""
        v = _distance(gap)
        row = db.execute(
            f"SELECT count(*) - count({v}), min({v}), max({v}), sum({v}), sum({v} * {v}) FROM {self.source}"
        ).fetchone()
        return dict(zip(_BASICS, row, strict=True)), self._grouped(v)

    def by_time(self, column: int, basics: Sequence[Basics]) -> str:
        """As Counts."""
        cell, target, known = name(self.schema.columns[column].name), name(self.schema.target), basics[column]
        unit = timeline.base_unit(known["minimum"] or 0.0, known["maximum"] or 0.0)
        select = [f"date_trunc('{unit}', {cell}) AS start", "count(*) AS n"]
        classes = timeline.counted_classes(self.schema)
        sums = [f"count({target})", *[f"count(*) FILTER (CAST({target} AS VARCHAR) = {quote(c)})" for c in classes]]
        if timeline.target_sums(self.schema) > len(sums):
            sums += [f"coalesce(sum(CAST({target} AS DOUBLE){power}), 0.0)" for power in ("", f" * {target}")]
        select += [f"{sql} AS t{k}" for k, sql in enumerate(sums)]
        missing = {c.name: b["missing"] for c, b in zip(self.schema.columns, basics, strict=True)}
        for k, c in enumerate(timeline.followed(self.schema)):
            select.append(f"{f'count(*) - count({name(c.name)})' if missing[c.name] else '0'} AS m{k}")
        return f"SELECT {', '.join(select)} FROM {self.source} WHERE {cell} IS NOT NULL GROUP BY 1"

    def classes(self, db: Any) -> list[tuple[Any, ...]]:
        """As Counts."""
        if not class_numbers(self.schema):
            return []
        rows: list[tuple[Any, ...]] = db.execute(
            f"{self.by_class()} ORDER BY 2 DESC, 1 LIMIT {_CLASSES}",
        ).fetchall()
        return rows

    def by_class(self) -> str:
        """A statement for (label, n, x, xx of each of class_numbers) of every class."""
        target = name(self.schema.target)
        select = []
        for c in class_numbers(self.schema):
            d = f"CAST({name(c.name)} AS DOUBLE)"
            select += [f"count({d})", f"coalesce(sum({d}), 0)", f"coalesce(sum({d} * {d}), 0)"]
        named = ", ".join(f"{sql} AS s{k}" for k, sql in enumerate(select))
        return f"SELECT {target} AS label, {named} FROM {self.source} WHERE {target} IS NOT NULL GROUP BY 1"

    def products(self, db: Any, basics: Sequence[Basics]) -> list[Sums]:
        """As Counts."""
        known = {c.name: b for c, b in zip(self.schema.columns, basics, strict=True)}
        numbers = [c for c in self.schema.columns if c.numeric][:PRODUCTS]
        wanted = [(a, b) for k, a in enumerate(numbers) for b in numbers[k + 1 :]]
        if not wanted:
            return []
        select, complete = ["count(*)"], list[bool]()
        for a, b in wanted:
            first, second = (f"CAST({name(c.name)} AS DOUBLE)" for c in (a, b))
            select.append(f"sum({first} * {second})")
            complete.append(not known[a.name]["missing"] and not known[b.name]["missing"])
            if not complete[-1]:
                both_x = f"CASE WHEN {second} IS NULL THEN NULL ELSE {first} END"
                both_y = f"CASE WHEN {first} IS NULL THEN NULL ELSE {second} END"
                select += [f"count({first} * {second})", f"sum({both_x})", f"sum({both_y})"]
                select += [f"sum({both_x} * {first})", f"sum({both_y} * {second})"]
        row = iter(db.execute(f"SELECT {', '.join(select)} FROM {self.source}").fetchall()[0])
        rows, sums = next(row), list[Sums]()
        for (a, b), whole in zip(wanted, complete, strict=True):
            one, other, xy = known[a.name], known[b.name], next(row)
            # Where every row has both, their sums are known already.
            known_sums = [rows, one["total"], other["total"], one["squares"], other["squares"]]
            values = known_sums if whole else [next(row) for _ in range(5)]
            n, x, y, xx, yy = (v or 0 for v in values)
            sums.append(Sums(first=a.name, second=b.name, n=n, x=x, y=y, xx=xx, yy=yy, xy=xy or 0.0))
        return sums

    def repeats(self) -> list[str]:
        """As Counts."""
        features = ", ".join(name(c.name) for c in self.schema.columns if c.name != self.schema.target) or "0"
        return [
            f"(SELECT hash({features}) AS h, {name(self.schema.target)} AS label, count(*) AS c FROM {self.source} GROUP BY 1, 2)"
        ]

    def sketch(self, db: Any, rows: int) -> Sketch:
        """As Counts. Hashes are spread evenly: of many rows nearly all lie above the limit and need not be grouped."""
        limit = int(_HASHES * 4 * ROW_SKETCH / rows) if rows > 16 * ROW_SKETCH else None
        table: list[tuple[int, int]] = []
        for where in (f"WHERE {name(ROW_HASH)} < {limit}::UBIGINT", "") if limit else ("",):
            table = db.execute(
                f"SELECT {name(ROW_HASH)}, count(*) FROM {self.source} {where} GROUP BY 1 ORDER BY 1 LIMIT {ROW_SKETCH}"
            ).fetchall()
            if len(table) == ROW_SKETCH:
                break
        return [(int(h), int(c)) for h, c in table]

    def code(self, db: Any, axes: Sequence[column_pairs.Axis]) -> None:
        """As Counts."""
        column_pairs.code(db, self.source, self.schema, axes)

    def pair_questions(self, axes: Sequence[column_pairs.Axis], rows: int) -> list[column_pairs.Question]:
        """As Counts."""
        return column_pairs.questions(axes, self.schema.target, rows)

    def _grouped(self, v: str) -> str:
        return f"(SELECT {v} AS v, count(*) AS c FROM {self.source} WHERE {v} IS NOT NULL GROUP BY 1)"


def _value(column: Column) -> str:
    return f"epoch({name(column.name)})" if column.kind == "datetime" else name(column.name)


def _distance(gap: Gap) -> str:
    """Seconds from the first column to the second."""
    return f"CAST({_value(gap.second)} - {_value(gap.first)} AS DOUBLE)"


# --- the counts of one shard as files -----------------------------------------------------------------------------------
def write(db: Any, counts: RowCounts, folder: Path, like: Profile | None = None) -> list[Path]:
    """Store the counts of one shard's rows; the files written.

    values.parquet (i, v, c) and texts.parquet (i, text, c): distinct values of column i, distances behind the columns ·
    rows.parquet (h, label, c) by ascending hash of the features · classes.parquet (label, s0, …) ·
    times.parquet (i, start, n, t0, …, m0, …): by hour or day of datetime column i ·
    sums.json: what is a few numbers. Pairs are counted on the axes of `like`; without it when the axes are known (count_pairs).
    The relation must not hold enumerations: their hashes differ between shards.
    """
    schema = counts.schema
    distances = gaps(schema)
    rows, basics = counts.basics(db)
    binned = [i for i, c in enumerate(schema.columns) if is_binned(c.kind)]
    named = [i for i in range(len(schema.columns)) if i not in binned]
    apart = [counts.gap(db, g) for g in distances]
    relations = [(i, counts.numbers(i)) for i in binned]
    relations += [(len(schema.columns) + k, relation) for k, (_, relation) in enumerate(apart)]
    written = [
        _copy(
            db,
            folder / VALUES,
            [f"SELECT {i} AS i, v, c FROM {r}" for i, r in relations],
            "0 AS i, 0.0::DOUBLE AS v, 0 AS c",
        ),
        _copy(
            db,
            folder / TEXTS,
            [f"SELECT {i} AS i, text, c FROM {counts.texts(i)}" for i in named],
            "0 AS i, '' AS text, 0 AS c",
        ),
        _copy(db, folder / ROWS, [f"FROM {r} ORDER BY h" for r in counts.repeats()], ""),
    ]
    if class_numbers(schema):
        written.append(_copy(db, folder / CLASSES, [counts.by_class()], ""))
    if times := timeline.time_columns(schema):
        by_time = [f"SELECT {i} AS i, * FROM ({counts.by_time(i, basics)})" for i in times]
        written.append(_copy(db, folder / TIMES, by_time, ""))
    sums = {
        "rows": rows,
        "basics": basics,
        "hours": {i: counts.hours(db, i) for i in binned if schema.columns[i].kind == "datetime"},
        "gaps": [b for b, _ in apart],
        "products": [s.model_dump() for s in counts.products(db, basics)],
        "sketch": counts.sketch(db, rows),
        "axes": axes_json(like.pairs.axes) if like else None,
        "pairs": count_pairs(db, counts, like.pairs.axes, rows) if like else None,
    }
    (folder / SUMS).write_text(json.dumps(sums))
    return [*written, folder / SUMS]


def axes_json(axes: Sequence[column_pairs.Axis]) -> list[Any]:
    """Axes as sums.json has them."""
    return [axis.model_dump(mode="json") for axis in axes]


def count_pairs(db: Any, counts: RowCounts, axes: Sequence[column_pairs.Axis], rows: int) -> list[list[int]]:
    """Additive counts of every chosen pair of the axes."""
    counts.code(db, axes)
    answers = [question(db) for question in counts.pair_questions(axes, rows)]
    db.execute("DROP TABLE IF EXISTS coded")
    return [list(p.counts) for p in column_pairs.collect(axes, counts.schema.target, answers).pairs]


def _copy(db: Any, file: Path, selects: Sequence[str], empty: str) -> Path:
    """`empty`: the columns of a table without rows."""
    sql = " UNION ALL ".join(selects) or f"SELECT {empty} WHERE false"
    db.execute(f"COPY ({sql}) TO {quote(str(file))} (FORMAT parquet, COMPRESSION lz4)")
    return file
