"""Categories that are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from dropforge.config.column_steps import ColumnStep


class MergeStep(ColumnStep):
    """Categories that are one: `values` become `into`."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)
    into: str

    def merges(self) -> Mapping[str, str]:
        """Each of `values`."""
        return dict.fromkeys(self.values, self.into)


STEP: Final = MergeStep
