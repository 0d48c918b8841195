"""Logarithm that keeps the sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from dropforge.inference.number_steps import NumberStep

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Log(NumberStep):
    """x becomes sign(x)·ln(1+|x|)."""

    ORDER: ClassVar[int] = 20

    def transform(self, numbers: np.ndarray) -> np.ndarray:
        """Logarithm of the magnitude plus one, with the number's sign."""
        import numpy as np

        return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)))


STEP: Final = Log
