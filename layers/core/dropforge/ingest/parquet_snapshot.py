"""The accepted rows, typed: a table of the connection while they are profiled, and the Parquet file that stays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest import cell_parsing
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import name, quote

SNAPSHOT = "data.parquet"  # a snapshot's file, in the folder of the upload or of its shard
_TABLE = "snapshot"
_IN_MEMORY_BYTES = 300_000_000
_GROUP = 10_000  # rows of one leaf of the dataset's hash tree
_SHARED_LEVELS = 2000  # categories of a column whose codes two files agree on

Levels = Mapping[str, Sequence[str]]  # by column: its categories, whose positions are their codes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`relation`: SQL of the rows on the connection; `file`: where they are written, complete when `written` is done."""

    relation: str
    file: Path
    in_memory: bool
    written: Future[None]


def enumerate_levels(
    db: Any, schema: Schema, header: Sequence[str], scans: Mapping[str, ColumnScan], known: Levels
) -> dict[str, list[str]]:
    """Make an enumeration (levels_{number of the column}) for each column of repeated texts: a byte a cell, not a text.

    Empty when the rows are too many for memory. `known`: levels of another file, whose codes stay what they are there.
    """
    levels: dict[str, list[str]] = {}
    if _bytes(schema, scans) > _IN_MEMORY_BYTES:
        return levels
    for n, c in enumerate(schema.columns):
        if c.name not in header or c.kind != "category" or not scans[c.name].values:
            continue
        first = known.get(c.name, ())
        listed = ", ".join(f"({k}, {quote(v)})" for k, v in enumerate(first)) or "(0, NULL)"
        db.execute(f"DROP TYPE IF EXISTS levels_{n}")
        db.execute(
            f"CREATE TYPE levels_{n} AS ENUM (WITH known(k, v) AS (VALUES {listed}) "
            f"SELECT coalesce(known.v, seen.v) FROM known FULL JOIN ({scans[c.name].values}) AS seen(v) USING (v) "
            "WHERE coalesce(known.v, seen.v) IS NOT NULL ORDER BY known.k IS NULL, known.k, seen.v)"
        )
        levels[c.name] = db.execute(f"SELECT enum_range(NULL::levels_{n})").fetchall()[0][0]
    return levels


def shared(levels: Levels) -> Levels:
    """Those another file may be told of: a column with more would cost more to tell than it saves."""
    return {c: v for c, v in levels.items() if len(v) <= _SHARED_LEVELS}


@dataclass(frozen=True, slots=True)
class LayeredRows:
    """Rows of a file as cell_parsing.layered gives them, and which of them are used.

    `sql`: the rows; those are left out of which `bad` (a condition on their layers) holds, or `violated` (on the typed columns);
    either may be empty. `levels`: what enumerate_levels returned, `known` its argument.
    """

    schema: Schema
    header: Sequence[str]
    scans: Mapping[str, ColumnScan]
    sql: str
    bad: str = ""
    violated: str = ""
    levels: Levels = field(default_factory=dict)
    known: Levels = field(default_factory=dict)

    def typed(self) -> str:
        """A statement that gives the used rows with the schema's columns, typed."""
        cells = [self._typed_cell(n, c) for n, c in enumerate(self.schema.columns)]
        if not (self.bad or self.violated):
            return f"SELECT {', '.join(cells)} FROM {self.sql}"
        # Materialised: a filter pushed below the layers would compute every expression of theirs again.
        flag = name(ROW_HASH)  # the one name that no column of a user's has
        return (
            f"WITH read AS MATERIALIZED (SELECT {', '.join(cells)}, ({self.bad or 'false'}) AS {flag} FROM {self.sql}) "
            f"SELECT * EXCLUDE ({flag}) FROM read WHERE NOT {flag}"
            + (f" AND NOT ({self.violated})" if self.violated else "")
        )

    def _typed_cell(self, n: int, column: Column) -> str:
        sql, physical = "NULL", f"levels_{n}" if column.name in self.levels else column.physical
        if column.name in self.header:
            scan = self.scans[column.name]
            clean = not (scan.fails.get(column.kind, 0) or scan.infinite)
            sql = cell_parsing.parsed(self.header.index(column.name), column.kind, clean=clean)
        return f"CAST({sql} AS {physical}) AS {name(column.name)}"

    def digest(self, *, canonical: bool) -> str:
        """SQL of the hash of a typed row: of its canonical form, else one that tells rows of this process apart."""
        if canonical:
            # Unit and record separators cannot be typed into a cell by accident; NULL differs from every text.
            texts = ", ".join(f"coalesce(CAST({name(c.name)} AS VARCHAR), '\x1e')" for c in self.schema.columns)
            return f"md5_number_lower(concat_ws('\x1f', {texts}))"
        agreed = shared(self.known or self.levels)
        cells = [_description(c, self.levels, agreed) for c in self.schema.columns if c.name in self.header]
        return f"hash({', '.join(cells)})"  # without a text for every cell


def write(db: Any, file: Path, rows: LayeredRows, *, keep: bool, compression: str = "zstd") -> Snapshot:
    """Type the rows.

    With `keep` every row gets the hash of its canonical form and the file is written, compressed by `compression`; else a hash that
    tells rows of this process apart, and a file only when the rows are too many for memory.
    """
    db.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    hashed = f"SELECT *, {rows.digest(canonical=keep)} AS {name(ROW_HASH)} FROM ({rows.typed()})"
    form = f"TO {quote(str(file))} (FORMAT parquet, COMPRESSION {compression if keep else 'snappy'})"
    written = Future[None]()
    written.set_result(None)
    if _bytes(rows.schema, rows.scans) > _IN_MEMORY_BYTES:
        db.execute(f"COPY ({hashed}) {form}")
        return Snapshot(f"read_parquet({quote(str(file))})", file, False, written)
    db.execute(f"CREATE TABLE {_TABLE} AS {hashed}")
    if keep:
        # Other readers know no enumerations.
        texts = ", ".join(f"CAST({name(c)} AS VARCHAR) AS {name(c)}" for c in rows.levels)
        plain = f"(SELECT * REPLACE ({texts}) FROM {_TABLE})" if texts else _TABLE
        pool = ThreadPoolExecutor(1)
        written = pool.submit(_copy, db.cursor(), f"COPY {plain} {form}")
        pool.shutdown(wait=False)
    return Snapshot(_TABLE, file, True, written)


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
