"""One row of a delimited file, apart and together."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence


def split(raw: str, delimiter: str) -> list[str]:
    """The fields of a row; a row with broken quotes is cut at every delimiter, so that a person can see and mend it."""
    delimiter = delimiter or ","
    try:
        found = list(csv.reader(io.StringIO(raw, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return raw.split(delimiter)
    return found[0] if len(found) == 1 else raw.replace("\n", " ").split(delimiter)


def together(cells: Sequence[str], delimiter: str) -> str:
    """The row as text, quoted where it has to be."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter or ",", lineterminator="").writerow(cells)
    return out.getvalue()
