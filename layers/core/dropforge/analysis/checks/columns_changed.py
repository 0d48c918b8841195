"""Columns that came, went, were renamed or moved."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report_model import Finding, Intake
from dropforge.config.settings import DataSettings

_LEAK = 0.9  # Cramér's V of a new column with the target


def findings(reference: Profile | None, intake: Intake, data: DataSettings) -> Iterator[Finding]:
    """The columns of the file beside those of the reference."""
    yield from _removed(intake, data)
    yield from _added(intake, data)
    yield from _reordered(reference, intake)


def _removed(intake: Intake, data: DataSettings) -> Iterator[Finding]:
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


def _added(intake: Intake, data: DataSettings) -> Iterator[Finding]:
    for column in intake.extra_columns:
        yield Finding(
            kind="column_added",
            severity="warn",
            columns=(column,),
            title=f"Column {column} is new",
            evidence="the reference does not have it; it was left out of the data set"
            + _strength(intake, column, data),
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


def _reordered(reference: Profile | None, intake: Intake) -> Iterator[Finding]:
    names = [c.name for c in reference.columns] if reference else []
    common = [h for h in intake.header if h in names]
    if reference and common != [n for n in names if n in common]:
        yield Finding(
            kind="columns_reordered",
            severity="info",
            columns=tuple(common),
            title="Columns come in another order",
            evidence="columns are matched by name, so no value moved",
            suggestion="Nothing to do.",
        )


def _strength(intake: Intake, column: str, data: DataSettings) -> str:
    known = intake.extra_strength.get(column)
    return "" if known is None else f"; Cramér's V {known:.2f} with {data.target}"
