"""The accepted rows, typed: a table of the connection while they are profiled, and the Parquet file that stays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest import cell_parsing, column_scan
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import is_ordered, name, quote
from dropforge.ingest.open_file import OpenFile

SNAPSHOT = "data.parquet"  # a snapshot's file, in the folder of the upload or of its shard
_TABLE, _LEFT_OUT = "snapshot", "left_out"
_IN_MEMORY_BYTES = 300_000_000
_GROUP = 10_000  # rows of one leaf of the dataset's hash tree
_TOGETHER = 100  # columns typed in one SELECT
_KEY = name(ROW_HASH)  # the one name that no column of a user's has
_SHARED_LEVELS = 2000  # categories of a column whose codes two files agree on

Levels = Mapping[str, Sequence[str]]  # by column: its categories, whose positions are their codes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`relation`: SQL of the rows on the connection; `file`: where they are written, complete when `written` is done.

    `left_out`: the table of the rows that a fault or a rule keeps out: `n`, their number in the order of the relation they were read
    from, `t`, their cells as the file has them. Empty without such rows, and where they are not to be had without reading again.
    """

    relation: str
    file: Path
    in_memory: bool
    written: Future[None]
    left_out: str = ""


def enumerate_levels(
    db: Any, schema: Schema, header: Sequence[str], scans: Mapping[str, ColumnScan], known: Levels
) -> dict[str, list[str]]:
    """Make an enumeration (levels_{number of the column}) for each column of repeated texts: a byte a cell, not a text.

    Empty when the rows are too many for memory. `known`: levels of another file, whose codes stay what they are there.
    """
    levels: dict[str, list[str]] = {}
    if _bytes(schema, scans) > _IN_MEMORY_BYTES:
        return levels
    places = {
        c.name: n
        for n, c in enumerate(schema.columns)
        if c.name in header and c.kind == "category" and scans[c.name].values
    }
    texts = column_scan.texts_of(db, [scans[c] for c in places], _SHARED_LEVELS)
    for (column, n), values in zip(places.items(), texts, strict=True):
        first = known.get(column, ())
        db.execute(f"DROP TYPE IF EXISTS levels_{n}")
        if values:
            levels[column] = [*first, *sorted(set(values).difference(first))]
            db.execute(f"CREATE TYPE levels_{n} AS ENUM ({', '.join(map(quote, levels[column]))})")
        else:
            levels[column] = _enumerated(db, f"levels_{n}", scans[column].values, first)
    return levels


def _enumerated(db: Any, enumeration: str, values: str, first: Sequence[str]) -> list[str]:
    """Create the enumeration of texts that are none or too many to write into a statement, and give what it lists."""
    listed = ", ".join(f"({k}, {quote(v)})" for k, v in enumerate(first)) or "(0, NULL)"
    db.execute(
        f"CREATE TYPE {enumeration} AS ENUM (WITH known(k, v) AS (VALUES {listed}) "
        f"SELECT coalesce(known.v, seen.v) FROM known FULL JOIN ({values}) AS seen(v) USING (v) "
        "WHERE coalesce(known.v, seen.v) IS NOT NULL ORDER BY known.k IS NULL, known.k, seen.v)"
    )
    levels: list[str] = db.execute(f"SELECT enum_range(NULL::{enumeration})").fetchall()[0][0]
    return levels


def shared(levels: Levels) -> Levels:
    """Those another file may be told of: a column with more would cost more to tell than it saves."""
    return {c: v for c, v in levels.items() if len(v) <= _SHARED_LEVELS}


@dataclass(frozen=True, slots=True)
class LayeredRows:
    """Rows of a file as cell_parsing.layered gives them, and which of them are used.

    Those are left out of which a condition of `bad` (by column, on the layers) holds, or `violated` (on the typed columns, c0, c1, …
    in the schema's order); either may be empty. `levels`: what enumerate_levels returned, `known` its argument.
    """

    file: OpenFile
    schema: Schema
    scans: Mapping[str, ColumnScan]
    bad: Mapping[str, str] = field(default_factory=dict)
    violated: str = ""
    levels: Levels = field(default_factory=dict)
    known: Levels = field(default_factory=dict)

    @property
    def in_groups(self) -> bool:
        """Whether the columns are typed in groups, which the numbers of the rows join."""
        return len(self.schema.columns) > 2 * _TOGETHER and self.file.source.has_rowid

    @property
    def mark(self) -> str:
        """The column of `typed` that is NULL in the rows used; empty where every row is. No column of the schema has its name."""
        if not (self.bad or self.violated):
            return ""
        taken, mark = {c.lower() for c in self.schema.names}, f"{ROW_HASH}_mark"
        while mark in taken:
            mark += "_"
        return name(mark)

    def typed(self) -> str:
        """A statement that gives every row with the schema's columns, typed, and the mark."""
        if self.in_groups:
            return self._typed_in_groups()
        cells = self._typed_cells(self.schema.columns)
        rows = self.file.rows(self.schema, self.scans, lean=True)
        if not self.mark:
            return f"SELECT {', '.join(f'{sql} AS {name(c)}' for c, sql in cells)} FROM {rows}"
        texts = ", ".join(f"r{i}" for i in range(len(self.file.source.header)))
        inner = ", ".join(f"{sql} AS c{n}" for n, (_, sql) in enumerate(cells))
        return self._marked(
            f"(SELECT {inner}, ({self._any_bad(self.bad)}) AS bad, {texts} FROM {rows})", "bad", f"[{texts}]"
        )

    def _typed_in_groups(self) -> str:
        """The same of a table of many columns: planning takes the square of the columns that stand in one SELECT."""
        groups, tables, columns = [], [], []
        for start in range(0, len(self.schema.columns), _TOGETHER):
            some, k = self.schema.columns[start : start + _TOGETHER], start // _TOGETHER
            cells = [f"{sql} AS c{start + n}" for n, (_, sql) in enumerate(self._typed_cells(some))]
            bad = self._any_bad([c.name for c in some if c.name in self.bad])
            places = [self.file.source.header.index(c.name) for c in some if c.name in self.scans]
            rows = self.file.rows(self.schema, self.scans, lean=True, places=places, keep=("rowid AS n",))
            groups.append(f"g{k} AS MATERIALIZED (SELECT n, ({bad}) AS bad, {', '.join(cells)} FROM {rows})")
            tables.append(f"g{k}")
            columns += [f"c{start + n}" for n in range(len(some))]
        joined = "".join(f" JOIN {g} ON {g}.n = g0.n" for g in tables[1:])
        flags = (f"{g}.bad AS bad{k}" for k, g in enumerate(tables))
        rows = f"(SELECT g0.n AS n, {', '.join(flags)}, {', '.join(columns)} FROM g0{joined})"
        bad = " OR ".join(f"bad{k}" for k in range(len(tables)))
        return f"WITH {', '.join(groups)} {self._marked(rows, bad, 'n')} ORDER BY n"

    def _any_bad(self, columns: Iterable[str]) -> str:
        return " OR ".join(self.bad[c] for c in columns) or "false"

    def _marked(self, rows: str, bad: str, mark: str) -> str:
        """The typed columns c0, c1, … of the rows by their names, with `mark` where the row is left out."""
        columns = ", ".join(f"c{n} AS {name(c.name)}" for n, c in enumerate(self.schema.columns))
        if not self.mark:
            return f"SELECT {columns} FROM {rows}"
        left_out = f"({bad}) OR ({self.violated})" if self.violated else bad
        return f"SELECT {columns}, CASE WHEN {left_out} THEN {mark} END AS {self.mark} FROM {rows}"

    def left_out(self, relation: str) -> str:
        """A statement that gives number and texts of the rows left out, in order. `relation`: of `typed`."""
        numbered = f"SELECT row_number() OVER () AS n, {self.mark} AS t FROM {relation}"
        if not self.in_groups:
            return f"SELECT n, t FROM ({numbered}) WHERE t IS NOT NULL"
        source = self.file.source
        wanted = f"SELECT t AS place FROM ({numbered}) WHERE t IS NOT NULL"
        return (
            f"SELECT place + 1 AS n, [{', '.join(source.fields)}] AS t FROM ({wanted}) "
            f"JOIN (SELECT rowid AS n, * FROM {source.relation}) ON place = n ORDER BY place"
        )

    def _typed_cells(self, columns: Sequence[Column]) -> list[tuple[str, str]]:
        """Of each of these columns of the schema its name and SQL of its cell."""
        places = {c.name: n for n, c in enumerate(self.schema.columns)} if self.levels else {}
        header = {c: i for i, c in enumerate(self.file.source.header)}
        cells = []
        for c in columns:
            sql, physical = "NULL", f"levels_{places[c.name]}" if c.name in self.levels else c.physical
            if c.name in header:
                sql = cell_parsing.parsed(header[c.name], c.kind, clean=self.scans[c.name].is_clean(c.kind))
            cells.append((c.name, f"CAST({sql} AS {physical})"))
        return cells

    def digest(self, *, canonical: bool) -> str:
        """SQL of the hash of a typed row: of its canonical form, else one that tells rows of this process apart."""
        if canonical:
            # Unit and record separators cannot be typed into a cell by accident; NULL differs from every text.
            texts = ", ".join(f"coalesce(CAST({name(c.name)} AS VARCHAR), '\x1e')" for c in self.schema.columns)
            return f"md5_number_lower(concat_ws('\x1f', {texts}))"
        agreed = shared(self.known or self.levels)
        header = set(self.file.source.header)
        cells = [_description(c, self.levels, agreed) for c in self.schema.columns if c.name in header]
        return f"hash({', '.join(cells)})"  # without a text for every cell


def write(db: Any, file: Path, rows: LayeredRows, *, keep: bool, compression: str = "zstd") -> Snapshot:
    """Type the rows.

    With `keep` every row gets the hash of its canonical form and the file is written, compressed by `compression`; else a hash that
    tells rows of this process apart, and a file only when the rows are too many for memory.
    """
    db.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    typed = f"({rows.typed()})"
    if rows.in_groups:
        # Beside a digest of hundreds of columns the optimizer takes several times as long for their expressions.
        db.execute(f"CREATE OR REPLACE TEMP TABLE typed_in_groups AS {typed}")
        typed = "typed_in_groups"
    digest = f"{rows.digest(canonical=keep)} AS {_KEY}"
    form = f"TO {quote(str(file))} (FORMAT parquet, COMPRESSION {compression if keep else 'snappy'})"
    written = Future[None]()
    written.set_result(None)
    if _bytes(rows.schema, rows.scans) > _IN_MEMORY_BYTES:
        used = f"SELECT *, {digest} FROM {typed}"
        if rows.mark:
            # Materialised: a filter pushed below the layers would compute every expression of theirs again.
            used = (
                f"WITH read AS MATERIALIZED (FROM {typed}) SELECT * EXCLUDE ({rows.mark}), {digest} FROM read "
                f"WHERE {rows.mark} IS NULL"
            )
        db.execute(f"COPY ({used}) {form}")
        return Snapshot(f"read_parquet({quote(str(file))})", file, False, written)
    db.execute(f"CREATE TABLE {_TABLE} AS SELECT *, {digest} FROM {typed}")
    db.execute("DROP TABLE IF EXISTS typed_in_groups")
    left_out = _take_out(db, rows) if rows.mark else ""
    if keep:
        # Other readers know no enumerations.
        texts = ", ".join(f"CAST({name(c)} AS VARCHAR) AS {name(c)}" for c in rows.levels)
        plain = f"(SELECT * REPLACE ({texts}) FROM {_TABLE})" if texts else _TABLE
        pool = ThreadPoolExecutor(1)
        written = pool.submit(_copy, db.cursor(), f"COPY {plain} {form}")
        pool.shutdown(wait=False)
    return Snapshot(_TABLE, file, True, written, left_out)


def _take_out(db: Any, rows: LayeredRows) -> str:
    """Take the rows left out from the table of all rows into one of their own; empty where the order is not the file's."""
    ordered = is_ordered(db)
    if ordered:
        db.execute(f"CREATE OR REPLACE TABLE {_LEFT_OUT} AS {rows.left_out(_TABLE)}")
    db.execute(f"DELETE FROM {_TABLE} WHERE {rows.mark} IS NOT NULL")
    db.execute(f"ALTER TABLE {_TABLE} DROP COLUMN {rows.mark}")
    return _LEFT_OUT if ordered else ""


def _description(column: Column, levels: Levels, agreed: Levels) -> str:
    """SQL that is equal for equal cells of two files: a code where they agree on codes, else the value."""
    cell = name(column.name)
    if column.numeric:
        return f"CAST({cell} AS DOUBLE)"
    if column.name not in agreed:
        return f"CAST({cell} AS VARCHAR)"
    if column.name in levels:
        return f"CAST(enum_code({cell}) AS BIGINT)"
    # Texts of this file that hardly repeat: their codes are looked up.
    codes = ", ".join(quote(v) for v in agreed[column.name])
    code = f"coalesce(nullif(list_position([{codes}], {cell}), 0) - 1, CAST(hash({cell}) >> 1 AS BIGINT))"
    return f"CASE WHEN {cell} IS NOT NULL THEN {code} END"


def _copy(db: Any, sql: str) -> None:
    db.execute(sql)


def _bytes(schema: Schema, scans: Mapping[str, ColumnScan]) -> int:
    """About what the accepted rows take in memory."""
    rows = max((scan.cells for scan in scans.values()), default=0)
    small = sum(
        c.kind not in {"category", "text"} or bool(c.name in scans and scans[c.name].values) for c in schema.columns
    )
    return rows * (8 * small + 48 * (len(schema.columns) - small) + 8)


def count(db: Any, snapshot: Snapshot) -> int:
    """Rows of the snapshot."""
    return int(db.execute(f"SELECT count(*) FROM {snapshot.relation}").fetchall()[0][0])


def join(db: Any, relation: str, file: Path) -> tuple[str, int]:
    """Write the rows of the shards' snapshots, in order, as one; its id and the number of rows."""
    db.execute(f"COPY (FROM {relation}) TO {quote(str(file))} (FORMAT parquet, COMPRESSION zstd)")
    return identify(db, f"read_parquet({quote(str(file))})")


def identify(db: Any, relation: str) -> tuple[str, int]:
    """Hash tree over the row hashes in file order: 16 hex, and the number of rows. `relation`: of a snapshot."""
    # Rows are counted here: rowid and file_row_number are names that a user's column may have.
    numbered = f"SELECT {name(ROW_HASH)} AS h, row_number() OVER () - 1 AS n FROM {relation}"
    leaves = db.execute(
        f"SELECT sha256(array_to_string(list(h ORDER BY n), ',')), count(*) FROM ({numbered}) "
        f"GROUP BY n // {_GROUP} ORDER BY min(n)"
    ).fetchall()
    digest = hashlib.sha256("".join(leaf for leaf, _ in leaves).encode()).hexdigest()
    return digest[:16], sum(int(rows) for _, rows in leaves)
