"""Rows that the reference has as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis import data_profile
from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding

_MANY_SHARED = 0.2
_SEEN_TWICE = 3  # shared rows in the sketch below which the estimate says nothing


def shared_rows(table: CheckedTable) -> Iterator[Finding]:
    """Estimated from the sketches of both profiles."""
    if table.reference is None:
        return
    share, seen = data_profile.shared_rows(table.reference, table.new)
    if share * seen >= _SEEN_TWICE:
        yield Finding(
            kind="shared_rows",
            severity="warn" if share > _MANY_SHARED else "info",
            columns=(),
            title=f"About {share:.0%} of the rows are in the reference too"
            if share >= 0.01
            else "Some rows are in the reference too",
            evidence=f"{share:.1%} of the distinct rows, estimated from {seen:,} of them",
            suggestion="Was old data sent again? Rows that occur twice stay on one side of the held-out split.",
            weight=3 if share > _MANY_SHARED else 0,
        )


CHECK: Final[Check] = shared_rows
