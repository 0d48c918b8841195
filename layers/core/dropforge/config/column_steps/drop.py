"""Columns that models do not see."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from pydantic import Field, model_serializer, model_validator

from dropforge.config.column_steps import ColumnStep


class DropStep(ColumnStep):
    """Columns the models do not see: a list of names."""

    CATEGORIES: ClassVar[bool] = False

    names: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, value: Any) -> Any:
        return {"names": value} if isinstance(value, list | tuple) else value

    @model_serializer
    def _as_list(self) -> tuple[str, ...]:
        return self.names

    @property
    def columns(self) -> tuple[str, ...]:
        """The names."""
        return self.names

    def drops(self) -> bool:
        """Always."""
        return True


STEP: Final = DropStep
