"""CSV as uploads are read, for short texts: request bodies, header lines, corrected rows. Loads the standard library only.

DuckDB reads the files themselves. Its grammar: a quote opens at the start of a field, spaces before it do not matter; spaces
behind the closing quote do not either, anything else does; a quote inside an unquoted field is a character.
"""

from __future__ import annotations

import csv
import io
import re
from functools import lru_cache

csv.field_size_limit(2**31 - 1)


def rows(text: str, delimiter: str) -> list[list[str]]:
    """The records of a text, empty lines left out. Raises ValueError naming the record for a quote that does not close."""
    try:
        return [
            row
            for row in csv.reader(
                io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
            )
            if row
        ]
    except csv.Error:
        # The csv module takes spaces behind a closing quote for part of the value, or refuses them.
        return _read(text.replace("\r\n", "\n").replace("\r", "\n"), delimiter)


def record(text: str, delimiter: str) -> list[str]:
    """The cells of the first record. A quote that does not close is read as a character."""
    try:
        return next(iter(rows(text, delimiter)), [])
    except ValueError:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True), [])


@lru_cache(8)
def _fields(delimiter: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    end = re.escape(delimiter)
    return re.compile(rf'[ ]*"((?:[^"]|"")*)"[ ]*(?={end}|\n|\Z)'), re.compile(rf"[^{end}\n]*")


def _read(text: str, delimiter: str) -> list[list[str]]:
    quoted, plain = _fields(delimiter)
    matches: list[list[str]] = []
    row: list[str] = []
    at = 0
    while at <= len(text):
        if match := quoted.match(text, at):
            row.append(match[1].replace('""', '"'))
        else:
            match = plain.match(text, at)
            if match is None or match[0].lstrip(" ").startswith('"'):
                raise ValueError(f"record {len(matches) + 1}: a quote does not close, or text follows a closing quote")
            row.append(match[0])
        at = match.end()
        if at >= len(text) or text[at] == "\n":
            if row != [""]:
                matches.append(row)
            row = []
        at += 1
    return matches


def opening(delimiters: str) -> re.Pattern[bytes]:
    """Where a quoted field opens in a line, between any of these delimiters."""
    return re.compile(rb"(?:\A|[" + re.escape(delimiters.encode()) + rb'])[ ]*"')


_CLOSING = re.compile(rb'(?:[^"]|"")*+"')


def is_open(line: bytes, opening: re.Pattern[bytes], *, inside: bool) -> bool:
    """Whether a quoted field goes on in the next line. `inside`: one came from the line before."""
    at = 0
    while True:
        match = _CLOSING.match(line, at) if inside else opening.search(line, at)
        if match is None:
            return inside
        at, inside = match.end(), not inside
