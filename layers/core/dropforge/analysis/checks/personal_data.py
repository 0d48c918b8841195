"""Columns of a profile that look like personal data, as findings."""

from __future__ import annotations

from collections.abc import Iterator

from dropforge.analysis.data_profile import ColumnProfile, Profile
from dropforge.analysis.report_model import Finding
from dropforge.config.settings import DataSettings
from dropforge.ingest import personal_data


def kind_of(column: ColumnProfile) -> str:
    """What the column looks like, from the values that the profile names; empty when it does not."""
    if column.binned:
        values = [str(int(v)) for v in column.frequent if v == int(v)] if column.distinct > 1 else []
    else:
        values = [v for v, n in zip(column.values, column.counts, strict=True) if n]
    return personal_data.detect(column.name, values, kind=column.kind)


def findings(reference: Profile | None, new: Profile, data: DataSettings) -> Iterator[Finding]:
    """A warning where a feature is new in it; information where it is ignored, or the reference has it as well."""
    for column in new.columns:
        looks_like = kind_of(column)
        if not looks_like:
            continue
        before = reference.column(column.name) if reference else None
        ignored = column.name in data.ignore
        known = ignored or (before is not None and kind_of(before) == looks_like)
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
