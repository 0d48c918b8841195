"""Rows that equal another row in every column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding


def duplicates(table: CheckedTable) -> Iterator[Finding]:
    """Nothing where it is reported already that they increased."""
    new = table.new
    if new.duplicates and not table.increased("duplicates"):
        yield Finding(
            kind="duplicates",
            severity="info",
            columns=(),
            title=f"{new.duplicates:,} rows occur more than once",
            evidence=f"{new.duplicates / new.rows:.2%} of the rows equal an earlier row in every column",
            suggestion="Equal rows always fall on the same side of the held-out split; drop them if they are copies.",
        )


CHECK: Final[Check] = duplicates
