"""Logarithmic loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import normalised

if TYPE_CHECKING:
    from dropforge.metrics.weighted_rows import Rows, Scorer


def _log_loss(rows: Rows) -> Scorer:
    import numpy as np

    p = normalised(rows.probabilities)
    losses = -np.log(np.clip(p[np.arange(len(rows.y)), rows.y], np.finfo(p.dtype).eps, 1))
    return lambda w: np.asarray((w @ losses) / w.sum(axis=1))


METRIC: Final = Metric("log_loss", greater_is_better=False, weighs_classes=False, statistic=_log_loss)
