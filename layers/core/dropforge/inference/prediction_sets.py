"""Which classes are in a row's prediction set: one rule for the API, and for training, which measures the sets it promises.

Needs numpy and nothing else. The limits are calibrated by dropforge_training.fit.conformal and stand in the bundle's manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

# A float32 softmax of a hundred classes sums to 1 within 4e-7: a score of 4e-7 is 0, and 0 is within a limit of 0.
ROUNDING: Final = 1e-6


def members(probabilities: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    """Truth values, shape [rows, classes]: a class is in the set when 1 - p is at most its limit.

    probabilities: calibrated, shape [rows, classes]; limits: one a class.
    """
    return np.asarray(1 - np.asarray(probabilities, dtype=np.float64) <= np.asarray(limits) + ROUNDING)
