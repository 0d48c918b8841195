"""Average precision; of more classes the mean over those that occur, each against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import one_against_rest

if TYPE_CHECKING:
    import numpy as np

    from dropforge.metrics.weighted_rows import Scorer


def _average_precision(hit: np.ndarray, chance: np.ndarray) -> Scorer:
    """Σ (recall step) · precision, from the most probable row down, tied rows at once: a sum over the rows that are hits."""
    import numpy as np

    order = np.argsort(-chance, kind="stable")
    down, hits = -chance[order], np.flatnonzero(hit[order])
    # Rows, and hits, that are as probable as each hit or more.
    ends, hit_ends = np.searchsorted(down, down[hits], side="right"), np.searchsorted(down[hits], down[hits], "right")

    def statistic(w: np.ndarray) -> np.ndarray:
        taken, result = np.zeros((len(w), len(order) + 1)), np.zeros((len(w), len(hits) + 1))
        np.cumsum(w[:, order], axis=1, out=taken[:, 1:])
        good = w[:, order[hits]]
        np.cumsum(good, axis=1, out=result[:, 1:])
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(good > 0, result[:, hit_ends] / taken[:, ends], 0)
            return np.asarray((good * precision).sum(axis=1) / result[:, -1])

    return statistic


METRIC: Final = Metric("average_precision", statistic=one_against_rest(_average_precision))
