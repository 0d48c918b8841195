"""The accepted rows, typed: a table of the connection while they are profiled, and the Parquet file that stays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest import cell_parsing
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import name, quote

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
    db: Any, schema: Schema, header: Sequence[str], looks: Mapping[str, ColumnScan], known: Levels
) -> dict[str, list[str]]:
    """Make an enumeration (levels_{number of the column}) for each column of repeated texts: a byte a cell, not a text.

    Empty when the rows are too many for memory. `known`: levels of another file, whose codes stay what they are there.
    """
    levels: dict[str, list[str]] = {}
    if _bytes(schema, looks) > _IN_MEMORY_BYTES:
        return levels
    for n, c in enumerate(schema.columns):
        if c.name not in header or c.kind != "category" or not looks[c.name].values:
            continue
        first = known.get(c.name, ())
        listed = ", ".join(f"({k}, {quote(v)})" for k, v in enumerate(first)) or "(0, NULL)"
        db.execute(f"DROP TYPE IF EXISTS levels_{n}")
        db.execute(
            f"CREATE TYPE levels_{n} AS ENUM (WITH known(k, v) AS (VALUES {listed}) "
            f"SELECT coalesce(known.v, seen.v) FROM known FULL JOIN ({looks[c.name].values}) AS seen(v) USING (v) "
            "WHERE coalesce(known.v, seen.v) IS NOT NULL ORDER BY known.k IS NULL, known.k, seen.v)"
        )
        levels[c.name] = db.execute(f"SELECT enum_range(NULL::levels_{n})").fetchall()[0][0]
    return levels


def shared(levels: Levels) -> Levels:
    """Those another file may be told of: a column with more would cost more to tell than it saves."""
    return {c: v for c, v in levels.items() if len(v) <= _SHARED_LEVELS}


def write(
    db: Any,
    file: Path,
    schema: Schema,
    header: Sequence[str],
    looks: Mapping[str, ColumnScan],
    *,
    rows: str,
    bad: str,
    keep: bool,
    levels: Levels,
    known: Levels,
    violated: str = "",
) -> Snapshot:
    """Type the layered `rows` (cells.layered), but those of which the condition `bad` holds, or `violated` of the typed columns.

    With `keep` every row gets the hash of its canonical form and the file is written; else a hash that tells rows of this
    process apart, and a file only when the rows are too many for memory. `levels`: what enumerate_levels made, `known` its
    argument.
    """
    in_memory = _bytes(schema, looks) <= _IN_MEMORY_BYTES
    typed: list[str] = []
    messages: list[str] = []  # what tells rows apart, without a text for every cell
    agreed = shared(known or levels)
    db.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    for n, c in enumerate(schema.columns):
        sql, physical = "NULL", f"levels_{n}" if c.name in levels else c.physical
        if c.name in header:
            i, seen = header.index(c.name), looks[c.name]
            sql = cell_parsing.parsed(i, c.kind, clean=not (seen.fails.get(c.kind, 0) or seen.infinite))
            messages.append(_description(c, levels, agreed))
        typed.append(f"CAST({sql} AS {physical}) AS {name(c.name)}")
    read = f"SELECT {', '.join(typed)} FROM {rows}"
    if bad or violated:
        # Materialised: a filter pushed below the layers would compute every expression of theirs again.
        flag = name(ROW_HASH)  # the one name that no column of a user's has
        read = (
            f"WITH read AS MATERIALIZED (SELECT {', '.join(typed)}, ({bad or 'false'}) AS {flag} FROM {rows}) "
            f"SELECT * EXCLUDE ({flag}) FROM read WHERE NOT {flag}" + (f" AND NOT ({violated})" if violated else "")
        )
    # Unit and record separators cannot be typed into a cell by accident; NULL differs from every text.
    canonical = ", ".join(f"coalesce(CAST({name(c.name)} AS VARCHAR), '\x1e')" for c in schema.columns)
    digest = f"md5_number_lower(concat_ws('\x1f', {canonical}))" if keep else f"hash({', '.join(messages)})"
    hashed = f"SELECT *, {digest} AS {name(ROW_HASH)} FROM ({read})"
    form = f"TO {quote(str(file))} (FORMAT parquet, COMPRESSION {'zstd' if keep else 'snappy'})"
    written = Future[None]()
    written.set_result(None)
    if not in_memory:
        db.execute(f"COPY ({hashed}) {form}")
        return Snapshot(f"read_parquet({quote(str(file))})", file, False, written)
    db.execute(f"CREATE TABLE {_TABLE} AS {hashed}")
    if keep:
        # Other readers know no enumerations.
        texts = ", ".join(f"CAST({name(c)} AS VARCHAR) AS {name(c)}" for c in levels)
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


def _bytes(schema: Schema, looks: Mapping[str, ColumnScan]) -> int:
    """About what the accepted rows take in memory."""
    rows = max((seen.cells for seen in looks.values()), default=0)
    small = sum(
        c.kind not in {"category", "text"} or bool(c.name in looks and looks[c.name].values) for c in schema.columns
    )
    return rows * (8 * small + 48 * (len(schema.columns) - small) + 8)


def count(db: Any, snapshot: Snapshot) -> int:
    """Rows of the snapshot."""
    return int(db.execute(f"SELECT count(*) FROM {snapshot.relation}").fetchall()[0][0])


def identify(db: Any, snapshot: Snapshot) -> tuple[str, int]:
    """Hash tree over the row hashes in file order: 16 hex, and the number of rows."""
    # Rows are counted here: rowid and file_row_number are names that a user's column may have.
    numbered = f"SELECT {name(ROW_HASH)} AS h, row_number() OVER () - 1 AS n FROM {snapshot.relation}"
    leaves = db.execute(
        f"SELECT sha256(array_to_string(list(h ORDER BY n), ',')), count(*) FROM ({numbered}) "
        f"GROUP BY n // {_GROUP} ORDER BY min(n)"
    ).fetchall()
    digest = hashlib.sha256("".join(leaf for leaf, _ in leaves).encode()).hexdigest()
    return digest[:16], sum(int(rows) for _, rows in leaves)
