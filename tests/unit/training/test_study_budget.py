"""What a budget allows."""

from __future__ import annotations

import pytest

from dropforge_training.search.study_budget import TuningBudget


def test_money_ends_tuning_before_seconds_do() -> None:
    """0.10 at 0.36 an hour buys 1,000 seconds; workers share them; the smaller of the limits holds."""
    assert TuningBudget(10, 5000, 0.10, 0.36).wall_seconds == pytest.approx(1000)
    assert TuningBudget(10, 5000, 0.10, 0.36, workers=4).wall_seconds == pytest.approx(250)
    assert TuningBudget(10, 60, 0.10, 0.36).wall_seconds == 60


def test_without_money_seconds_hold_for_each_worker() -> None:
    """No limit on money leaves every worker the whole of the seconds."""
    assert TuningBudget(10, 60, None, 0.36, workers=4).wall_seconds == 60
    assert TuningBudget(10, 60).spent(3600) == 0
    assert TuningBudget(10, 60, None, 0.36).spent(1800) == pytest.approx(0.18)
