"""Weighted scores against scikit-learn, and the paired bootstrap against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from dropforge.metrics import DEFAULT
from dropforge.metrics import METRICS as KNOWN
from dropforge.metrics.weighted_rows import Rows
from dropforge_training.evaluate import held_out, metrics, paired_bootstrap
from dropforge_training.evaluate.paired_bootstrap import Resampling

METRICS = ("roc_auc", "average_precision", "log_loss", "accuracy", "f1")


def _rows(classes: int, n: int = 400, noise: float = 1.0, seed: int = 1, decimals: int = 2) -> Rows:
    """Rows of the same truth for every noise; rounded, so that there are ties."""
    truth = np.random.default_rng(7).integers(0, classes, n)
    rng = np.random.default_rng(seed)
    logits = 1.5 * np.eye(classes)[truth] + noise * rng.normal(0, 1, (n, classes))
    p = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), decimals) + 1e-3
    p /= p.sum(axis=1, keepdims=True)
    return Rows(truth, p.argmax(axis=1), p, 1 if classes == 2 else None)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("metric", METRICS)
def test_with_weights_of_one_it_is_the_score_of_the_evaluation(metric: str, classes: int) -> None:
    """Ties and all."""
    rows = _rows(classes)
    result = metrics.scorer(metric, rows)(np.ones((1, len(rows.y))))[0]
    assert result == pytest.approx(held_out.score(metric, rows.y, rows.probabilities))


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_of_weight_two_is_the_row_twice(metric: str) -> None:
    """A draw as weights scores as the drawn rows themselves."""
    rows = _rows(2, 60)
    drawn = np.random.default_rng(3).integers(0, 60, 60)
    weights = np.bincount(drawn, minlength=60).astype(float)[None]
    twice = rows.at(drawn)
    assert metrics.scorer(metric, rows)(weights)[0] == pytest.approx(
        held_out.score(metric, twice.y, twice.probabilities)
    )


def test_f1_of_a_slice_without_a_class_is_scikit_learns() -> None:
    """In the comparison, in the evaluation and in a draw: the mean over the classes that occur or are predicted."""
    rows = _rows(4)
    part = rows.at(np.flatnonzero((rows.y != 3) & (rows.guess != 3)))
    expected = sk.f1_score(part.y, part.guess, average="macro")
    assert metrics.score("f1", part) == pytest.approx(expected)
    assert held_out.evaluate(part.y, part.probabilities, part.guess, None)["f1"] == pytest.approx(expected)
    weights = np.bincount(np.flatnonzero(rows.guess == 1), minlength=len(rows.y)).astype(float)
    drawn = rows.at(np.flatnonzero(rows.guess == 1))
    assert metrics.score("f1", rows, weights) == pytest.approx(sk.f1_score(drawn.y, drawn.guess, average="macro"))


def test_every_metric_of_the_settings_has_one_definition() -> None:
    """Its file's name is its own; each is of one task, and the defaults are among them."""
    tuned = {*metrics.tuned("classification"), *metrics.tuned("regression")}
    assert tuned == {"accuracy", "average_precision", "f1", "log_loss", "mae", "mape", "r2", "rmse", "roc_auc"}
    assert all(name == metric.name for name, metric in KNOWN.items())
    assert set(DEFAULT.values()) <= tuned


def test_a_model_gains_nothing_over_itself() -> None:
    """Paired draws cancel to the last bit."""
    rows = _rows(2)
    result = paired_bootstrap.gain("roc_auc", rows, rows, Resampling(0.95, 1))
    assert result is not None
    assert (result["gain"], result["low"], result["high"], result["at_least"]) == (0, 0, 0, 0)
    assert result["p_value"] == 1


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_better_model_is_told_from_a_worse_one(metric: str) -> None:
    """A gain is positive for the better model whichever way the metric runs, and its interval holds it."""
    better, worse = _rows(2, 2000, noise=0.7), _rows(2, 2000, noise=1.3, seed=2)
    result = paired_bootstrap.gain(metric, better, worse, Resampling(0.95, 1))
    assert result is not None
    assert 0 < result["at_least"] < result["gain"] < result["at_most"]
    assert result["low"] < result["at_least"]
    assert result["gain"] == pytest.approx(abs(result["candidate"] - result["served"]))


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_equals_pass_no_more_often_than_the_level_says(metric: str) -> None:
    """Of 100 pairs of equally noisy models at most eleven have p ≤ 0.05 (binomial, p < 0.01 otherwise)."""
    passed = 0
    for seed in range(100):
        result = paired_bootstrap.gain(
            metric, _rows(2, 300, seed=2 * seed + 10), _rows(2, 300, seed=2 * seed + 11), Resampling(0.95, seed)
        )
        assert result is not None
        passed += result["p_value"] <= 0.05
    assert 0 < passed <= 11


def test_the_p_value_of_a_mean_is_students() -> None:
    """Accuracy is a mean over rows: the p-value of a gain is that of the paired t-test, and larger for a larger minimum."""
    better, worse = _rows(2, 600, noise=0.8), _rows(2, 600, noise=1.2, seed=2)
    result = paired_bootstrap.gain("accuracy", better, worse, Resampling(0.95, 1))
    assert result is not None
    right = [(r.guess == r.y).astype(float) for r in (better, worse)]
    expected = stats.ttest_rel(*right, alternative="greater").pvalue
    assert np.log10(result["p_value"]) == pytest.approx(np.log10(expected), rel=0.15)
    stricter = paired_bootstrap.gain("accuracy", better, worse, Resampling(0.95, 1, 0.02))
    assert stricter is not None
    assert stricter["p_value"] > result["p_value"]


def test_slices_of_few_rows_are_left_out() -> None:
    """All rows come first; a slice of ninety-nine rows is no ground for a decision."""
    rows = _rows(2, 400)
    first = np.arange(400)
    output = paired_bootstrap.compare(
        "roc_auc", rows, rows, {"few": first < 99, "enough": first < 100}, Resampling(0.95, 1)
    )
    assert [t["slice"] for t in output] == ["all", "enough"]
    assert [t["rows"] for t in output] == [400, 100]


def test_a_draw_without_a_class_is_not_scored() -> None:
    """One positive row among forty: half the draws lack it, the others give the interval; without any there is no gain."""
    y = np.zeros(40, dtype=int)
    y[3] = 1
    p = np.linspace(0.1, 0.9, 40)
    rows = Rows(y, (p > 0.5).astype(int), np.column_stack([1 - p, p]), 1)
    result = paired_bootstrap.gain("roc_auc", rows, rows, Resampling(0.95, 1))
    assert result is not None
    assert result["candidate"] == pytest.approx(sk.roc_auc_score(y, p))
    none = Rows(np.zeros(40, dtype=int), rows.guess, rows.probabilities, 1)
    assert paired_bootstrap.gain("roc_auc", none, none, Resampling(0.95, 1)) is None
