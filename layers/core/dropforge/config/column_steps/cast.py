"""A column read as another type."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from dropforge.config.column_steps import ColumnStep


class CastStep(ColumnStep):
    """Read the column as a category although it is a number (a code), or the other way round."""

    CATEGORIES: ClassVar[bool] = False

    column: str
    to: Literal["category", "number"]

    def cast_to(self) -> str:
        """The other type."""
        return self.to


STEP: Final = CastStep
