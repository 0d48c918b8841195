"""A file as a relation of text columns, whatever its format: what admission reads from."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dropforge.config.settings import CsvSettings, DataSettings, Limits
from dropforge.datasets.table_schema import ROW_HASH, Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import converted_table, csv_records, csv_text, file_format, unpaired_quotes
from dropforge.ingest.duckdb_connection import connect, is_ordered, name, quote

_COPY = "raw"  # the table of a text file in memory
_IN_MEMORY_BYTES = 64_000_000
_ROW_NUMBER = "file_row_number"  # what DuckDB calls the number of a row of a Parquet file
_BUFFER_OF_COLUMN = 8000  # bytes that a buffer of the reader has at least for each column
UNNAMED = "column_1"  # what the first column is called when it has no name: tables written with their row numbers
_NESTED = ("STRUCT", "MAP", "LIST", "[]", "UNION", "BLOB")
_NUMERIC = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "REAL")  # parts of DuckDB's names of types whose numbers are no texts


def field_name(i: int) -> str:
    """The i-th column of every relation of a source. A user's names never stand beside ours in one statement."""
    return f"f{i}"


@dataclass(slots=True)
class Source:
    """`relation` is SQL that yields the file's rows of the right form, columns f0, f1, … in the header's order, every one
    VARCHAR; in file order when the connection keeps it (engine.connect).
    """

    connection: Any
    relation: str
    header: tuple[str, ...]
    format: str
    delimiter: str = ""
    encoding: str = ""
    text: file_format.TextFacts | None = None
    header_lines: int = 0  # up to the end of the header, empty lines above it too; 0: there is none
    notes: list[tuple[str, str]] = field(default_factory=list)
    sample: str = ""  # SQL of its first rows, without a record of rejects
    columnar: bool = False  # a column can be read without the others
    unheld: str = ""  # the relation of the file itself, where `relation` is a copy
    original: str = ""  # the relation with the file's own types, where it has some (Parquet)
    native: frozenset[int] = frozenset()  # columns that hold numbers, not texts of numbers
    truths: frozenset[int] = frozenset()  # and true or false
    parquet: Path | None = None  # the file, where it is Parquet
    groups: tuple[
        tuple[int, int], ...
    ] = ()  # rows and unpacked bytes of its row groups, where rows can be told by their number
    longest: int = 0  # bytes of a line of a text file that can be read
    lines: Sequence[int] | None = None  # where each record stands in the file, when `text` was made of another format
    nested: Mapping[str, str] = field(default_factory=dict)  # types of the columns whose cells are no single values

    @property
    def fields(self) -> tuple[str, ...]:
        """SQL names of the relation's columns."""
        return tuple(field_name(i) for i in range(len(self.header)))

    @property
    def has_rowid(self) -> bool:
        """Whether the relation is a table of the connection, whose rows have numbers (rowid) in file order."""
        return self.relation == _COPY

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
            self.connection.execute(f"CREATE OR REPLACE TABLE {_COPY} AS SELECT * FROM {self.relation}")
            self.relation = self.sample = _COPY
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


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """`keep_nested`: columns of lists and records are no reason to refuse a file. `pair_quotes`: look for quotes that do not close;
    not in a piece of a text that was searched as a whole or will be. `rows`: of a Parquet file, the first row that is read and the one
    behind the last, from 0; None: all.
    """

    keep_nested: bool = False
    pair_quotes: bool = True
    rows: tuple[int, int] | None = None


WHOLE_TABLE = OpenOptions()


def open_source(
    path: Path,
    workdir: Path,
    connection: Any,
    data: DataSettings,
    reference: Schema | None,
    options: OpenOptions = WHOLE_TABLE,
) -> Source:
    """Raises RejectedUpload when the file is no table that can be read."""
    keep_nested = options.keep_nested
    path, kind = file_format.unpacked(path, workdir, data.limits)
    if kind == "parquet":
        return _parquet(_inside(path, workdir), connection, data, reference, keep_nested=keep_nested, rows=options.rows)
    if kind == "csv":
        text = _inside(path, workdir)
        return _csv(text, workdir, connection, data, reference, pair_quotes=options.pair_quotes)
    target = workdir / "converted.csv"
    converted = (
        converted_table.excel(path, target, data)
        if kind == "excel"
        else converted_table.json_lines(path, target, data, keep_nested=keep_nested)
    )
    plain = data.model_copy(update={"csv": CsvSettings(delimiter=",", duplicate_names=data.csv.duplicate_names)})
    source = _csv(target, workdir, connection, plain, reference, pair_quotes=False)  # it is ours
    source.format, source.encoding, source.lines = kind, "", converted.lines
    source.notes += converted.notes
    source.nested = converted.nested
    return source


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
def _csv(
    path: Path, workdir: Path, connection: Any, data: DataSettings, reference: Schema | None, *, pair_quotes: bool
) -> Source:
    text = file_format.read_text(path, workdir, data.csv)
    record = file_format.first_record(text.path, data.limits, data.csv.delimiter)
    if not record.strip():
        raise RejectedUpload("the file has no line with text", code="empty_file", fix="upload a file with rows")
    if not text.quotes and text.lines > data.limits.max_rows + 1:  # quoted line ends would be counted as rows
        _check_rows(text, data)
    known = frozenset(reference.names) if reference else frozenset(data.csv.columns) | {data.target}
    delimiter = file_format.choose_delimiter(record, data.csv, known)
    first = [c.strip() for c in csv_text.record(record, delimiter)]
    declared = list(data.csv.columns)
    # A file whose first line is not the declared names has no header line.
    headerless = bool(declared) and first != declared
    header = declared if headerless else first
    header, notes = _distinct_names(header, data)
    header_lines = 0 if headerless else record.count("\n") or 1
    above = csv_records.empty_lines_above(text.path) if header_lines else 0
    header_lines += above
    if pair_quotes:
        table = unpaired_quotes.Table(delimiter, len(header), header_lines)
        text = unpaired_quotes.paired(text, table, data.limits, workdir / "paired.csv")
    columns = ", ".join(f"{field_name(i)}: 'VARCHAR'" for i in range(len(header)))
    # Rows longer than this are quarantined; the buffer must hold a few of them.
    plain = not text.long_lines and not text.quotes
    longest = 2 * file_format.LONG_LINE if plain else data.limits.max_field_bytes * 2
    buffer = _buffer(text, longest, len(header), plain=plain)
    relation = (
        f"read_csv({quote(str(text.path))}, columns = {{{columns}}}, auto_detect = false, header = {str(not headerless).lower()}, "
        f"skip = {above}, delim = {quote(delimiter)}, quote = '\"', escape = '\"', nullstr = '', max_line_size = {longest}, "
    )
    stored = f"store_rejects = true, rejects_limit = 0, buffer_size = {buffer})"
    tolerant = f"ignore_errors = true, buffer_size = {_aligned(2 * longest)})"
    return Source(
        connection,
        relation + stored,
        tuple(header),
        "csv",
        delimiter,
        text.encoding,
        text,
        header_lines,
        [*text.notes, *notes],
        relation + tolerant,
        longest=longest,
    )


def _buffer(text: file_format.TextFacts, longest: int, columns: int, *, plain: bool) -> int:
    """Bytes that a core reads at a time."""
    if not plain:
        return _aligned(max(longest * 4, 32_000_000))
    # A buffer becomes a part of the table of its own, with a piece of memory for each column.
    least = _BUFFER_OF_COLUMN * columns
    size = text.path.stat().st_size
    return _aligned(min(max(4_000_000, least), max(2 * longest, size // 8, least)))


def _distinct_names(header: Sequence[str], data: DataSettings) -> tuple[list[str], list[tuple[str, str]]]:
    """The header as the table has it, and what was changed as notes. Raises RejectedUpload for one that is none."""
    names, notes = named(header)
    if data.csv.duplicate_names == "number":
        names, repeated = numbered(names)
        notes = [*notes, *repeated]
    _check_header(names, data.limits)
    return names, notes


def named(header: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The header with a name for a nameless first or last column, and what was done as notes.

    Tables written with their row numbers have the one, lines that end with a delimiter the other.
    """
    names, notes = list(header), list[tuple[str, str]]()
    places = {0: "the first column has no name (row numbers?)", len(names) - 1: "the last column has no name"}
    for i, predicted in places.items():
        called = f"column_{i + 1}"
        if len(names) > 1 and not names[i] and called not in names:
            names[i] = called
            notes.append(("index_column" if i == 0 else "unnamed_column", f"{predicted}; it is called {called}"))
    return names, notes


def numbered(header: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The header with a number behind each name that stands in it already (size, size_2), and what was done as notes."""
    names, notes, taken = list[str](), list[tuple[str, str]](), {c.lower() for c in header}
    seen: set[str] = set()
    for place, given in enumerate(header, 1):
        called, number = given, 2
        while (given and called.lower() in seen) or (called != given and called.lower() in taken):
            called, number = f"{given}_{number}", number + 1
        if called != given:
            notes.append(("duplicate_name", f"the header names {given!r} twice; column {place} is called {called}"))
        seen.add(called.lower())
        names.append(called)
    return names, notes


def _check_rows(text: file_format.TextFacts, data: DataSettings) -> None:
    """Before anything is read into memory: a small gzip file may hold a hundred million lines."""
    rows = file_format.lines_with_text(text.path) - (not data.csv.columns)
    if rows > data.limits.max_rows:
        raise over_rows(rows, data.limits)


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
    seen: dict[str, str] = {}
    for i, c in enumerate(header, 1):
        if c.lower() in seen:
            other = seen[c.lower()]
            predicted = "twice" if other == c else f"and {other!r}, which differ in case only"
            raise RejectedUpload(
                f"the header names {c!r} {predicted} (again as column {i})",
                code="duplicate_header",
                fix="give every column its own name, or set data.csv.duplicate_names: number",
            )
        seen[c.lower()] = c
    if ROW_HASH in seen:
        raise RejectedUpload(f"the column name {ROW_HASH!r} is reserved", code="reserved_name", fix="rename the column")


# --- Parquet -----------------------------------------------------------------------------------------------------------------
def _parquet(
    path: Path,
    connection: Any,
    data: DataSettings,
    reference: Schema | None,
    *,
    keep_nested: bool,
    rows: tuple[int, int] | None,
) -> Source:
    import duckdb

    _check_parquet_ends(path)
    file = quote(str(path))
    # Writers of old (Impala, Hive) leave the mark out by which texts are told from bytes.
    read = f"read_parquet({file}, binary_as_string = true)"
    try:
        (total,) = connection.execute(f"SELECT max(num_rows) FROM parquet_file_metadata({file})").fetchone()
        groups = _row_groups(connection, file)
        described = connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()
        written = _parquet_names(connection, file)
    except duckdb.Error as error:
        raise unreadable(error) from None
    _check_parquet_size(total, sum(size for _, size in groups), data.limits)
    names, kinds = [str(d[0]) for d in described], [str(d[1]) for d in described]
    # DuckDB gives columns of one name, or of none, names of its own. Spaces around a name are removed, as in text files.
    header = [c.strip() for c in (written if len(written) == len(names) else names)]
    _check_header(header, data.limits)
    nested = {c: kind for c, kind in zip(header, kinds, strict=True) if any(n in kind for n in _NESTED)}
    if not keep_nested:
        _check_nested(nested, data, reference)
    if rows:
        read = _rows_between(file, *rows)
    casts = ", ".join(f"CAST({name(c)} AS VARCHAR) AS {field_name(i)}" for i, c in enumerate(names))
    own = ", ".join(f"{name(c)} AS {field_name(i)}" for i, c in enumerate(names))
    return Source(
        connection,
        f"(SELECT {casts} FROM {read})",
        tuple(header),
        "parquet",
        columnar=True,
        groups=groups if _ROW_NUMBER not in {c.lower() for c in names} else (),
        parquet=path,
        original=f"(SELECT {own} FROM {read})",
        native=frozenset(
            i for i, kind in enumerate(kinds) if any(n in kind for n in _NUMERIC) and header[i] not in nested
        ),
        truths=frozenset(i for i, kind in enumerate(kinds) if kind == "BOOLEAN"),
        nested=nested,
    )


def _rows_between(file: str, first: int, end: int) -> str:
    """SQL of some rows; other row groups are not read."""
    within = f"{name(_ROW_NUMBER)} >= {first} AND {name(_ROW_NUMBER)} < {end}"
    return f"(SELECT * FROM read_parquet({file}, binary_as_string = true, file_row_number = true) WHERE {within})"


def _row_groups(connection: Any, file: str) -> tuple[tuple[int, int], ...]:
    return tuple(
        (int(rows), int(size))
        for rows, size in connection.execute(
            f"SELECT max(row_group_num_rows), coalesce(sum(total_uncompressed_size), 0) FROM parquet_metadata({file}) "
            "GROUP BY row_group_id ORDER BY row_group_id"
        ).fetchall()
    )


def _check_parquet_size(rows: int, unpacked_bytes: int, limits: Limits) -> None:
    if rows > limits.max_rows:
        raise over_rows(rows, limits)
    if unpacked_bytes > limits.max_bytes * 4:
        raise RejectedUpload(
            f"the Parquet file unpacks to {unpacked_bytes:,} bytes; the limit is {limits.max_bytes * 4:,}",
            code="over_byte_budget",
            fix="split the file, or raise data.limits.max_bytes",
        )
    if not rows:
        raise RejectedUpload("the Parquet file has no rows", code="no_rows", fix="upload rows")


def _check_nested(nested: Mapping[str, str], data: DataSettings, reference: Schema | None) -> None:
    """`nested`: by column its type. Those that nobody reads may stay."""
    used = frozenset(reference.names) if reference else None
    for column, kind in nested.items():
        if column not in data.ignore and (used is None or column in used):
            raise RejectedUpload(
                f"column {column!r} is {kind}",
                code="nested_column",
                fix=f"flatten it into columns of single values, or leave it out: data.ignore: [{column}]",
            )


def _parquet_names(connection: Any, file: str) -> list[str]:
    """The columns' names as the file has them: the children of its root."""
    nodes = connection.execute(f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({file})").fetchall()
    names: list[str] = []
    inside = 0  # nodes still to come of a nested column
    for node, children in nodes[1:]:
        if inside:
            inside += int(children) - 1
            continue
        names.append(str(node))
        inside = int(children)
    return names


def _check_parquet_ends(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as f:
        f.seek(max(0, size - 8))
        tail = f.read(8)
    if size < 12 or tail[4:] != b"PAR1" or struct.unpack("<I", tail[:4])[0] > size:
        raise RejectedUpload(
            "the Parquet file is cut off: its end is missing", code="truncated", fix="write and upload it again"
        )


def over_rows(rows: int, limits: Limits) -> RejectedUpload:
    """For a file of more rows than the budget."""
    return RejectedUpload(
        f"the file has {rows:,} rows; the limit is {limits.max_rows:,}",
        code="over_row_budget",
        fix="split the file, or raise data.limits.max_rows",
    )


def over_memory() -> RejectedUpload:
    """For a file that DuckDB has neither memory nor disk for."""
    return RejectedUpload(
        "the file unpacks to more than the memory and the disk of this function hold",
        code="over_memory_budget",
        fix="split the file, or write it with fewer columns and shorter texts",
    )


@dataclass(slots=True)
class Decoding:
    """What is read inside `decoding`; the column at fault is found by it."""

    source: Source | None = None


@contextmanager
def decoding() -> Iterator[Decoding]:
    """DuckDB's refusals, whenever it finds out, as RejectedUpload: too little memory, a damaged page, text that is none."""
    import duckdb

    reading = Decoding()
    try:
        yield reading
    except duckdb.OutOfMemoryException:
        raise over_memory() from None
    except duckdb.InvalidInputException as error:
        raise unreadable(error, reading.source) from None


def unreadable(error: Exception, source: Source | None = None) -> RejectedUpload:
    """For what DuckDB could not decode."""
    if source is not None and source.format == "parquet" and "UTF8" in str(error):
        column = _undecodable(source)
        return RejectedUpload(
            f"column {column!r} holds bytes that are no text in UTF-8",
            code="encoding",
            fix="write texts in UTF-8, and bytes as text (hexadecimal, base64), or write the file without the column",
        )
    first = str(error).splitlines()[0].partition(' file "')[0]
    return RejectedUpload(
        f"the file cannot be read: {first}", code="truncated", fix="is it cut off or damaged? Write and upload it again"
    )


def _undecodable(source: Source) -> str:
    """The first column that cannot be read as text."""
    import duckdb

    for column, field_of in zip(source.header, source.fields, strict=True):
        try:
            source.connection.execute(f"SELECT count(length({field_of})) FROM {source.relation}").fetchall()
        except duckdb.InvalidInputException:
            return column
    return source.header[0]


def check_complete(source: Source, rows_in: int) -> None:
    """Raises RejectedUpload when the reader gave another number of rows than the file has lines: nothing is lost in silence."""
    expected = source.expected_rows()
    if expected is None or expected == rows_in or source.text is None:
        return
    if line := file_format.long_line(source.text.path, source.longest):
        raise RejectedUpload(
            f"line {line:,} is longer than {source.longest:,} bytes: the reader cannot go on behind it",
            code="line_too_long",
            fix="shorten its values or leave the column out; data.limits.max_field_bytes says how long a value may be",
        )
    if expected < rows_in or not file_format.has_empty_line(source.text.path):
        raise RejectedUpload(
            f"the file has {expected:,} lines below its header, but {rows_in:,} rows were read",
            code="rows_lost",
            fix="this is a defect of the reader: keep the file and report it; nothing of it was used",
        )
