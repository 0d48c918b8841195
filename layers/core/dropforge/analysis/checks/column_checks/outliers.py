"""Numbers far from the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report import axes
from dropforge.analysis.report_model import Finding

_FEWEST = 0.0001  # of the values: fewer are chance
_MOST = 0.02  # more are how the column is


def outliers(column: CheckedColumn) -> Iterator[Finding]:
    """Values of a feature beyond Tukey's outer fences of the reference, where they are few."""
    profile, before = column.profile, column.before
    numbers = profile.binned and column.report.role == "feature" and column.report.kind != "datetime"
    if not numbers or column.outliers_increased or not profile.fences or not profile.outliers:
        return
    low, high = profile.fences
    fraction = profile.outliers / profile.present
    if not _FEWEST <= fraction <= _MOST:
        return
    was = f", {before.outliers / before.present:.2%} in the reference" if before is not None and before.present else ""
    least, most = (axes.value_text(column.report.kind, value) for value in (profile.minimum, profile.maximum))
    yield Finding(
        kind="outliers",
        severity="info",
        columns=(column.name,),
        title=f"{column.name} has values far from the rest",
        evidence=(
            f"{profile.outliers:,} values ({fraction:.2%}{was}) outside {axes.plain(low)} to {axes.plain(high)}; "
            f"extremes {least} and {most}"
        ),
        suggestion=f"Look at a few of them; clip {column.name} to that range if they are errors.",
        processing={"clip": {"column": column.name, "low": float(f"{low:.4g}"), "high": float(f"{high:.4g}")}},
    )


CHECK: Final[Check] = outliers
