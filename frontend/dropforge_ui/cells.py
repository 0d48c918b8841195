"""One row of a delimited file, apart and together."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Final

# As dropforge/value_formats.py has them; the web app imports nothing of the core. A test holds both to the same answers.
_FORMULA_STARTS: Final = frozenset("=+-@\t\r\n＝＋－＠")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def harmless(text: str) -> str:
    """A cell as a spreadsheet shows it instead of running it (CWE-1236): an apostrophe before what would be a formula."""
    bare = text.lstrip("'")
    return f"'{text}" if bare[:1] in _FORMULA_STARTS and bare and not _NUMBER.fullmatch(bare) else text


def split(raw: str, delimiter: str) -> list[str]:
    """The fields of a row; a row with broken quotes is cut at every delimiter, so that a person can see and correct it."""
    delimiter = delimiter or ","
    try:
        matches = list(csv.reader(io.StringIO(raw, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return raw.split(delimiter)
    return matches[0] if len(matches) == 1 else raw.replace("\n", " ").split(delimiter)


def together(cells: Sequence[str], delimiter: str) -> str:
    """The row as text, quoted where it has to be."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter or ",", lineterminator="").writerow(cells)
    return out.getvalue()
