"""Preprocessing steps of number columns: one file each, named as the step in `processing` of settings.yaml.

The file has a frozen dataclass, derived from NumberStep, under the name STEP: its docstring and fields are the step's documentation
and settings, `fit` learns from training rows, `transform` runs in training and in the prediction path, and the fields of the fitted
step are what the serving bundle's manifest stores. Another distribution adds a step by an entry point in the group
`dropforge.number_steps`, and has to be installed where models are trained and in the serving layer.

Functions without numpy import these files to check settings.yaml: numpy is imported inside `fit` and `transform`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from dropforge.errors import BundleRejected
from dropforge.plugin_registry import PluginRegistry

if TYPE_CHECKING:
    import numpy as np

REGISTRY: Final = PluginRegistry(__name__, "STEP", "dropforge.number_steps")


@dataclass(frozen=True)
class NumberStep:
    """One step of one column. Raise ValueError in `__post_init__` for fields that contradict each other."""

    ORDER: ClassVar[int] = (
        100  # steps of a column run from the smallest to the largest, whatever their order in the file
    )

    column: str

    def fit(self, numbers: np.ndarray) -> Self:  # noqa: ARG002 - for steps that learn
        """The step with what it learned from the column's training rows, as earlier steps left them: float64, [rows], NaN missing."""
        return self

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        """Float64 of shape [rows] in and out; NaN stays NaN. A pure function of the number: one row gives what a table gives."""
        raise NotImplementedError


def stored(name: str, step: NumberStep) -> dict[str, Any]:
    """The fitted step as the manifest has it; `column` is the feature's name."""
    return {"step": name, **{key: value for key, value in asdict(step).items() if key != "column"}}


def read(column: str, steps: Sequence[Mapping[str, Any]]) -> tuple[NumberStep, ...]:
    """The steps of a manifest's feature. Raises BundleRejected for one that is not installed here."""
    result = []
    for fields in steps:
        name = str(fields["step"])
        try:
            result.append(REGISTRY.get(name)(column=column, **{k: v for k, v in fields.items() if k != "step"}))
        except (KeyError, TypeError, ValueError):
            raise BundleRejected(
                f"the bundle's step {name} of column {column} is not installed here, or in another version",
                code="bundle_step",
                fix="add its package to layers/serving/requirements.in and deploy, or train again without the step",
            ) from None
    return tuple(result)
