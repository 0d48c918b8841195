"""Limits for a number column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from dropforge.inference.number_steps import NumberStep

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Clip(NumberStep):
    """Numbers below `low` become `low`, above `high` become `high`."""

    ORDER: ClassVar[int] = 10

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError("give `low`, `high` or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("`low` must be below `high`")

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        """Inside the limits."""
        import numpy as np

        return np.asarray(np.clip(numbers, self.low, self.high))


STEP: Final = Clip
