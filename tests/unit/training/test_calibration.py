"""Calibration, thresholds and prediction sets on probabilities whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from dropforge.config.settings import Costs, ServingSettings
from dropforge.inference import prediction_sets
from dropforge.inference.calibrate import calibrate
from dropforge_training.evaluate.held_out import calibration_error
from dropforge_training.fit import calibration, conformal, decision_threshold

ROWS = 6000


def _drawn(classes: int, slope: float, shift: float = 0.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from true probabilities, and a model that says softmax(slope · true logits + shift) of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (ROWS, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((ROWS, 1)) > np.cumsum(true, axis=1)).sum(axis=1).clip(max=classes - 1)
    predicted = slope * logits + shift * np.arange(classes)
    predicted = np.exp(predicted - predicted.max(axis=1, keepdims=True))
    return y, predicted / predicted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_an_overconfident_model_gets_the_inverse_of_its_slope(classes: int) -> None:
    """Logits twice too large: a slope near one half, half the calibration error at most, rows that sum to 1."""
    y, p = _drawn(classes, 2.0)
    choice = calibration.choose("auto", y, p, seed=1)
    assert choice.calibration is not None
    fresh_y, fresh = _drawn(classes, 2.0, seed=4)
    mended = calibrate(choice.calibration, fresh)
    assert np.allclose(mended.sum(axis=1), 1)
    assert calibration_error(fresh_y, mended) < 0.5 * calibration_error(fresh_y, fresh)
    assert calibration.choose("temperature", y, p, 1).calibration.slope == pytest.approx(0.5, abs=0.05)  # type: ignore[union-attr]


def test_a_shifted_model_needs_intercepts() -> None:
    """A model that favours one class is mended by `sigmoid`, which temperature alone cannot do."""
    y, p = _drawn(2, 1.0, shift=1.0)
    choice = calibration.choose("auto", y, p, seed=1)
    assert choice.calibration is not None
    assert choice.losses["sigmoid"] < choice.losses["temperature"] - 0.01
    assert calibrate(choice.calibration, p)[:, 1].mean() == pytest.approx((y == 1).mean(), abs=0.01)


def test_a_calibrated_model_is_left_alone() -> None:
    """Without a sure gain nothing is changed: None gives the probabilities back, bit by bit."""
    y, p = _drawn(2, 1.0)
    choice = calibration.choose("auto", y, p, seed=1)
    assert choice.calibration is None
    assert (calibrate(None, p) == p).all()


@pytest.mark.parametrize("method", calibration.METHODS)
@pytest.mark.parametrize("classes", [2, 3])
def test_no_calibration_magnifies_rounding_or_turns_the_order(method: str, classes: int) -> None:
    """A change as small as float32's moves no result by more than half the bundle's tolerance; binary order stays."""
    y, p = _drawn(classes, 2.5, shift=0.3)
    fitted = calibration.choose(method, y, p, seed=1).calibration
    assert fitted is not None
    moved = p.astype(np.float32).astype(np.float64)
    assert np.abs(calibrate(fitted, moved) - calibrate(fitted, p)).max() < 5e-6
    if classes == 2:
        risen = calibrate(fitted, p)[np.argsort(p[:, 1]), 1]
        assert (np.diff(risen) >= -1e-12).all()


def test_few_rows_or_none_asked_means_no_calibration() -> None:
    """Below 200 rows, or with `none`, the model's own probabilities are served, and the reason says why."""
    y, p = _drawn(2, 3.0)
    assert calibration.choose("none", y, p, 1).calibration is None
    few = calibration.choose("auto", y[:150], p[:150], 1)
    assert few.calibration is None
    assert "150" in few.reason


@pytest.mark.parametrize("classes", [2, 4])
def test_sets_cover_every_class_as_often_as_they_say(classes: int) -> None:
    """On rows not used for the thresholds, each class alone is covered within four standard errors of the promise."""
    y, p = _drawn(classes, 1.7, shift=0.4)
    half = ROWS // 2
    limits = conformal.limits(y[:half], p[:half])
    for output in conformal.measure(y[half:], p[half:], limits):
        for covered, rows in zip(output["by_class"], output["rows_by_class"], strict=True):
            spread = 4 * np.sqrt(2 * output["coverage"] * (1 - output["coverage"]) / rows)
            assert abs(covered - output["coverage"]) < spread + 1 / rows


def test_the_threshold_of_a_coverage_is_the_textbook_rank() -> None:
    """Nineteen scores: 0.95 · 20 is the 19th smallest; 0.99 asks for a 20th, so the class is always in the set."""
    p = np.linspace(0.05, 0.95, 19)
    limits = conformal.limits(np.zeros(19, dtype=int), np.column_stack([p, 1 - p]))
    assert limits["0.95"][0] == pytest.approx(0.95)
    assert limits["0.8"][0] == pytest.approx(0.80)
    assert limits["0.99"] == (1.0, 1.0)


def _brute(rule: str, hit: np.ndarray, chance: np.ndarray, at: float) -> float:
    from sklearn import metrics as sk

    guess = chance >= at
    match rule:
        case "max_f1":
            return float(sk.f1_score(hit, guess))
        case "max_mcc":
            return float(sk.matthews_corrcoef(hit, guess))
        case "max_youden":
            return float(guess[hit].mean() - guess[~hit].mean())
        case _:
            return -float(5 * (~guess & hit).mean() + (guess & ~hit).mean())


@pytest.mark.parametrize("rule", ["max_f1", "max_youden", "max_mcc", "cost"])
def test_the_chosen_threshold_is_the_best_by_its_rule(rule: str) -> None:
    """No threshold of a fine grid does better by scikit-learn's own measure."""
    y, p = _drawn(2, 1.5, shift=-0.8)
    hit, chance = y[:800] == 1, p[:800, 1]
    serving = ServingSettings(threshold=rule, costs=Costs(false_negative=5))  # type: ignore[arg-type]
    at, reason = decision_threshold.choose(serving, hit, chance)
    best = max(_brute(rule, hit, chance, t) for t in np.linspace(0.005, 0.995, 100))
    assert _brute(rule, hit, chance, at) >= best - 1e-9
    assert rule in reason


def test_a_number_is_taken_as_it_is() -> None:
    """`threshold: 0.3` needs no rows; a rule without rows of both classes falls back to one half and says so."""
    assert decision_threshold.choose(ServingSettings(threshold=0.3), np.array([]), np.array([]))[0] == 0.3
    at, reason = decision_threshold.choose(ServingSettings(threshold="max_f1"), np.array([True]), np.array([0.4]))
    assert at == 0.5
    assert "cannot be chosen" in reason


@pytest.mark.parametrize(("costs", "at"), [(Costs(false_negative=1000), 0.0), (Costs(false_positive=1000), None)])
def test_costs_may_make_every_row_one_class(costs: Costs, at: float | None) -> None:
    """Where a missed positive costs a thousand times as much, all rows are positive, whatever comes later; and the reverse."""
    hit = np.array([True, False] * 50)
    chance = np.linspace(0.2, 0.6, 100)
    threshold, _ = decision_threshold.choose(ServingSettings(threshold="cost", costs=costs), hit, chance)
    assert threshold == (at if at is not None else pytest.approx(0.8))


def test_a_forced_calibration_says_what_it_does() -> None:
    """On calibrated probabilities it does not lower the log loss, and is not said to; a helpful one says so."""
    y, p = _drawn(2, 1.0)
    forced = calibration.choose("isotonic", y, p, seed=1)
    assert forced.losses["isotonic"] > forced.losses["none"]
    assert "does not lower" in forced.reason
    assert "training.calibration is isotonic" in forced.reason
    y, p = _drawn(2, 2.0)
    assert " lowers the log loss" in calibration.choose("sigmoid", y, p, seed=1).reason


def test_a_class_that_is_certain_up_to_rounding_is_in_its_set() -> None:
    """Limit 0, and float32 probabilities that sum to 0.9999996: no empty set where the model is as sure as it was before."""
    y = np.arange(40) % 2
    sure = np.eye(2, dtype=np.float32)[y]
    limits = conformal.limits(y, sure)
    assert limits["0.9"] == (0.0, 0.0)
    rounded = (sure * np.float32(0.9999996)).astype(np.float32)
    assert (prediction_sets.members(rounded, limits["0.9"]).sum(axis=1) == 1).all()
    assert conformal.limits(y, sure * np.float32(1.0000001))["0.9"] == (0.0, 0.0)


def test_sets_are_measured_on_rows_their_limits_do_not_come_from() -> None:
    """Each half by the limits of the other: every class is covered as promised, within four standard errors."""
    y, p = _drawn(3, 1.0)
    for output in conformal.cross_measured(y, p, seed=1):
        assert output["rows_by_class"] == list(conformal.rows_by_class(y, 3))
        for covered, rows in zip(output["by_class"], output["rows_by_class"], strict=True):
            assert covered == pytest.approx(
                output["coverage"], abs=4 * np.sqrt(output["coverage"] * 0.2 / rows) + 1 / rows
            )
