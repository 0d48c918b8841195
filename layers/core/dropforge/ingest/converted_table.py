"""Tables that are neither CSV nor Parquet as CSV: JSON lines, and a sheet of an Excel workbook. Arrow becomes Parquet: it has types.

Every cell becomes the text that a CSV file would have, so that a table has one meaning whatever it is kept in: numbers as they are
written (JSON) or in their shortest form (Excel), true and false, dates in ISO form, nothing for null.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from dropforge.config.settings import DataSettings, Limits
from dropforge.errors import RejectedUpload

_LARGEST_SHEET: Final = 400_000_000  # bytes of XML: a workbook is read into memory
_MOST_SHEETS: Final = 20  # that are looked into for a table
_MOST_CELLS: Final = 20_000_000  # of the rectangle that a sheet's cells span
_CELL: Final = re.compile(rb'<(?:\w+:)?c\b[^>]*?\br="([A-Z]{1,3})([0-9]{1,7})"')
_CHUNK: Final = 1 << 20
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"
_WHOLE: Final = 2**53


@dataclass(frozen=True, slots=True)
class Converted:
    """`path` is CSV with a header, comma, UTF-8. `lines`: for each of its records, where it stands in the file given.

    `nested`: the columns with lists or objects, each with which of both.
    """

    path: Path
    lines: Sequence[int]
    notes: list[tuple[str, str]] = field(default_factory=list)
    nested: Mapping[str, str] = field(default_factory=dict)


# --- Arrow -----------------------------------------------------------------------------------------------------------------
def arrow(path: Path, target: Path, *, stream: bool) -> Path:
    """An Arrow IPC file (Feather), or a stream, as Parquet, batch by batch. Raises RejectedUpload for what cannot be read."""
    from arro3 import io  # pyarrow does not fit into a function, nanoarrow reads no LZ4

    if stream:
        _check_end(path)
    try:
        batches = io.read_ipc_stream(str(path)) if stream else io.read_ipc(str(path))
        io.write_parquet(batches, str(target), compression="zstd(1)")
    except BaseException as error:
        # What the library did not foresee in a broken file is a panic of Rust, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise RejectedUpload(
            f"the Arrow file cannot be read: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}",
            code="truncated",
            fix="write it again, or as Parquet",
        ) from None
    return target


def _check_end(path: Path) -> None:
    """A stream that was cut between two batches reads like a whole one, but for the mark at its end."""
    with path.open("rb") as f:
        f.seek(-len(_END_OF_STREAM), 2)
        if f.read() != _END_OF_STREAM:
            raise RejectedUpload(
                "the Arrow stream has no end mark: rows may be missing",
                code="truncated",
                fix="close the writer before you send the file, or write an Arrow file",
            )


# --- JSON lines ------------------------------------------------------------------------------------------------------------
def json_lines(path: Path, target: Path, data: DataSettings, *, keep_nested: bool = False) -> Converted:
    """One object a line; keys are columns, in the order in which they are first met.

    A line that is no object becomes a record with a field too many, which is quarantined. Raises RejectedUpload for JSON that is not
    one object a line, for nested values outside `data.ignore` (with `keep_nested` they are texts), and over the limits.
    """
    columns: dict[str, None] = {}
    for number, record, _ in _objects(path, data.limits):
        if record is None:
            if number == 1:
                raise RejectedUpload(
                    "the first line is no JSON object",
                    code="not_a_table",
                    fix="write one object a line (JSON lines), such as: jq -c '.[]' file.json",
                )
            continue
        columns |= dict.fromkeys(record)
        if len(columns) > data.limits.max_columns:
            raise RejectedUpload(
                f"more than {data.limits.max_columns:,} different keys",
                code="too_many_columns",
                fix="drop some, or raise data.limits.max_columns",
            )
    names = list(columns)
    lines: list[int] = []
    nested: dict[str, str] = {}
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for number, record, raw in _objects(path, data.limits):
            lines.append(number)
            cells = None if record is None else _cells(record, names, number, data, keep_nested=keep_nested)
            # The text last: DuckDB takes a surplus field that is empty for a delimiter too many.
            writer.writerow([*[""] * len(names), raw] if cells is None else cells)
            if keep_nested and record is not None:
                nested |= {
                    c: "an object" if isinstance(v, dict) else "a list"
                    for c, v in record.items()
                    if isinstance(v, list | dict)
                }
    return Converted(target, lines, nested=nested)


def _objects(path: Path, limits: Limits) -> Iterator[tuple[int, Mapping[str, Any] | None, str]]:
    """Line number, object (None: the line is none) and text of every line that is not blank."""
    longest = 2 * limits.max_field_bytes
    rows = 0
    with path.open("rb") as f:
        for number, line in enumerate(iter(lambda: f.readline(longest + 1), b""), 1):
            if len(line) > longest:
                raise RejectedUpload(
                    f"line {number:,} is longer than {longest:,} bytes",
                    code="line_too_long",
                    fix="shorten its values; data.limits.max_field_bytes says how long a value may be",
                )
            text = _decoded(line, number)
            if not text:
                continue
            rows += 1
            if rows > limits.max_rows:
                raise RejectedUpload(
                    f"the file has more than {limits.max_rows:,} rows",
                    code="over_row_budget",
                    fix="split the file, or raise data.limits.max_rows",
                )
            yield number, _object(text), text


def _decoded(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError:
        raise RejectedUpload(
            f"line {number:,} is not UTF-8", code="encoding", fix="write JSON in UTF-8, as its standard wants"
        ) from None


def _object(text: str) -> dict[str, Any] | None:
    """Numbers as their own texts; None for anything but an object whose keys differ and whose texts are Unicode."""
    try:
        value = json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=_pairs)
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value


def _cells(
    record: Mapping[str, Any], names: Sequence[str], number: int, data: DataSettings, *, keep_nested: bool
) -> list[str]:
    cells = []
    for name in names:
        value = record.get(name)
        if isinstance(value, list | dict):
            if not keep_nested and name not in data.ignore:
                raise RejectedUpload(
                    f"line {number:,}: {name!r} is a list or an object",
                    code="nested_column",
                    fix=f"flatten it into keys of single values, or leave it out: data.ignore: [{name}]",
                )
            value = json.dumps(value, ensure_ascii=False)
        cells.append("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
    return cells


# --- Excel -----------------------------------------------------------------------------------------------------------------
def is_workbook(path: Path) -> bool:
    """Whether a zip archive is an Excel workbook (.xlsx)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def excel(path: Path, target: Path, data: DataSettings) -> Converted:
    """The sheet of `data.sheet`, else the first visible one with two columns and two rows. Its first row with a cell is the header.

    Raises RejectedUpload for a workbook that cannot be read, a sheet that is not there, and over the limits.
    """
    import python_calamine as calamine

    _check_workbook(path, data.limits)
    try:
        with calamine.CalamineWorkbook.from_path(path) as book:
            visible = [s.name for s in book.sheets_metadata if s.visible == calamine.SheetVisibleEnum.Visible]
            chosen = _sheet(data, book.sheet_names, visible)
            sheet = book.get_sheet_by_name(chosen)
            if not data.sheet and not _may_be_table(sheet):
                others = (book.get_sheet_by_name(name) for name in visible[1:_MOST_SHEETS])
                sheet = next((s for s in others if _may_be_table(s)), sheet)
                chosen = sheet.name
            notes = _sheet_notes(chosen, book.sheet_names, sheet.merged_cell_ranges)
            first = sheet.start[0] if sheet.start else 0
            lines = _write_sheet(sheet.to_python(skip_empty_area=True), target, first + 1)
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise RejectedUpload(
            f"the workbook cannot be read: {error}",
            code="truncated",
            fix="open it in Excel and save it again, or export CSV",
        ) from None
    return Converted(target, lines, notes)


def _sheet(data: DataSettings, names: Sequence[str], visible: Sequence[str]) -> str:
    wanted = data.sheet or next(iter(visible), "")
    if wanted not in names:
        shown = ", ".join(repr(n) for n in names[:12])
        raise RejectedUpload(
            f"there is no sheet {wanted!r}; there are {shown}" if wanted else "the workbook has no visible sheet",
            code="sheet_unknown",
            fix="correct data.sheet in settings.yaml, or export the sheet as CSV",
        )
    return wanted


def _may_be_table(sheet: Any) -> bool:
    """Whether its cells span two columns and two rows: remarks in front of the data do not."""
    return bool(sheet.start) and sheet.end[0] > sheet.start[0] and sheet.end[1] > sheet.start[1]


def _sheet_notes(chosen: str, names: Sequence[str], merged: Any) -> list[tuple[str, str]]:
    others = [n for n in names if n != chosen]
    notes = [
        (
            "sheet",
            f"read from the sheet {chosen!r}" + (f"; not from {', '.join(map(repr, others[:5]))}" if others else ""),
        )
    ]
    if merged:
        notes.append(("merged_cells", f"{len(merged):,} merged cells: only the first cell of each has the value"))
    return notes


def _write_sheet(rows: Sequence[Sequence[Any]], target: Path, first: int) -> list[int]:
    """The rows that have a cell; their numbers in the sheet, without the header's."""
    numbers = []
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        for number, row in enumerate(rows, first):
            cells = [_cell(v) for v in row]
            if any(cells):
                writer.writerow(cells)
                numbers.append(number)
    return numbers[1:]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _WHOLE else repr(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else str(value)


def _check_workbook(path: Path, limits: Limits) -> None:
    """Before it is read into memory: its size unpacked, and the rectangle that each sheet's cells span."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(i.file_size for i in archive.infolist())
            if size > min(_LARGEST_SHEET, limits.max_bytes):
                raise RejectedUpload(
                    f"the workbook unpacks to {size:,} bytes; the limit is {min(_LARGEST_SHEET, limits.max_bytes):,}",
                    code="over_byte_budget",
                    fix="export the sheet as CSV or Parquet",
                )
            for info in archive.infolist():
                if info.filename.startswith("xl/worksheets/") and info.filename.endswith(".xml"):
                    _check_span(archive, info, limits)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise RejectedUpload(
            f"the workbook is broken: {error}", code="truncated", fix="open it in Excel and save it again"
        ) from None


def _check_span(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> None:
    """A single cell in the last corner of a sheet makes its reader allocate 17 thousand million of them."""
    column, row, rest = "", 0, b""
    with archive.open(info) as f:
        while chunk := f.read(_CHUNK):
            text = rest + chunk
            for letters, digits in _CELL.findall(text):
                column = max(column, letters.decode(), key=lambda c: (len(c), c))
                row = max(row, int(digits))
            rest = text[-200:]
    width = 0
    for letter in column:
        width = width * 26 + ord(letter) - 64
    if width * row > _MOST_CELLS or width > limits.max_columns or row > limits.max_rows:
        raise RejectedUpload(
            f"the cells of {info.filename} span {row:,} rows and {width:,} columns; the limit is {_MOST_CELLS:,} cells",
            code="over_row_budget",
            fix="delete stray cells far from the table, or export the sheet as CSV",
        )
