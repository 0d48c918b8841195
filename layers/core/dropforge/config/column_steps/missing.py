"""Texts that mean missing in one column."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field

from dropforge.config.column_steps import ColumnStep


class MissingStep(ColumnStep):
    """These texts mean missing, in this column."""

    CATEGORIES: ClassVar[bool] = False

    column: str
    markers: tuple[str, ...] = Field(min_length=1)

    def missing_texts(self) -> tuple[str, ...]:
        """The `markers`."""
        return self.markers


STEP: Final = MissingStep
