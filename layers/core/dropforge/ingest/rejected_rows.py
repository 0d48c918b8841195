"""Rows quarantined: which line, which column, why. Found after the fact, only when there are any."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dropforge import value_formats
from dropforge.config.settings import Limits
from dropforge.datasets.table_schema import Column
from dropforge.ingest import cell_parsing as cells
from dropforge.ingest import csv_records, unpaired_quotes
from dropforge.ingest.text_table import Source

_ARTICLES = {"integer": "an integer", "number": "a number", "boolean": "true or false", "datetime": "a date"}
_FORM = {
    "MISSING COLUMNS": "too_few_fields",
    "TOO MANY COLUMNS": "too_many_fields",
    "UNQUOTED VALUE": "quotes",
    "LINE SIZE OVER MAXIMUM": "too_long",
    "INVALID ENCODING": "encoding",
}


@dataclass(frozen=True, slots=True)
class Reject:
    """One row quarantined. `line` is the 1-based line of the file where it begins (Parquet: the row's number)."""

    line: int
    column: str
    code: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A condition (SQL over cells.layered) under which a column's cell quarantines its row. `reason` follows the cell.

    Of a rule on rows `columns` are those whose cells are shown, and `reason` says what was expected.
    """

    column: str
    code: str
    condition: str
    reason: str
    columns: tuple[str, ...] = ()


def faults(columns: Sequence[tuple[int, Column, cells.Rule]]) -> list[Fault]:
    """Of columns that stand at these places of the file."""
    return [
        Fault(column.name, code, condition, _reason(code, rule))
        for i, column, rule in columns
        for code, condition in cells.faults(i, column.kind, rule).items()
    ]


def _reason(code: str, rule: cells.Rule) -> str:  # noqa: PLR0911 - one line a code
    match code:
        case "beyond_float32":
            return "is beyond ±3.4e38, the range that models compute with"
        case "below_minimum":
            return f"is below the minimum {rule.minimum:g} of data.columns"
        case "above_maximum":
            return f"is above the maximum {rule.maximum:g} of data.columns"
        case "not_a_category":
            return "is none of the categories that data.columns lists"
        case "value_not_allowed":
            return "is none of the values that data.columns lists"
        case "pattern_mismatch":
            return f"does not match the pattern {rule.pattern} of data.columns"
        case "value_missing":
            return "is missing, and data.columns wants a value in every row"
        case "value_repeated":
            return "stands in another row too, and data.columns wants every value once"
        case "class_of_one_row":
            return "is a class that no other row has: a typing error? Correct the row, or resubmit it as it is"
        case _:
            return f"is not {_ARTICLES[code.removeprefix('not_')]}"


def most(rows: int, limits: Limits) -> int:
    """Rows quarantined of a file that is used all the same; no more of them are ever read. One row never fails a file."""
    return max(1, int(limits.max_quarantined_share * rows))


def count_of_form(source: Source) -> int:
    """How many rows have a wrong form. After one scan of the relation."""
    if source.text is None:
        return 0
    counted = source.connection.execute(
        "SELECT count(DISTINCT line_byte_position) FROM reject_errors WHERE scan_id = (SELECT min(scan_id) FROM reject_scans)"
    ).fetchone()
    return int(counted[0])


def of_form(source: Source, limit: int) -> list[Reject]:
    """Rows whose form is wrong, at most `limit`, the first of the file: too many or too few fields, broken quotes, too long.

    After one scan of the relation.
    """
    if source.text is None:
        return []
    rows = source.connection.execute(
        "SELECT DISTINCT ON (line_byte_position) line_byte_position, error_type, csv_line, error_message FROM reject_errors "
        f"WHERE scan_id = (SELECT min(scan_id) FROM reject_scans) ORDER BY line_byte_position LIMIT {limit}"
    ).fetchall()
    lines = _lines_at(source.text.path, [int(f[0] or 0) for f in rows])
    if source.format == "jsonl":  # converted_table.json_lines gives a line that is no object a field too many
        texts = [next(iter(csv.reader([f[2]])), [""])[-1] for f in rows]
        originals = _original_lines(source, lines)
        return [
            Reject(n, "", "not_json", "the line is no JSON object", t) for n, t in zip(originals, texts, strict=True)
        ]
    return [
        _malformed(line, f[1], f[2], str(f[3]), source.delimiter)
        for line, f in zip(_original_lines(source, lines), rows, strict=True)
    ]


def _malformed(line: int, kind: str, text: str, message: str, delimiter: str) -> Reject:
    raw = unpaired_quotes.written(text, delimiter)
    if raw is not None:
        return Reject(line, "", "quotes", unpaired_quotes.REASON, raw)
    return Reject(line, "", _FORM.get(kind, "form"), _form_reason(kind, message), text)


def _original_lines(source: Source, lines: list[int]) -> list[int]:
    """Where records that begin on these lines of the text stand in the file that the text was made of."""
    if source.lines is None or source.text is None or not lines:
        return lines
    starts = csv_records.starts(source.text, source.delimiter, source.header_lines)
    places = dict(zip(starts, source.lines, strict=False))
    return [places.get(line, line) for line in lines]


def _form_reason(kind: str, message: str) -> str:
    expected = "".join(c if c.isdigit() else " " for c in message).split()
    match kind:
        case "MISSING COLUMNS" | "TOO MANY COLUMNS" if len(expected) == 2:
            return f"{expected[1]} fields where the header has {expected[0]}"
        case "UNQUOTED VALUE":
            return "a quote does not close, or text follows a closing quote"
        case "LINE SIZE OVER MAXIMUM":
            return "the line is longer than the limit data.limits.max_field_bytes allows"
        case _:
            return message


def _lines_at(path: Path, positions: list[int]) -> list[int]:
    """Line numbers of byte positions (ascending), in one pass. DuckDB's own line numbers skip lines inside quotes."""
    lines: list[int] = []
    line, offset, wanted = 1, 0, iter(positions)
    position = next(wanted, None)
    with path.open("rb") as f:
        while position is not None and (chunk := f.read(4 * 1024 * 1024)):
            start = 0
            # DuckDB counts positions from 1; behind \r\n it names the \n for the first byte of the next line.
            while position is not None and position - 1 < offset + len(chunk):
                end = max(position - 1 - offset, start)
                end += chunk[end : end + 1] == b"\n"
                line += chunk.count(b"\n", start, end)
                lines.append(line)
                start = end
                position = next(wanted, None)
            line += chunk.count(b"\n", start)
            offset += len(chunk)
    return lines + [line] * (len(positions) - len(lines))


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to be searched for faults.

    `relation`: SQL of their layers with `n`, the row's number (from 1) among those of the right form; `texts`: SQL of the list of
    their cells in the header's order, as the file has them.
    """

    relation: str
    texts: str


def of_cells(
    source: Source,
    rows: Rows,
    faults: Sequence[Fault],
    limit: int,
) -> tuple[list[Reject], list[int]]:
    """At most `limit` rows of which a condition holds, the first that does being the reason; and for each fault of how many of
    them it holds.
    """
    any_fails = " OR ".join(f.condition for f in faults)
    flags = ", ".join(f"({f.condition})" for f in faults)
    rows_of_errors = source.connection.execute(
        f"SELECT n, [{flags}], {rows.texts} FROM {rows.relation} WHERE {any_fails} ORDER BY n LIMIT {limit}"
    ).fetchall()
    lines = _record_lines(source, [int(r[0]) for r in rows_of_errors])
    matches = []
    often = [0] * len(faults)
    for (_, wrong, texts), line in zip(rows_of_errors, lines, strict=True):
        for k, bad in enumerate(wrong):
            often[k] += bool(bad)
        fault = next(f for f, bad in zip(faults, wrong, strict=True) if bad)
        reason = _cell_reason(fault, source.header, texts)
        raw = _csv_line(texts, source.delimiter or ",")
        matches.append(Reject(line, fault.column, fault.code, reason, raw))
    return matches, often


def _cell_reason(fault: Fault, header: Sequence[str], texts: Sequence[str | None]) -> str:
    if not fault.columns:
        return f"{fault.column}: {_shown(texts[header.index(fault.column)])} {fault.reason}"
    cells = ", ".join(f"{c} {_shown(texts[header.index(c)])}" for c in fault.columns if c in header)
    return f"{fault.reason}: {cells}"


def _record_lines(source: Source, numbers: list[int]) -> list[int]:
    """Lines of the file on which the n-th rows (ascending) of the right form begin. Parquet has row numbers only."""
    if source.text is None or not numbers:
        return numbers
    aside = _malformed_lines(source)
    if csv_records.is_line_a_record(source.text):
        return _counted_lines(source, numbers, sorted(aside))
    starts = enumerate(csv_records.starts(source.text, source.delimiter, source.header_lines))
    of_right_form = ((k, line) for k, line in starts if line not in aside)
    lines, count = list[int](), 0
    for number in numbers:
        k, line = next(islice(of_right_form, number - count - 1, None))
        lines.append(line if source.lines is None else source.lines[k])
        count = number
    return lines


def _counted_lines(source: Source, numbers: Sequence[int], aside: Sequence[int]) -> list[int]:
    """As _record_lines where each line is a record; `aside`: the malformed ones, ascending. Nothing is read for it."""
    lines, passed = list[int](), 0
    for number in numbers:
        line = source.header_lines + number + passed
        while passed < len(aside) and aside[passed] <= line:
            passed, line = passed + 1, line + 1
        lines.append(line if source.lines is None else source.lines[line - source.header_lines - 1])
    return lines


def _malformed_lines(source: Source) -> set[int]:
    """Lines of the text whose form is wrong; few, which was checked before."""
    assert source.text is not None  # noqa: S101 - who calls has looked
    positions = source.connection.execute(
        "SELECT DISTINCT line_byte_position AS p FROM reject_errors WHERE scan_id = (SELECT min(scan_id) FROM reject_scans) ORDER BY p"
    ).fetchall()
    return set(_lines_at(source.text.path, [int(p[0] or 0) for p in positions]))


def counts(rejects: list[Reject]) -> dict[str, int]:
    """How often each code, most frequent first."""
    return dict(Counter(r.code for r in rejects).most_common())


def write_csv(rejects: list[Reject], path: Path) -> Path:
    """line, column, code, reason, raw; formula cells are quoted for spreadsheets."""
    with path.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["line", "column", "code", "reason", "raw"])
        writer.writerows([r.line, harmless(r.column), r.code, harmless(r.reason), harmless(r.raw)] for r in rejects)
    return path


def harmless(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula (CWE-1236)."""
    # An apostrophe that stood there already gets another one, so that taking one away gives the text again.
    return f"'{text}" if value_formats.is_formula(text.lstrip("'")) else text


def _csv_line(cells: list[str | None], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="").writerow(["" if c is None else c for c in cells])
    return out.getvalue()


def _shown(cell: str | None) -> str:
    if cell is None:
        return "(empty)"
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}…'"
