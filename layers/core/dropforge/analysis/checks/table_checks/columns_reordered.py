"""Columns in another order than in the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding


def columns_reordered(table: CheckedTable) -> Iterator[Finding]:
    """Columns are matched by name: information only."""
    reference = table.reference
    names = [c.name for c in reference.columns] if reference else []
    common = [h for h in table.intake.header if h in names]
    if reference and common != [n for n in names if n in common]:
        yield Finding(
            kind="columns_reordered",
            severity="info",
            columns=tuple(common),
            title="Columns come in another order",
            evidence="columns are matched by name, so no value moved",
            suggestion="Nothing to do.",
        )


CHECK: Final[Check] = columns_reordered
