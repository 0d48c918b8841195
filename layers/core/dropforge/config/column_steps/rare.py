"""Rare categories."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from dropforge.config.column_steps import ColumnStep


class RareStep(ColumnStep):
    """Categories with fewer training rows than `under` become `into`."""

    column: str
    under: int = Field(gt=0)
    into: str = "(other)"

    def pools(self) -> tuple[int, str]:
        """Unseen categories are rare as well."""
        return self.under, self.into


STEP: Final = RareStep
