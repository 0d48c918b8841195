"""The processing steps of settings.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class MergeStep(Frozen):
    """Categories that are one: `values` become `into`."""

    column: str
    values: tuple[str, ...] = Field(min_length=1)
    into: str


class RareStep(Frozen):
    """Categories with fewer training rows than `under` become `into`."""

    column: str
    under: int = Field(gt=0)
    into: str = "(other)"


class ClipStep(Frozen):
    """Numbers below `low` become `low`, above `high` become `high`."""

    column: str
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _has_a_range(self) -> ClipStep:
        if self.low is None and self.high is None:
            raise ValueError("give `low`, `high` or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("`low` must be below `high`")
        return self


class LogStep(Frozen):
    """x becomes sign(x)·ln(1+|x|)."""

    column: str


class MissingStep(Frozen):
    """These texts mean missing, in this column."""

    column: str
    markers: tuple[str, ...] = Field(min_length=1)


class CastStep(Frozen):
    """Read the column as a category although it is a number (a code), or the other way round."""

    column: str
    to: Literal["category", "number"]


class ProcessingStep(Frozen):
    """One step before the model: exactly one of these. Fitted on training rows, stored with the model, shared by serving."""

    drop: tuple[str, ...] | None = Field(None, min_length=1)
    merge: MergeStep | None = None
    rare: RareStep | None = None
    clip: ClipStep | None = None
    log: LogStep | None = None
    missing: MissingStep | None = None
    cast: CastStep | None = None

    @model_validator(mode="after")
    def _is_one_step(self) -> ProcessingStep:
        if len(self.model_fields_set) != 1:
            raise ValueError("a step is exactly one of drop, merge, rare, clip, log, missing, cast")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        one = next(getattr(self, f) for f in self.model_fields_set)
        return one if isinstance(one, tuple) else (one.column,)
