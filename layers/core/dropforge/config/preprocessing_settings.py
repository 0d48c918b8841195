"""The preprocessing steps of settings.yaml: those of categories and of whole columns, and the registered steps of numbers."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from dropforge.inference import number_steps
from dropforge.inference.number_steps import NumberStep


class Frozen(BaseModel):
    """Base of the settings: immutable, and unknown keys are mistakes."""

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


class MissingStep(Frozen):
    """These texts mean missing, in this column."""

    column: str
    markers: tuple[str, ...] = Field(min_length=1)


class CastStep(Frozen):
    """Read the column as a category although it is a number (a code), or the other way round."""

    column: str
    to: Literal["category", "number"]


NUMBER_STEPS: Final[dict[str, type[NumberStep]]] = number_steps.REGISTRY.all()


class ProcessingKinds(Frozen):
    """The steps that are no steps of numbers; ProcessingStep adds those."""

    drop: tuple[str, ...] | None = Field(None, min_length=1)
    merge: MergeStep | None = None
    rare: RareStep | None = None
    missing: MissingStep | None = None
    cast: CastStep | None = None

    @model_validator(mode="after")
    def _is_one_step(self) -> ProcessingKinds:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"a step is exactly one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def name(self) -> str:
        """Which step it is."""
        return next(iter(self.model_fields_set))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it changes."""
        one = getattr(self, self.name)
        return one if isinstance(one, tuple) else (one.column,)

    @property
    def number_step(self) -> NumberStep | None:
        """The unfitted step, of one of numbers."""
        return NUMBER_STEPS[self.name](**getattr(self, self.name).model_dump()) if self.name in NUMBER_STEPS else None


def _schema(step: type[NumberStep]) -> type[Frozen]:
    """The settings of a registered step, from the fields of its class."""
    hints = get_type_hints(step, include_extras=True)
    keys: dict[str, Any] = {f.name: (hints[f.name], ... if f.default is MISSING else f.default) for f in fields(step)}

    def check(settings: Any) -> Any:
        step(**settings.model_dump())
        return settings

    validators: Any = {"check": model_validator(mode="after")(check)}
    return create_model(step.__name__, __base__=Frozen, __doc__=step.__doc__, __validators__=validators, **keys)


if TYPE_CHECKING:
    ProcessingStep = ProcessingKinds
else:
    ProcessingStep = create_model(
        "ProcessingStep",
        __base__=ProcessingKinds,
        __doc__="One step before the model: exactly one of these. Fitted on training rows, stored with the model, shared by serving.",
        **{name: (_schema(step) | None, None) for name, step in NUMBER_STEPS.items()},
    )
