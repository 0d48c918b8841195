"""Columns of numbers and words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report_model import Finding

_FRACTIONS = (0.05, 0.99)  # of numbers among the cells, between which the column has no one type


def mixed_types(column: CheckedColumn) -> Iterator[Finding]:
    """A column of texts many of which are numbers."""
    profile = column.profile
    if not column.counted:
        return
    numbers = sum(n for v, n in zip(profile.values, profile.counts, strict=True) if _is_number(v))
    fraction = numbers / max(1, sum(profile.counts))
    if not _FRACTIONS[0] < fraction < _FRACTIONS[1]:
        return
    words = [v for v, n in zip(profile.values, profile.counts, strict=True) if n and not _is_number(v)]
    yield Finding(
        kind="mixed_types",
        severity="warn",
        columns=(column.name,),
        title=f"{column.name} mixes numbers and text",
        evidence=f"{fraction:.0%} of the values are numbers; others are {', '.join(map(repr, words[:3]))}",
        suggestion=f"Say which texts mean missing, or give {column.name} one type: "
        f"data.columns: {{{column.name}: {{type: …}}}}.",
        weight=2,
        processing={"missing": {"column": column.name, "markers": words[:5]}} if len(words) <= 5 else None,
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not (len(text) > 1 and text[0] == "0" and text[1].isdigit())


CHECK: Final[Check] = mixed_types
