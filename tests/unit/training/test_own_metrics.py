"""A metric of the project's own is one function: tuning, gate and card use it, and a larger value is better."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.config.settings import PromotionSettings
from dropforge.errors import SettingsError
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge.registry import promotion_gate
from dropforge_training.evaluate import metrics, own_metrics, paired_bootstrap

Bench = Callable[..., Any]
GAIN, BIAS = f"{__name__}:net_gain", f"{__name__}:negative_bias"
NOT_CALLABLE = 3


def net_gain(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Five for every hit from a probability of 0.3 on, less one for every false alarm."""
    requested = predicted >= 0.3
    return float((weight * requested * np.where(y, 5.0, -1.0)).sum())


def negative_bias(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """How far the mean is off, negated."""
    return -abs(float(np.average(y - predicted, weights=weight)))


def test_a_job_is_tuned_and_scored_by_it(bench: Bench, table: Callable[..., pd.DataFrame]) -> None:
    """The job's best trial, its held-out metrics with an interval, and the card carry the function's value."""
    created = bench(frame=table(400, ("a", "b")), text=_settings(GAIN))
    result = created.run(created.job("xgboost", upload="ownmetric"))
    folder = Path(result.bundle_uri).parent
    rows = pd.read_parquet(folder / "evaluation" / "heldout.parquet")
    expected = (
        5 * ((rows["label"] == "b") & (rows["p.b"] >= 0.3)).sum()
        - ((rows["label"] == "a") & (rows["p.b"] >= 0.3)).sum()
    )
    assert result.metrics[GAIN] == pytest.approx(expected)
    interval = result.evidence.heldout[GAIN]
    assert interval.low < interval.value < interval.high
    card = json.loads((folder / "model_card.json").read_text())
    assert card["importance"]["metric"] == GAIN
    assert card["metrics"][GAIN] == pytest.approx(expected)
    assert "net gain" in (folder / "model_card.html").read_text()


def _settings(metric: str) -> str:
    return f"""
project: own-metric
data: {{target: label, missing_markers: ["?"]}}
models:
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
    search: {{max_depth: [2, 4], learning_rate: 0.3}}
    budget: {{trials: 2, seconds: 60}}
training: {{metric: "{metric}"}}
promotion: {{metric: "{metric}"}}
"""


def test_its_weights_are_the_bootstraps_draws() -> None:
    """The gate's interval and p-value come from it: a surely better candidate passes, an equal one does not."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 400)
    good = np.clip(0.7 * y + 0.15 + rng.normal(0, 0.1, 400), 0.01, 0.99)
    bad = rng.uniform(0, 1, 400)
    rows = [Rows(y, (p >= 0.5).astype(int), np.column_stack([1 - p, p]), 1) for p in (good, bad)]
    result = paired_bootstrap.gain(GAIN, rows[0], rows[1], paired_bootstrap.Resampling(0.95, 1))
    assert result is not None
    assert result["p_value"] < 0.01
    assert result["low"] > 0
    same = paired_bootstrap.gain(GAIN, rows[0], rows[0], paired_bootstrap.Resampling(0.95, 1))
    assert same is not None
    assert same["p_value"] == 1.0


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", BIAS])
def test_a_regression_is_compared_with_the_active_model(metric: str) -> None:
    """Every row carries the metric: numbers are no classes that could be rare."""
    rng = np.random.default_rng(4)
    y = rng.normal(10, 3, 300)
    near, far = of_numbers(y, y + rng.normal(0, 0.3, 300)), of_numbers(y, y + 2 + rng.normal(0, 3, 300))
    result = paired_bootstrap.compare(metric, near, far, {}, paired_bootstrap.Resampling(0.95, 1))
    assert result[0]["gain"] > 0
    assert result[0]["p_value"] < 0.01


def test_the_gate_tolerates_losses_of_slices_in_the_metrics_own_unit() -> None:
    """An own metric has no unit of the target."""
    rule = PromotionSettings(metric=GAIN, maximum_slice_loss=0.5)
    assert promotion_gate._tolerated({"served": 100.0}, rule) == 0.5


@pytest.mark.parametrize("path", [f"{__name__}:gone", "nowhere:gain", f"{__name__}:NOT_CALLABLE"])
def test_a_function_that_is_not_there_is_named(path: str) -> None:
    """With the way to write one."""
    with pytest.raises(SettingsError) as error:
        own_metrics.load(path)
    assert error.value.code == "metric_function"


def test_weighted_rows_count_in_it() -> None:
    """data.weight multiplies what a draw counts."""
    y, p = np.array([0, 1, 1]), np.array([0.9, 0.9, 0.1])
    rows = Rows(y, (p >= 0.5).astype(int), np.column_stack([1 - p, p]), 1, np.array([2.0, 3.0, 4.0]))
    assert metrics.score(GAIN, rows) == 5 * 3 - 2
