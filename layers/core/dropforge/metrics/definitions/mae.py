"""Mean absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dropforge.metrics import Metric
from dropforge.metrics.weighted_rows import mean

if TYPE_CHECKING:
    from dropforge.metrics.weighted_rows import Rows, Scorer


def _mae(rows: Rows) -> Scorer:
    return mean(abs(rows.y - rows.guess))


METRIC: Final = Metric("mae", "regression", greater_is_better=False, in_target_units=True, statistic=_mae)
