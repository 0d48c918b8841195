"""Columns of almost one value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report import axes
from dropforge.analysis.report_model import Finding


def near_constant(column: CheckedColumn) -> Iterator[Finding]:
    """A feature of which one value fills more than analysis.near_constant_share of the rows."""
    profile = column.profile
    top = max(profile.counts, default=0)
    one_value = profile.points or not profile.binned
    if column.report.role == "feature" and one_value and top / profile.rows > column.settings.near_constant_share:
        at = profile.counts.index(top)
        value = (
            profile.values[at]
            if profile.values
            else axes.value_text(column.report.kind, profile.edges[min(at, len(profile.edges) - 1)])
        )
        yield Finding(
            kind="near_constant",
            severity="info",
            columns=(column.name,),
            title=f"{column.name} is almost constant",
            evidence=f"{top / profile.rows:.1%} of the rows are {value}",
            suggestion=f"Consider dropping {column.name}, or a yes/no feature of it.",
            processing={"drop": [column.name]} if top == profile.rows else None,
        )


CHECK: Final[Check] = near_constant
