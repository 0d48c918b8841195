"""Root of the mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import mean

if TYPE_CHECKING:
    from dropforge.metrics.weighted_rows import Rows, Scorer


def _rmse(rows: Rows) -> Scorer:
    import numpy as np

    squared = mean((rows.y - rows.guess) ** 2)
    return lambda w: np.sqrt(squared(w))


METRIC: Final = Metric("rmse", "regression", greater_is_better=False, in_target_units=True, statistic=_rmse)
