"""A file as a relation of text columns, whatever its format: what admission reads from."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dropforge.data import scan
from dropforge.data.engine import connect, is_ordered, name, quote
from dropforge.data.schema import ROW_HASH, Schema
from dropforge.errors import RejectedUpload
from dropforge.settings import DataSettings, Limits

_IN_MEMORY_BYTES = 64_000_000
UNNAMED = "column_1"  # what the first column is called when it has no name: tables written with their row numbers
_NESTED = ("STRUCT", "MAP", "LIST", "[]", "UNION", "BLOB")


@dataclass(slots=True)
class Source:
    """`relation` is SQL that yields the file's rows of the right form, every column VARCHAR; in file order when the
    connection keeps it (engine.connect).
    """

    connection: Any
    relation: str
    header: tuple[str, ...]
    format: str
    delimiter: str = ""
    encoding: str = ""
    decimal_comma: bool = False
    text: scan.TextFacts | None = None
    header_lines: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)
    sample: str = ""  # SQL of its first rows, without a record of rejects
    columnar: bool = False  # a column can be read without the others
    unheld: str = ""  # the relation of the file itself, where `relation` is a copy

    def expected_rows(self) -> int | None:
        """Rows that the file's lines amount to when none is empty; None where lines tell nothing (quotes, Parquet)."""
        if self.text is None or self.text.quotes:
            return None
        return self.text.lines - self.header_lines

    def hold(self, workdir: Path) -> None:
        """Keep a text file that will be scanned often: in memory, or beside it as Parquet when it is large."""
        if self.text is None:
            return
        self.columnar = True
        self.unheld = self.relation
        if self.text.path.stat().st_size <= _IN_MEMORY_BYTES:
            self.connection.execute(f"CREATE OR REPLACE TABLE raw AS SELECT * FROM {self.relation}")
            self.relation = self.sample = "raw"
        else:
            file = quote(str(workdir / "raw.parquet"))
            self.connection.execute(f"COPY (SELECT * FROM {self.relation}) TO {file} (FORMAT parquet)")
            self.relation = self.sample = f"read_parquet({file})"


@contextmanager
def in_order(source: Source, workdir: Path) -> Iterator[Source]:
    """The source where its n-th row is the n-th of the file: read again when its own connection does not keep the order."""
    if is_ordered(source.connection):
        yield source
        return
    with closing(connect(workdir)) as connection:
        yield replace(source, connection=connection, relation=source.unheld or source.relation)


def open_source(path: Path, workdir: Path, connection: Any, data: DataSettings, reference: Schema | None) -> Source:
    """Raises RejectedUpload when the file is no table that can be read."""
    kind = scan.detect(path)
    if kind == "gzip":
        path = scan.unpack_gzip(path, workdir / "unpacked", data.limits)
        kind = scan.detect(path)
    if kind == "parquet":
        return _parquet(_inside(path, workdir), connection, data.limits)
    return _csv(_inside(path, workdir), workdir, connection, data, reference)


def _inside(path: Path, workdir: Path) -> Path:
    """DuckDB may read the work folder only: a file from elsewhere comes in as a link."""
    path = path.resolve()
    if path.is_relative_to(workdir.resolve()):
        return path
    linked = workdir / "upload"
    if linked.exists() and linked.samefile(path):
        return linked
    try:
        linked.hardlink_to(path)
    except OSError:  # another disk, or somebody else's file
        shutil.copyfile(path, linked)
    return linked


# --- CSV -------------------------------------------------------------------------------------------------------------------
def _csv(path: Path, workdir: Path, connection: Any, data: DataSettings, reference: Schema | None) -> Source:
    text = scan.read_text(path, workdir, data.csv)
    record = scan.first_record(text.path, data.limits)
    if not record.strip():
        raise RejectedUpload(
            "the file has no line with text", code="empty_file", fix="upload a CSV or Parquet file with rows"
        )
    known = frozenset(reference.names) if reference else frozenset(data.csv.columns) | {data.target}
    delimiter = scan.choose_delimiter(record, data.csv, known)
    first = [c.strip() for c in scan.split_line(record, delimiter)]
    declared = list(data.csv.columns)
    # A file whose first line is not the declared names has no header line.
    headerless = bool(declared) and first != declared
    header = declared if headerless else first
    notes = list(text.notes)
    if len(header) > 1 and not header[0] and UNNAMED not in header:
        header = [UNNAMED, *header[1:]]
        notes.append(("index_column", f"the first column has no name (row numbers?); it is called {UNNAMED}"))
    _check_header(header, data.limits)
    if text.quotes % 2:
        with text.path.open("rb") as f:
            line = scan.unclosed_quote_line(f)
        raise RejectedUpload(
            f"a quote opens on line {line:,} and never closes",
            code="unclosed_quote",
            fix='close it, or write "" for a quote in a value',
        )
    columns = ", ".join(f"{quote(c)}: 'VARCHAR'" for c in header)
    # Rows longer than this are set aside; the buffer must hold a few of them. Each core takes a buffer at a time.
    plain = not text.long_lines and not text.quotes
    longest = 2 * scan.LONG_LINE if plain else data.limits.max_field_bytes * 2
    size = text.path.stat().st_size
    buffer = _aligned(min(4_000_000, max(2 * longest, size // 8)) if plain else max(longest * 4, 32_000_000))
    relation = (
        f"read_csv({quote(str(text.path))}, columns = {{{columns}}}, auto_detect = false, header = {str(not headerless).lower()}, "
        f"delim = {quote(delimiter)}, quote = '\"', escape = '\"', nullstr = '', max_line_size = {longest}, "
    )
    kept = f"store_rejects = true, rejects_limit = 0, buffer_size = {buffer})"
    tolerant = f"ignore_errors = true, buffer_size = {_aligned(2 * longest)})"
    comma = delimiter != "," and _decimal_comma(text.path, delimiter, len(header))
    if comma:
        notes.append(("decimal_comma", "numbers are written with a decimal comma"))
    return Source(
        connection,
        relation + kept,
        tuple(header),
        "csv",
        delimiter,
        text.encoding,
        comma,
        text,
        0 if headerless else record.count("\n") or 1,
        notes,
        relation + tolerant,
    )


def _aligned(size: int) -> int:
    """Whole pages. With errors ignored, DuckDB 2.0.0 drops the row at the end of a buffer over 1 MiB that is no multiple of 32
    bytes, and records nothing: 8 of 100,000 rows of an 11 MB file. Source.expected_rows tells, should it ever do so again.
    """
    return -(-size // 4096) * 4096


def _check_header(header: list[str], limits: Limits) -> None:
    if len(header) > limits.max_columns:
        raise RejectedUpload(
            f"{len(header):,} columns; the limit is {limits.max_columns:,}",
            code="too_many_columns",
            fix="drop columns, or raise data.limits.max_columns",
        )
    blank = [i + 1 for i, c in enumerate(header) if not c]
    if blank:
        raise RejectedUpload(
            f"column {blank[0]} has no name in the header", code="blank_header", fix="name every column"
        )
    seen: set[str] = set()
    for i, c in enumerate(header, 1):
        if c.lower() in seen:
            raise RejectedUpload(
                f"the header names {c!r} twice (again as column {i})",
                code="duplicate_header",
                fix="give every column its own name",
            )
        seen.add(c.lower())
    if ROW_HASH in seen:
        raise RejectedUpload(f"the column name {ROW_HASH!r} is reserved", code="reserved_name", fix="rename the column")


def _decimal_comma(path: Path, delimiter: str, width: int) -> bool:
    """Some cell of the first thousand lines is digits, one comma, digits; and none uses a decimal point."""
    commas = points = 0
    with path.open("r", encoding="utf-8", newline="") as f:
        for _, line in zip(range(1000), f, strict=False):
            row = scan.split_line(line, delimiter)
            if len(row) != width:
                continue
            commas += sum(_is_decimal(c, ",") for c in row)
            points += sum(_is_decimal(c, ".") for c in row)
    return commas > 0 and points == 0


def _is_decimal(cell: str, mark: str) -> bool:
    whole, found, fraction = cell.strip().lstrip("+-").partition(mark)
    return bool(found) and whole.isdigit() and fraction.isdigit()


# --- Parquet -----------------------------------------------------------------------------------------------------------------
def _parquet(path: Path, connection: Any, limits: Limits) -> Source:
    import duckdb

    _check_parquet_ends(path)
    file = quote(str(path))
    try:
        rows, claimed = connection.execute(
            f"SELECT max(num_rows), (SELECT sum(total_uncompressed_size) FROM parquet_metadata({file})) "
            f"FROM parquet_file_metadata({file})"
        ).fetchone()
        described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({file})").fetchall()
    except duckdb.Error as error:
        raise unreadable(error) from None
    if rows > limits.max_rows or (claimed or 0) > limits.max_bytes * 4:
        raise RejectedUpload(
            f"the Parquet file claims {rows:,} rows and {claimed or 0:,} bytes; the budget is {limits.max_rows:,} rows",
            code="over_row_budget",
            fix="split the file, or raise data.limits.max_rows",
        )
    if not rows:
        raise RejectedUpload("the Parquet file has no rows", code="no_rows", fix="upload rows")
    header = [str(d[0]) for d in described]
    _check_header(header, limits)
    nested = next(((d[0], d[1]) for d in described if any(n in str(d[1]) for n in _NESTED)), None)
    if nested:
        raise RejectedUpload(
            f"column {nested[0]!r} is {nested[1]}", code="nested_column", fix="flatten it into columns of single values"
        )
    casts = ", ".join(f"CAST({name(c)} AS VARCHAR) AS {name(c)}" for c in header)
    return Source(connection, f"(SELECT {casts} FROM read_parquet({file}))", tuple(header), "parquet", columnar=True)


def _check_parquet_ends(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as f:
        f.seek(max(0, size - 8))
        tail = f.read(8)
    if size < 12 or tail[4:] != b"PAR1" or struct.unpack("<I", tail[:4])[0] > size:
        raise RejectedUpload(
            "the Parquet file is cut off: its end is missing", code="truncated", fix="write and upload it again"
        )


def unreadable(error: Exception) -> RejectedUpload:
    """What DuckDB could not decode, whenever it found out."""
    first = str(error).splitlines()[0].partition(' file "')[0]
    return RejectedUpload(
        f"the file cannot be read: {first}", code="truncated", fix="is it cut off or damaged? Write and upload it again"
    )


def check_complete(source: Source, rows_in: int) -> None:
    """Raises RejectedUpload when the reader gave another number of rows than the file has lines: nothing is lost in silence."""
    expected = source.expected_rows()
    if expected is None or expected == rows_in or source.text is None:
        return
    if expected < rows_in or not scan.has_empty_line(source.text.path):
        raise RejectedUpload(
            f"the file has {expected:,} lines below its header, but {rows_in:,} rows were read",
            code="rows_lost",
            fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
        )
