"""Columns of the reference that the upload lacks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding


def column_removed(table: CheckedTable) -> Iterator[Finding]:
    """A column of a similar name that is new is named: it may be the same one, renamed."""
    intake, data = table.intake, table.data
    for column in intake.absent_columns:
        match = difflib.get_close_matches(column, intake.extra_columns, n=1, cutoff=0.6)
        if match:
            yield Finding(
                kind="column_renamed",
                severity="critical",
                columns=(column, match[0]),
                title=f"Column {column} is missing; {match[0]} looks like it under another name",
                evidence="the reference has the first, the upload the second, and the names are close",
                suggestion=f"Rename {match[0]} back to {column} and upload again.",
                weight=9,
                change=True,
            )
        ignored = column in data.ignore
        yield Finding(
            kind="column_removed",
            severity="info" if ignored else "critical",
            columns=(column,),
            title=f"Column {column} is missing",
            evidence="the reference has it, the upload does not",
            suggestion="It is ignored by the models; nothing to do."
            if ignored
            else f"Add {column}, or make a new reference without it.",
            weight=10,
            change=True,
        )


CHECK: Final[Check] = column_removed
