"""Fraction of rows with the right label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import mean

if TYPE_CHECKING:
    from dropforge.metrics.weighted_rows import Rows, Scorer


def _accuracy(rows: Rows) -> Scorer:
    return mean((rows.guess == rows.y).astype(float))


METRIC: Final = Metric("accuracy", weighs_classes=False, statistic=_accuracy)
