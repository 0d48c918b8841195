"""What a slice may lose is a fraction of the error where the metric is in units of the target."""

from __future__ import annotations

import pytest

from dropforge.config.settings import PromotionSettings
from dropforge.registry import promotion_gate


@pytest.mark.parametrize(
    ("metric", "tolerated"), [("roc_auc", 0.02), ("rmse", 0.02 * 5000), ("mae", 0.02 * 5000), ("r2", 0.02)]
)
def test_a_loss_in_units_of_the_target_is_relative(metric: str, tolerated: float) -> None:
    """2 % of an error of 5,000 is 100; 0.02 of an AUC is 0.02."""
    rule = PromotionSettings(metric=metric)  # type: ignore[arg-type] # each is one of the metrics
    assert promotion_gate._tolerated({"served": 5000.0}, rule) == pytest.approx(tolerated)
