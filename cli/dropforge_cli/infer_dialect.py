"""The form of a text file: encoding, delimiter, whether its first line names the columns."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge import value_formats
from dropforge.config.settings import CsvSettings, DataSettings
from dropforge.errors import RejectedUpload
from dropforge.ingest import csv_text, file_format, text_table

_DELIMITERS = (",", ";", "\t", "|")
_RECORDS = 200
_FEWEST_RECORDS, _MOST_CELLS = 20, 40_000  # by which a header is told: of a wide table fewer records say as much
_LONGEST = 100_000  # characters of a line that are looked at
_WORDS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", "": ""}


@dataclass(frozen=True, slots=True)
class Form:
    """`csv` is what settings.yaml must say; `header` are the columns' names; `path` is the file to read."""

    path: Path
    format: str
    header: tuple[str, ...]
    csv: CsvSettings
    delimiter: str = ""
    named: bool = True  # the first line names the columns
    checks: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The form in words, for people."""
        if self.format != "csv":
            return {"parquet": "Parquet", "jsonl": "JSON lines", "excel": "Excel workbook"}[self.format]
        names = "" if self.named else ", no header line"
        return f"CSV, {_WORDS[self.delimiter]}, {self.csv.encoding}{names}"


def find_form(path: Path, workdir: Path, connection: Any) -> Form:
    """Raises RejectedUpload when the file is no table."""
    plain = DataSettings(target="-")
    path, kind = file_format.unpacked(path, workdir, plain.limits)
    if kind == "parquet":
        result = text_table.open_source(
            path, workdir, connection, plain, None, text_table.OpenOptions(keep_nested=True)
        )
        return Form(path, "parquet", result.header, CsvSettings())
    if kind in {"jsonl", "excel"}:
        result = text_table.open_source(
            path, workdir, connection, plain, None, text_table.OpenOptions(keep_nested=True)
        )
        return Form(path, kind, result.header, CsvSettings(), ",", checks=tuple(message for _, message in result.notes))
    checks: list[str] = []
    text = _read(path, workdir, checks)
    records = _records(text.path)
    file_format.first_record(text.path, plain.limits)  # refused as an upload would be
    delimiter, width = _delimiter(text.path, records)
    rows = [[c.strip() for c in row] for row in _split(records, delimiter)]
    declared = CsvSettings().model_copy(update={"encoding": text.encoding})
    first = rows[0]
    if len(first) == width - 1 and not any(r[-1] for r in rows if len(r) == width):
        width = len(first)  # rows end in a delimiter that the header lacks; an upload reads them without it
    named = _names_columns(rows, width)
    if len(first) != width and named:
        raise RejectedUpload(
            f"the first line has {len(first)} fields and the others {width}: it is no header",
            code="no_header",
            fix="delete the lines above the table, or write a line with the columns' names",
        )
    automatic = _automatic(records[0])
    if automatic != delimiter:
        declared = declared.model_copy(update={"delimiter": delimiter})
        if not automatic:
            checks.append(f"several delimiters split the first line equally well; {_WORDS[delimiter]} was taken")
    if not named:
        columns = tuple(f"column_{i}" for i in range(1, width + 1))
        declared = declared.model_copy(update={"columns": columns})
        checks.append(
            "the file has no header line; its columns are called column_1 … : better names go to data.csv.columns"
        )
        return Form(path, "csv", columns, declared, delimiter, named=False, checks=tuple(checks))
    header, repeated = text_table.numbered(text_table.named(first)[0])
    if repeated:
        declared = declared.model_copy(update={"duplicate_names": "number"})
        checks += [predicted for _, predicted in repeated]
    return Form(path, "csv", tuple(header), declared, delimiter, checks=tuple(checks))


def _read(path: Path, workdir: Path, checks: list[str]) -> file_format.TextFacts:
    try:
        return file_format.read_text(path, workdir, CsvSettings())
    except RejectedUpload as error:
        if error.code != "encoding":
            raise
    # Windows writes cp1252; it is latin-1 with letters, quotes and the euro sign where latin-1 has control characters.
    for encoding in ("cp1252", "latin-1"):
        try:
            text = file_format.read_text(path, workdir, CsvSettings.model_validate({"encoding": encoding}))
        except RejectedUpload as error:
            if error.code != "encoding" or encoding == "latin-1":
                raise
            continue
        checks.append(f"the file is not UTF-8 and is read as {encoding}: look at letters such as ä, é, ñ and at €")
        break
    return text


def _records(path: Path) -> list[str]:
    """The first lines with text."""
    with path.open("r", encoding="utf-8", newline="") as f:
        lines = [
            line
            for _, line in zip(range(_RECORDS), iter(lambda: f.readline(_LONGEST), ""), strict=False)
            if line.strip()
        ]
    if not lines:
        raise RejectedUpload("the file has no line with text", code="empty_file", fix="give a file with rows")
    return lines


def _delimiter(path: Path, records: list[str]) -> tuple[str, int]:
    """The delimiter by which most records have the same number of fields, more than one; and that number."""
    best: tuple[float, int, str] = (0.0, 0, "")
    for d in _DELIMITERS:
        widths = Counter(len(row) for row in _split(records, d))
        width, count = widths.most_common(1)[0]
        share = count / sum(widths.values())
        if width > 1 and (round(share, 2), width) > best[:2]:
            best = (round(share, 2), width, d)
    if not best[2]:
        raise RejectedUpload(
            f"{path.name} has one column only: no comma, semicolon, tab or pipe separates its fields",
            code="one_column",
            fix="save it as CSV with one of these",
        )
    return best[2], best[1]


def _split(records: list[str], delimiter: str) -> list[list[str]]:
    text = "".join(records)
    try:
        return csv_text.rows(text, delimiter)
    except ValueError:  # the last of them goes on, or a quote that an upload would quarantine
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        return [row for row in rows if row]


def _automatic(record: str) -> str:
    """What an upload with `delimiter: auto` would take; empty when it could not decide."""
    try:
        return file_format.choose_delimiter(record, CsvSettings(), frozenset())
    except RejectedUpload:
        return ""


def _names_columns(rows: list[list[str]], width: int) -> bool:
    """False when the first line looks like the rows below it: numbers where they have numbers, or a text twice."""
    first, others = rows[0], [r for r in rows[1:] if len(r) == width][: max(_FEWEST_RECORDS, _MOST_CELLS // width)]
    if not others:
        return True
    if len(first) != width:
        return True
    numeric = [i for i in range(width) if sum(_is_number(r[i]) for r in others) > 0.8 * len(others)]
    like = sum(_is_number(first[i]) for i in numeric)
    if numeric:
        return like < 0.5 * len(numeric)
    filled = [c.lower() for c in first if c]
    return len(set(filled)) == len(filled)


def _is_number(text: str) -> bool:
    return any(
        value_formats.number(text, form) is not None
        for form in (value_formats.PLAIN, value_formats.COMMA, value_formats.GROUPED)
    )
