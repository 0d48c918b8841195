"""Metrics against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dropforge_training.evaluate.held_out import calibration_error, evaluate, score

Y = np.array([0, 0, 1, 1])
P1 = np.array([0.1, 0.4, 0.35, 0.8])
BINARY = np.column_stack([1 - P1, P1])
MULTI = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]])


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("roc_auc", 0.75),
        ("average_precision", 0.5 * 1 + 0.5 * 2 / 3),
        ("log_loss", (math.log(0.9) + math.log(0.6) + math.log(0.35) + math.log(0.8)) / 4),
        ("accuracy", 0.75),
        ("f1", 2 / 3),
    ],
)
def test_scores_of_a_known_case(metric: str, value: float) -> None:
    """Each tuning metric has its textbook value, and larger is better."""
    assert score(metric, Y, BINARY) == pytest.approx(value)


def test_a_score_is_about_the_positive_class() -> None:
    """Naming the other class positive scores that class: the same case seen from its side."""
    y = np.array([0, 0, 0, 1])
    for metric in ("average_precision", "f1"):
        assert score(metric, y, BINARY, positive=0) == pytest.approx(score(metric, 1 - y, BINARY[:, ::-1], positive=1))
        assert score(metric, y, BINARY[::-1], positive=0) != pytest.approx(score(metric, y, BINARY[::-1], positive=1))


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "accuracy", "f1"])
def test_multiclass_scores_exist_and_prefer_the_better_model(metric: str) -> None:
    """With three classes a perfect model scores higher than a mixed one, and rounding errors in the sum do not matter."""
    y = np.array([0, 1, 2, 0])
    perfect = np.eye(3)[y] * 0.98 + 0.0066667
    assert score(metric, y, perfect.astype(np.float32)) > score(metric, y, MULTI)


def test_the_evaluation_uses_the_decision_threshold() -> None:
    """Label metrics follow the labels predicted, probability metrics do not."""
    strict = evaluate(Y, BINARY, (P1 >= 0.7).astype(int), 1)
    loose = evaluate(Y, BINARY, (P1 >= 0.3).astype(int), 1)
    assert strict["roc_auc"] == loose["roc_auc"] == pytest.approx(0.75)
    assert strict["f1"] == pytest.approx(2 / 3)
    assert loose["f1"] == pytest.approx(0.8)
    assert strict["brier"] == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)


def test_calibration_error_of_known_bins() -> None:
    """Two bins, one 0.2 too sure and one exact, give the mean of their distances."""
    y = np.array([1, 1, 1, 1, 0] + [0] * 5)
    p = np.array([1.0] * 5 + [0.0] * 5)
    assert calibration_error(y, np.column_stack([1 - p, p])) == pytest.approx(0.5 * 0.2)
