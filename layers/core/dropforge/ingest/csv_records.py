"""On which lines the records of a large text begin, without their values.

The grammar is DuckDB's (csv_text): only a quote at the start of a field opens one, and a line end inside quotes ends no record. By
hand: csv.reader makes a text of every cell, and takes a second for what the lines alone tell in a tenth.
"""

from __future__ import annotations

from collections.abc import Iterator

from dropforge.ingest import csv_text
from dropforge.ingest.file_format import TextFacts

_EMPTY = frozenset({b"\n", b"\r\n"})


def starts(text: TextFacts, delimiter: str, header_lines: int) -> Iterator[int]:
    """First line (from 1) of every record below the header; empty lines are no records."""
    with text.path.open("rb") as f:
        if not text.quotes:
            yield from (number for number, line in enumerate(f, 1) if number > header_lines and line not in _EMPTY)
            return
        opening = csv_text.opening(delimiter)
        inside = False
        for number, line in enumerate(f, 1):
            if not inside and number > header_lines and line not in _EMPTY:
                yield number
            if inside or b'"' in line:
                inside = csv_text.is_open(line, opening, inside=inside)
