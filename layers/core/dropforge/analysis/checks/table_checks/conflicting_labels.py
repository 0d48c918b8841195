"""Rows that equal others in every feature and differ in the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding

_MANY_CONFLICTS = 0.01


def conflicting_labels(table: CheckedTable) -> Iterator[Finding]:
    """Rows whose target is the rarer one among equal rows."""
    new = table.new
    if new.conflicts:
        share = new.conflicts / new.rows
        yield Finding(
            kind="conflicting_labels",
            severity="warn" if share > _MANY_CONFLICTS else "info",
            columns=(new.target,),
            title="1 row contradicts others" if new.conflicts == 1 else f"{new.conflicts:,} rows contradict others",
            evidence=f"{share:.2%} of the rows equal others in every feature and have a rarer {new.target}",
            suggestion="No model can get these right: a feature that tells them apart is missing, or their labels are noise.",
            weight=2,
        )


CHECK: Final[Check] = conflicting_labels
