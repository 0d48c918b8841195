"""Columns whose values look like personal data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.table_checks import Check, CheckedTable
from dropforge.analysis.data_profile import ColumnProfile
from dropforge.analysis.report_model import Finding
from dropforge.ingest.personal_data import detect


def personal_data(table: CheckedTable) -> Iterator[Finding]:
    """A warning where a feature is new in it; information where it is ignored, or the reference has it as well."""
    reference, data = table.reference, table.data
    for column in table.new.columns:
        looks_like = _kind_of(column)
        if not looks_like:
            continue
        before = reference.column(column.name) if reference else None
        ignored = column.name in data.ignore
        known = ignored or (before is not None and _kind_of(before) == looks_like)
        yield Finding(
            kind="personal_data",
            severity="info" if known else "warn",
            columns=(column.name,),
            title=f"{column.name} looks like personal data: {looks_like}",
            evidence=f"{column.distinct:,} different values in {column.present:,} rows have the form of {looks_like}",
            suggestion=f"Leave {column.name} out of the export, or replace it by a pseudonym."
            if ignored
            else f"Leave {column.name} out of the export, replace it by a pseudonym, or add it to data.ignore.",
            weight=5,
            change=before is not None and not known,
        )


def _kind_of(column: ColumnProfile) -> str:
    """What the column looks like, from the values that the profile names; empty when it does not."""
    if column.binned:
        values = [str(int(v)) for v in column.frequent if v == int(v)] if column.distinct > 1 else []
    else:
        values = [v for v, n in zip(column.values, column.counts, strict=True) if n]
    return detect(column.name, values, kind=column.kind)


CHECK: Final[Check] = personal_data
