"""Estimates of money: the formulas, worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dropforge.config import cost_estimate, settings
from dropforge.config.cost_estimate import Usage
from dropforge.config.settings import Budget
from dropforge_cli.cost_report import trained

SHIPPED = settings.load((Path(__file__).parents[3] / "settings.yaml").read_bytes())


def test_a_call_costs_its_gigabyte_seconds_and_its_request() -> None:
    """1 s at 1,024 MB is one GB-second; every call is one request."""
    prices = SHIPPED.cost
    assert Usage(1000, 1024).price(prices) == pytest.approx(0.0000166667 + 0.0000002)
    assert Usage(500, 2048).price(prices, 3) == pytest.approx(3 * (0.0000166667 + 0.0000002))


def test_a_thousand_predictions() -> None:
    """At 10 ms and 1,769 MB: 17.28 GB-seconds, a thousand requests at both doors, 0.6 MB of log."""
    result = cost_estimate.predictions(SHIPPED, Usage(10, 1769))
    assert result["predict"] == pytest.approx(10 * 1769 / 1024 * 0.0000166667 + 0.0002)
    assert result["api"] == pytest.approx(0.0035)
    assert result["logs"] == pytest.approx(0.0003)


def test_training_is_limited_by_its_budgets() -> None:
    """The limit grows with every second of budget and with every model; an hour of one worker is its task's price."""
    assert cost_estimate.worker_hour(SHIPPED.cost) == pytest.approx(2 * 0.04048 + 8 * 0.004445)
    seconds = sum(m.budget.seconds + cost_estimate.JOB_OVERHEAD_SECONDS for m in SHIPPED.models)
    assert cost_estimate.training_limit(SHIPPED) == pytest.approx(
        seconds / 3600 * cost_estimate.worker_hour(SHIPPED.cost)
    )
    one = SHIPPED.model_copy(update={"models": SHIPPED.models[:1]})
    assert cost_estimate.training_limit(one) < cost_estimate.training_limit(SHIPPED)


def test_workers_and_money_move_the_limit() -> None:
    """Three workers are three budgets of seconds and four jobs; a budget of money caps the tuning and not the work around it."""
    hour = cost_estimate.worker_hour(SHIPPED.cost)
    model = SHIPPED.models[0].model_copy(update={"workers": 3, "budget": Budget(seconds=600)})
    around = 4 * cost_estimate.JOB_OVERHEAD_SECONDS / 3600 * hour
    assert cost_estimate.job_limit(model, SHIPPED.cost) == pytest.approx(1800 / 3600 * hour + around)
    capped = model.model_copy(update={"budget": Budget(seconds=600, money=0.01)})
    assert cost_estimate.job_limit(capped, SHIPPED.cost) == pytest.approx(0.01 + around)


def test_training_is_likely_to_cost_what_it_took_before() -> None:
    """Measured seconds at the worker's price, for the models that were measured; it stays below the limit."""
    first = SHIPPED.models[0].name
    result = cost_estimate.training_likely(SHIPPED, {first: 36.0, "gone": 1.0})
    assert result == {first: pytest.approx(0.01 * cost_estimate.worker_hour(SHIPPED.cost))}


def test_seconds_of_a_training_are_those_of_all_its_workers() -> None:
    """Two tuners and the job that fits, of one upload and model, are one training; other uploads and lines are apart."""
    lines = [
        {"message": "tuned", "model": "m", "correlation_id": "a", "seconds": 10.0},
        {"message": "tuned", "model": "m", "correlation_id": "a", "seconds": 11.0},
        {"message": "trained", "model": "m", "correlation_id": "a", "seconds": 5.0},
        {"message": "trained", "model": "m", "correlation_id": "b", "seconds": 7.0},
        {"message": "job done", "model": "m", "correlation_id": "b"},
    ]
    page = {"events": [{"message": json.dumps(line), "timestamp": n} for n, line in enumerate(lines)]}
    logs = SimpleNamespace(filter_log_events=lambda **_: page)
    assert trained(logs, "group", 1) == {"m": [26.0, 7.0]}


def test_a_worker_of_your_own_has_its_own_price() -> None:
    """One price serves the estimate and the budgets in money: the one that is set, even when it is nothing."""
    for price in (0.0, 0.75):
        prices = SHIPPED.cost.model_copy(update={"worker_hour": price})
        assert cost_estimate.worker_hour(prices) == price


def test_nothing_happens_costs_storage_only() -> None:
    """An idle month is what is stored, and nothing when nothing is."""
    assert cost_estimate.idle_month(SHIPPED, 0) == 0
    assert cost_estimate.idle_month(SHIPPED, 10) == pytest.approx(0.23)
