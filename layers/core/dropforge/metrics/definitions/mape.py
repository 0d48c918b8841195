"""Mean absolute percentage error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import mean

if TYPE_CHECKING:
    from dropforge.metrics.weighted_rows import Rows, Scorer


def _mape(rows: Rows) -> Scorer:
    """As scikit-learn's: a true 0 counts as the smallest float64 step from 0, so that such a row dominates."""
    import numpy as np

    return mean(np.abs(rows.y - rows.guess) / np.maximum(np.abs(rows.y), np.finfo(np.float64).eps))


METRIC: Final = Metric("mape", "regression", greater_is_better=False, statistic=_mape)
