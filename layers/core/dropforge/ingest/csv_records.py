"""On which lines the records of a large text begin, without their values.

The grammar is DuckDB's (csv_text): only a quote at the start of a field opens one, and a line end inside quotes ends no record. By
hand: csv.reader makes a text of every cell, and takes a second for what the lines alone tell in a tenth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dropforge.ingest.file_format import TextFacts

_EMPTY = frozenset({b"\n", b"\r\n"})


def starts(text: TextFacts, delimiter: str, header_lines: int) -> Iterator[int]:
    """First line (from 1) of every record below the header; empty lines are no records."""
    with text.path.open("rb") as f:
        if not text.quotes:
            yield from (number for number, line in enumerate(f, 1) if number > header_lines and line not in _EMPTY)
            return
        opening = re.compile(rb"(?:\A|" + re.escape(delimiter.encode()) + rb')[ ]*"')
        inside = False
        for number, line in enumerate(f, 1):
            if not inside and number > header_lines and line not in _EMPTY:
                yield number
            if inside or b'"' in line:
                inside = _is_open(line, opening, inside=inside)


_CLOSING = re.compile(rb'(?:[^"]|"")*+"')


def _is_open(line: bytes, opening: re.Pattern[bytes], *, inside: bool) -> bool:
    """Whether a quoted field goes on in the next line. `inside`: one came from the line before."""
    at = 0
    while True:
        match = _CLOSING.match(line, at) if inside else opening.search(line, at)
        if match is None:
            return inside
        at, inside = match.end(), not inside
