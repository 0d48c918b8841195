"""Quotes of a text that open a field and do not close it: the inch mark of `"6 rod`.

DuckDB reads on to the next quote, however far, and takes the rows between for one; on several threads it also loses the place where
records begin. So the text is read from a copy in which every such record is one that DuckDB reports as malformed, alone. By hand: no
reader of CSV says where a field began that does not close.

The rule: a quote at the start of a field opens one that ends with a quote before a delimiter or a line end. A field that never ends,
or whose closing quote is followed by something else, was not opened: its record is malformed and ends with that line. So it is with a
field of several lines that are rows of the table each: it is no text with line ends, but two inch marks far apart.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dropforge.config.settings import Limits
from dropforge.errors import RejectedUpload
from dropforge.ingest.file_format import TextFacts

REASON: Final = 'a quote opens and does not close before the next delimiter; write "" for a quote in a quoted value'
_MARK: Final = "unpaired quote"  # follows the closing quote of a malformed record in the copy
_SAMPLE: Final = 200  # rows by which columns of figures are known
_EVIDENCE: Final = 4  # figures where the table has figures, from which on lines inside quotes are rows
_LINES_SHOWN: Final = 3
_MOST_ROWS: Final = 1000  # looked at of those that a field spans
_CHUNK: Final = 4 * 1024 * 1024
_BLANK = re.compile(rb"\s*")
_FIGURES = re.compile(rb"[^A-Za-z\x80-\xff]*[0-9][^A-Za-z\x80-\xff]*")  # a number, a date, a sum of money


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of the text: its delimiter, its number of columns, the lines of its header (0: none)."""

    delimiter: str
    columns: int
    header_lines: int


def paired(text: TextFacts, table: Table, limits: Limits, copy: Path) -> TextFacts:
    """The text, or one whose records with unpaired quotes are malformed each for itself, which is written to `copy`.

    Lines keep their numbers. Raises RejectedUpload where the header is such a record, and for more of them than may be quarantined.
    """
    if not text.quotes:
        return text
    with text.path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
        most = max(1, int(limits.max_quarantined_share * text.lines))
        scan = _Scan(content, table, limits)
        records = list[tuple[int, int]]()
        for record in scan.unpaired():
            records.append(record)
            if len(records) > most:
                _reject(content, records)
        notes = [*text.notes, *scan.notes]
        if not records:
            return replace(text, notes=notes)
        if table.header_lines and records[0][0] <= _first_text(content):
            raise RejectedUpload(
                "a quote opens in the header and never closes",
                code="unclosed_quote",
                fix='close it, or write "" for a quote in a name',
            )
        with copy.open("wb") as out, memoryview(content) as view:
            at = 0
            for start, end in records:
                out.write(view[at:start])
                out.write(_malformed(content[start:end], table))
                at = end
            out.write(view[at:])
    return replace(text, path=copy, notes=notes)


def written(line: str, delimiter: str) -> str | None:
    """A record as the file has it, of the line that DuckDB reports of the copy; None for one that is no copy."""
    line = line.strip("\r\n").rstrip("\r" + delimiter)  # behind \r\n it begins with the \n
    if not (line.startswith('"') and line.endswith(f'"{_MARK}')):
        return None
    return line[1 : -len(_MARK) - 1].replace('""', '"')


def _malformed(record: bytes, table: Table) -> bytes:
    """With as many fields as the table has: DuckDB then reports one error of it, that of its quotes."""
    ended = b"\r" if record.endswith(b"\r") else b""
    inside = record.removesuffix(b"\r").replace(b'"', b'""')
    return b'"' + inside + b'"' + _MARK.encode() + table.delimiter.encode() * (table.columns - 1) + ended


def _first_text(content: mmap.mmap) -> int:
    match = _BLANK.match(content)
    return match.end() if match else 0


def _line(content: mmap.mmap, at: int) -> int:
    return 1 + sum(content[k : min(k + _CHUNK, at)].count(b"\n") for k in range(0, at, _CHUNK))


def _reject(content: mmap.mmap, records: Sequence[tuple[int, int]]) -> None:
    lines = [_line(content, start) for start, _ in records[:_LINES_SHOWN]]
    raise RejectedUpload(
        f"at least {len(records):,} rows cannot be used (lines {', '.join(f'{n:,}' for n in lines)}, …: {REASON})",
        code="too_many_bad_rows",
        fix="correct the file (delimiter? quotes?), or raise data.limits.max_quarantined_share",
    )


class _Scan:
    """One pass over the text, from well-formed stretch to well-formed stretch."""

    def __init__(self, content: mmap.mmap, table: Table, limits: Limits) -> None:
        delimiter = re.escape(table.delimiter.encode())
        opening = rb"(?:(?<![^\n" + delimiter + rb"])|(?<=[\n" + delimiter + rb'] ))"'
        end = rb"(?=" + delimiter + rb"|\r?\n|\Z)"
        in_line = rb'[^"\n]*+(?:""[^"\n]*+)*+"'
        self._calm = re.compile(rb'(?:[^"]*+' + opening + in_line + end + rb')*+[^"]*+')
        self._field = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"[ ]*+' + end)
        self._cell = re.compile(rb'[ ]*+"[^"]*+(?:""[^"]*+)*+"[ ]*+' + end + rb"|[^\n" + delimiter + rb"]*+")
        self._content = content
        self._longest = 2 * limits.max_field_bytes  # a longer line is no row (text_table)
        self._table = table
        self._delimiter = table.delimiter.encode()
        self._floor = 0  # the end of the last field of several lines
        self._floor_record = 0  # where the record begins that it is part of
        self._figures: tuple[int, ...] | None = None
        self.notes: list[tuple[str, str]] = []

    def unpaired(self) -> Iterator[tuple[int, int]]:
        """Ranges of bytes, without their last line end, in order."""
        content, size, at = self._content, len(self._content), 0
        while (at := self._calm_until(at)) < size:
            if not self._opens(at):
                at += 1  # a quote in an unquoted cell is a character
                continue
            record, limit = self._record_of(at), min(size, at + self._longest)
            field = self._field.match(content, at, limit)
            line_end = content.find(b"\n", at)
            line_end = size if line_end < 0 else line_end
            if (
                field is None
                or limit == field.end() < size
                or (field.end() > line_end and self._are_rows(record, line_end))
            ):
                yield record, line_end
                at = self._floor = self._floor_record = min(line_end + 1, size)
                continue
            at = field.end()
            if at > line_end:
                self._floor, self._floor_record = at, record

    def _calm_until(self, at: int) -> int:
        match = self._calm.match(self._content, at)
        return match.end() if match else at

    def _opens(self, at: int) -> bool:
        while at and self._content[at - 1] == 0x20:
            at -= 1
        return at == 0 or self._content[at - 1 : at] in {b"\n", self._delimiter}

    def _record_of(self, at: int) -> int:
        line = self._content.rfind(b"\n", self._floor, at) + 1
        return line or self._floor_record

    def _are_rows(self, record: int, line_end: int) -> bool:
        """Whether the line on which a field opens that ends on another one is a row, and those that the field spans are rows, too.

        Where the record has not the fields of a row otherwise, the row below says so alone.
        """
        columns, content = self._table.columns, self._content
        fields, end = self._record(record)
        first = self._cells(content[record:line_end].removesuffix(b"\r"))
        following, after = self._record(line_end + 1)
        if len(fields) != columns:
            return len(following) == columns > 1
        rows = list[list[bytes]]()
        while len(following) == columns > 1 and len(rows) < _MOST_ROWS:
            rows.append([content[a:b].strip(b' "\r') for a, b in following])
            if after >= end:
                break
            following, after = self._record(after)
        if len(following) != columns or columns < 2:
            return False
        rows += [first] if len(first) == columns else []
        if self._is_evident(rows):
            return True
        if len(first) == columns and len(self.notes) < _LINES_SHOWN:
            line = _line(content, record)
            last = line + content[record:end].rstrip().count(b"\n")
            message = (
                f"lines {line:,} to {last:,} are one row, because a quote opens on the first and closes on the last of them, "
                "though each has as many fields as a row"
            )
            self.notes.append(("lines_in_quotes", message))
        return False

    def _record(self, at: int) -> tuple[list[tuple[int, int]], int]:
        """Where the fields of the record lie that begins there, quotes read as they are written, and where the next one begins."""
        fields, content, size = list[tuple[int, int]](), self._content, len(self._content)
        while match := self._cell.match(content, at, min(size, at + self._longest)):
            fields.append(match.span())
            at = match.end()
            if content[at : at + 1] != self._delimiter:
                break
            at += 1
        return fields, content.find(b"\n", at) + 1 or size

    def _is_evident(self, rows: Sequence[Sequence[bytes]]) -> bool:
        """Figures stand where the table has figures, and nothing else does."""
        figures = [row[i] for row in rows for i in self._columns_of_figures() if row[i]]
        return len(figures) >= _EVIDENCE and all(_FIGURES.fullmatch(cell) for cell in figures)

    def _columns_of_figures(self) -> tuple[int, ...]:
        if self._figures is None:
            lines = self._content[:1_000_000].split(b"\n")
            rows = [
                self._cells(x.removesuffix(b"\r")) for x in lines[self._table.header_lines :][:_SAMPLE] if x.strip()
            ]
            rows = [r for r in rows if len(r) == self._table.columns]
            columns = ((i, [r[i] for r in rows if r[i]]) for i in range(self._table.columns))
            self._figures = tuple(
                i
                for i, cells in columns
                if cells and sum(bool(_FIGURES.fullmatch(c)) for c in cells) >= 0.9 * len(cells)
            )
        return self._figures

    def _cells(self, line: bytes) -> list[bytes]:
        cells, at = list[bytes](), 0
        while match := self._cell.match(line, at):
            cells.append(match[0].strip(b' "'))
            at = match.end() + 1
            if at > len(line) or line[match.end() : at] != self._delimiter:
                break
        return cells
