"""Coefficient of determination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric

if TYPE_CHECKING:
    import numpy as np

    from dropforge.metrics.weighted_rows import Rows, Scorer


def _r2(rows: Rows) -> Scorer:
    """1 - Σ(y - ŷ)² / Σ(y - mean of the draw)²; NaN where all numbers of a draw are equal."""
    import numpy as np

    y = rows.y - rows.y.mean()  # against cancellation
    squared = (rows.y - rows.guess) ** 2

    def statistic(w: np.ndarray) -> np.ndarray:
        total = w.sum(axis=1)
        spread = w @ y**2 - (w @ y) ** 2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(spread > 0, 1 - (w @ squared) / spread, np.nan))

    return statistic


METRIC: Final = Metric("r2", "regression", statistic=_r2)
