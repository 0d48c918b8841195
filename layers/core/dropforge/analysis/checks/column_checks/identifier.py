"""Columns that name rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.column_checks import Check, CheckedColumn
from dropforge.analysis.report_model import Finding

_FEWEST_VALUES = 50
_DISTINCT_FRACTION = 0.95


def identifier(column: CheckedColumn) -> Iterator[Finding]:
    """A feature that has a value of its own in nearly every row."""
    profile = column.profile
    if (
        column.report.role == "feature"
        and column.report.kind in {"text", "category", "integer"}
        and profile.present > _FEWEST_VALUES
        and profile.distinct > _DISTINCT_FRACTION * profile.present
    ):
        yield Finding(
            kind="identifier",
            severity="warn",
            columns=(column.name,),
            title=f"{column.name} looks like an identifier",
            evidence=f"{profile.distinct:,} different values in {profile.present:,} rows",
            suggestion=f"Drop it, or add it to data.ignore: [{column.name}]; a model can only memorise it.",
            weight=2,
            processing={"drop": [column.name]},
        )


CHECK: Final[Check] = identifier
