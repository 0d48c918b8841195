"""F1 score; of more classes the mean over those that a draw has or predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric

if TYPE_CHECKING:
    import numpy as np

    from dropforge.metrics.weighted_rows import Rows, Scorer


def _f1(rows: Rows) -> Scorer:
    """2tp / (2tp + fp + fn) of the positive class; multiclass: the mean over the classes that a draw has or predicts."""
    import numpy as np

    codes = [rows.positive] if rows.positive is not None else range(rows.probabilities.shape[1])
    both = np.column_stack([(rows.y == k) & (rows.guess == k) for k in codes]).astype(float)
    either = np.column_stack([(rows.y == k).astype(float) + (rows.guess == k) for k in codes])

    def statistic(w: np.ndarray) -> np.ndarray:
        total = w @ either
        each = np.where(total > 0, 2 * (w @ both) / np.where(total > 0, total, 1), 0)
        return np.asarray(each.sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1))

    return statistic


METRIC: Final = Metric("f1", statistic=_f1)
