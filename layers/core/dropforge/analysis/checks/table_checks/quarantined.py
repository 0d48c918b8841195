"""Rows that were quarantined."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding


def quarantined(table: CheckedTable) -> Iterator[Finding]:
    """How many rows, and for which reasons."""
    intake = table.intake
    if intake.rows_quarantined:
        reasons = ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in intake.reasons.items())
        yield Finding(
            kind="quarantined",
            severity="warn",
            columns=(),
            title=f"{intake.rows_quarantined:,} of {intake.rows_in:,} rows were quarantined",
            evidence=reasons,
            suggestion="Read the quarantine: each row has its line and its reason; correct them and upload them again.",
            weight=3,
        )


CHECK: Final[Check] = quarantined
