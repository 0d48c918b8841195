"""The preprocessing steps of settings.yaml: the registered steps of columns and categories, and those of numbers."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from pydantic import create_model, model_validator

from dropforge.config import column_steps
from dropforge.config.column_steps import ColumnStep
from dropforge.config.frozen import Frozen
from dropforge.inference import number_steps
from dropforge.inference.number_steps import NumberStep

COLUMN_STEPS: Final[dict[str, type[ColumnStep]]] = column_steps.REGISTRY.all()
NUMBER_STEPS: Final[dict[str, type[NumberStep]]] = number_steps.REGISTRY.all()


class ProcessingBase(Frozen):
    """What every step has; ProcessingStep adds a key for each registered one."""

    @model_validator(mode="after")
    def _is_one_step(self) -> ProcessingBase:
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
        step = self.column_step
        return step.columns if step is not None else (getattr(self, self.name).column,)

    @property
    def column_step(self) -> ColumnStep | None:
        """The step, of one that is not of numbers."""
        step = getattr(self, self.name)
        return step if isinstance(step, ColumnStep) else None

    @property
    def number_step(self) -> NumberStep | None:
        """The unfitted step, of one of numbers."""
        return NUMBER_STEPS[self.name](**getattr(self, self.name).model_dump()) if self.name in NUMBER_STEPS else None


def _schema(step: type[NumberStep]) -> type[Frozen]:
    """The settings of a registered step of numbers, from the fields of its class."""
    hints = get_type_hints(step, include_extras=True)
    keys: dict[str, Any] = {f.name: (hints[f.name], ... if f.default is MISSING else f.default) for f in fields(step)}

    def check(settings: Any) -> Any:
        step(**settings.model_dump())
        return settings

    validators: Any = {"check": model_validator(mode="after")(check)}
    return create_model(step.__name__, __base__=Frozen, __doc__=step.__doc__, __validators__=validators, **keys)


if TYPE_CHECKING:
    ProcessingStep = ProcessingBase
else:
    ProcessingStep = create_model(
        "ProcessingStep",
        __base__=ProcessingBase,
        __doc__="One step before the model: exactly one of these. Fitted on training rows, stored with the model, shared by serving.",
        **{name: (step | None, None) for name, step in COLUMN_STEPS.items()},
        **{name: (_schema(step) | None, None) for name, step in NUMBER_STEPS.items()},
    )
