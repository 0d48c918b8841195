"""Categories of very few rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report_model import Finding

_FEW_ROWS = 20  # a category with fewer teaches a model nothing


def rare_categories(column: CheckedColumn) -> Iterator[Finding]:
    """Rare categories of a feature beside frequent ones: merge a misspelt one, else pool them."""
    profile, name = column.profile, column.name
    if not column.counted or column.report.role != "feature" or column.report.kind != "category":
        return
    counts = {v: n for v, n in zip(profile.values, profile.counts, strict=True) if n}
    rare = sorted((n, v) for v, n in counts.items() if n < _FEW_ROWS)
    if not rare or profile.rows < 50 * _FEW_ROWS or len(rare) == len(counts):
        return
    listed = ", ".join(f"{v!r} ({n})" for n, v in rare[:4]) + (f" and {len(rare) - 4} more" if len(rare) > 4 else "")
    near = difflib.get_close_matches(rare[0][1], [v for v in counts if counts[v] >= _FEW_ROWS], n=1, cutoff=0.6)
    words = "treat them as one" if len(rare) > 1 else "count it as (other)"
    step: dict[str, Any] = {"rare": {"column": name, "under": _FEW_ROWS}}
    if len(rare) == 1 and near:
        words = f"merge {rare[0][1]!r} ({rare[0][0]} rows) into {near[0]!r}"
        step = {"merge": {"column": name, "values": [rare[0][1]], "into": near[0]}}
    yield Finding(
        kind="rare_categories",
        severity="info",
        columns=(name,),
        title=f"{name} has {len(rare)} {'category' if len(rare) == 1 else 'categories'} of very few rows",
        evidence=f"fewer than {_FEW_ROWS} rows: {listed}",
        suggestion=f"Too few rows to learn from: {words}.",
        processing=step,
    )


CHECK: Final[Check] = rare_categories
