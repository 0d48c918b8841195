"""Which texts mean missing in a column, as settings.yaml says."""

from __future__ import annotations

from dropforge import value_formats
from dropforge.config.settings import DataSettings


def missing_texts(data: DataSettings, column: str) -> tuple[str, ...]:
    """Those of the column, or of all columns where it has none of its own, besides empty cells; a number in every spelling."""
    override = data.columns.get(column)
    declared = override.missing_markers if override else None
    return value_formats.spellings(data.missing_markers if declared is None else declared)
