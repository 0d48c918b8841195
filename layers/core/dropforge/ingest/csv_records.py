"""On which lines the records of a large text begin, without their values.

The grammar is DuckDB's (csv_text): only a quote at the start of a field opens one, and a line end inside quotes ends no record. By
hand: csv.reader makes a text of every cell, and takes a second for what the lines alone tell in a tenth.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from dropforge.ingest import csv_text
from dropforge.ingest.file_format import TextFacts

_LONGEST_EMPTY = 1_000_000  # bytes of spaces in a line
_EMPTY = frozenset({b"\n", b"\r\n"})


def is_line_a_record(text: TextFacts) -> bool:
    """Whether every line below the header is a record: no field is quoted, and no line is empty."""
    if text.quotes or not text.path.stat().st_size:
        return False
    with text.path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(b"\n" + empty) < 0 for empty in _EMPTY)


def empty_lines_above(path: Path) -> int:
    """Lines above the first one with text."""
    with path.open("rb") as f:
        return sum(1 for _ in takewhile(lambda line: not line.strip(), iter(lambda: f.readline(_LONGEST_EMPTY), b"")))


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
