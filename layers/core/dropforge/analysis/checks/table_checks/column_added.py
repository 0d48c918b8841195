"""Columns that the reference does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.report_model import Finding

_LEAK = 0.9  # Cramér's V of a new column with the target


def column_added(table: CheckedTable) -> Iterator[Finding]:
    """A warning each; another one for a column that gives the target away."""
    intake, data = table.intake, table.data
    for column in intake.extra_columns:
        yield Finding(
            kind="column_added",
            severity="warn",
            columns=(column,),
            title=f"Column {column} is new",
            evidence="the reference does not have it; it was left out of the data set" + _strength(table, column),
            suggestion=f"Remove {column} from the export, or start a new reference that has it.",
            weight=3,
            change=True,
        )
        agreement = intake.extra_agreement.get(column)
        if intake.extra_strength.get(column, 0.0) >= _LEAK:
            yield Finding(
                kind="leakage",
                severity="warn",
                columns=(column,),
                title=f"The new column {column} gives {data.target} away",
                evidence=f"Cramér's V {intake.extra_strength[column]:.2f} with {data.target}"
                + (f"; its value tells the class in {agreement:.1%} of the rows" if agreement else ""),
                suggestion=f"Is {column} known before {data.target} is? If not, keep it out of the next reference.",
                weight=6,
                change=True,
            )


def _strength(table: CheckedTable, column: str) -> str:
    known = table.intake.extra_strength.get(column)
    return "" if known is None else f"; Cramér's V {known:.2f} with {table.data.target}"


CHECK: Final[Check] = column_added
