"""Area under the ROC curve; of more classes the mean over those that occur, each against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import one_against_rest

if TYPE_CHECKING:
    import numpy as np

    from dropforge.metrics.weighted_rows import Scorer


def _auc(hit: np.ndarray, chance: np.ndarray) -> Scorer:
    """Share of pairs in the right order, ties counting half (Mann-Whitney): a sum over the smaller class."""
    import numpy as np

    few = hit if 2 * hit.sum() <= len(hit) else ~hit
    some, others = np.flatnonzero(few), np.flatnonzero(~few)
    others = others[np.argsort(chance[others], kind="stable")]
    # Rows of the larger class below each row of the smaller, and with those of equal chance; 0 is before the first.
    below, tied = (np.searchsorted(chance[others], chance[some], side=side) for side in ("left", "right"))

    def statistic(w: np.ndarray) -> np.ndarray:
        drawn, summed = w[:, some], np.zeros((len(w), len(others) + 1))
        np.cumsum(w[:, others], axis=1, out=summed[:, 1:])
        lower = np.einsum("ij,ij->i", drawn, summed[:, below] + summed[:, tied]) / 2
        with np.errstate(invalid="ignore"):
            fraction = lower / (drawn.sum(axis=1) * summed[:, -1])
        return np.asarray(fraction if few is hit else 1 - fraction)

    return statistic


METRIC: Final = Metric("roc_auc", statistic=one_against_rest(_auc))
