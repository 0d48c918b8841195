"""Every metric as a function of row weights: the score of the rows as they are, and of a bootstrap's draws, by one definition.

A draw is a weight a row (how often it was drawn), a score of a draw is a weighted score. Direction and kind of target of
each metric: dropforge.metrics. scikit-learn's metrics take no table of draws; the tests hold these equal to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from dropforge.metrics import METRICS, is_own, sign
from dropforge_training.evaluate import own_metrics

Scorer = Callable[[np.ndarray], np.ndarray]  # weights [draws, rows] → scores [draws]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a model predicts for rows. y, guess: codes, shape [rows]; probabilities: [rows, classes]; positive: code or None.

    Of a regression y and guess are numbers, and probabilities is guess as a column, shape [rows, 1]. `weight`: how much each row
    counts (data.weight), shape [rows]; None: all alike.
    """

    y: np.ndarray
    guess: np.ndarray
    probabilities: np.ndarray
    positive: int | None
    weight: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> Rows:
        """The rows at these places only."""
        weight = None if self.weight is None else self.weight[rows]
        return Rows(self.y[rows], self.guess[rows], self.probabilities[rows], self.positive, weight)


def scorer(metric: str, rows: Rows) -> Scorer:
    """The metric as a function of row weights, larger is better: losses are negated. NaN where a draw lacks a class.

    Multiclass: roc_auc and average_precision are the mean over the classes that occur in `rows`, each against the rest; f1
    is the mean over the classes that occur or were predicted. Raises KeyError for a metric without a definition.
    """
    direction = sign(metric)
    statistic, weight = _statistic(metric, rows), rows.weight
    if weight is not None:
        return lambda w: direction * statistic(w * weight)
    return statistic if direction > 0 else lambda w: direction * statistic(w)


def _statistic(metric: str, rows: Rows) -> Scorer:
    """The metric as it is defined, whatever its direction."""
    if not is_own(metric):
        return _STATISTICS[metric](rows)
    function = own_metrics.load(metric)
    y, predicted = own_metrics.arguments(rows.y, rows.probabilities, rows.positive)
    return lambda w: np.array([function(y, predicted, weight) for weight in w], dtype=np.float64)


def score(metric: str, rows: Rows, weights: np.ndarray | None = None) -> float:
    """The metric of the rows, larger is better. weights: shape [rows]; one for every row when left out."""
    once = np.ones(len(rows.y)) if weights is None else weights
    return float(scorer(metric, rows)(once[None, :])[0])


def informative_rows(metric: str, y: np.ndarray) -> int:
    """Rows that carry the metric: those of the rarest class where it weighs classes against each other, else all."""
    if y.dtype.kind == "f" or metric in {"log_loss", "accuracy"}:
        return len(y)
    counts = np.bincount(y)
    return int(counts[counts > 0].min()) if len(y) else 0


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    """Rows that sum to one: float32 sums are off by rounding."""
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _log_loss(rows: Rows) -> Scorer:
    p = _normalised(rows.probabilities)
    losses = -np.log(np.clip(p[np.arange(len(rows.y)), rows.y], np.finfo(p.dtype).eps, 1))
    return lambda w: np.asarray((w @ losses) / w.sum(axis=1))


def _accuracy(rows: Rows) -> Scorer:
    hits = (rows.guess == rows.y).astype(float)
    return lambda w: np.asarray((w @ hits) / w.sum(axis=1))


def _ranked(one: Callable[[np.ndarray, np.ndarray], Scorer]) -> Callable[[Rows], Scorer]:
    """Of a metric of one class against the rest: of the positive class, or the mean over those that occur."""

    def statistic(rows: Rows) -> Scorer:
        p = _normalised(rows.probabilities)
        if rows.positive is not None:
            return one(rows.y == rows.positive, p[:, rows.positive])
        each = [one(rows.y == k, p[:, k]) for k in np.unique(rows.y)]
        return lambda w: np.asarray(np.mean([single(w) for single in each], axis=0))

    return statistic


def _auc(hit: np.ndarray, chance: np.ndarray) -> Scorer:
    """Share of pairs in the right order, ties counting half (Mann-Whitney): a sum over the smaller class."""
    few = hit if 2 * hit.sum() <= len(hit) else ~hit
    some, others = np.flatnonzero(few), np.flatnonzero(~few)
    others = others[np.argsort(chance[others], kind="stable")]
    # Rows of the larger class below each row of the smaller, and with those of equal chance; 0 is before the first.
    below, tied = (np.searchsorted(chance[others], chance[some], side=side) for side in ("left", "right"))

    def statistic(w: np.ndarray) -> np.ndarray:
        drawn, summed = w[:, some], np.zeros((len(w), len(others) + 1))
        np.cumsum(w[:, others], axis=1, out=summed[:, 1:])
        lower = np.einsum("ij,ij->i", drawn, summed[:, below] + summed[:, tied]) / 2
        with np.errstate(invalid="ignore"):
            fraction = lower / (drawn.sum(axis=1) * summed[:, -1])
        return np.asarray(fraction if few is hit else 1 - fraction)

    return statistic


def _average_precision(hit: np.ndarray, chance: np.ndarray) -> Scorer:
    """Σ (recall step) · precision, from the most probable row down, tied rows at once: a sum over the rows that are hits."""
    order = np.argsort(-chance, kind="stable")
    down, hits = -chance[order], np.flatnonzero(hit[order])
    # Rows, and hits, that are as probable as each hit or more.
    ends, hit_ends = np.searchsorted(down, down[hits], side="right"), np.searchsorted(down[hits], down[hits], "right")

    def statistic(w: np.ndarray) -> np.ndarray:
        taken, result = np.zeros((len(w), len(order) + 1)), np.zeros((len(w), len(hits) + 1))
        np.cumsum(w[:, order], axis=1, out=taken[:, 1:])
        good = w[:, order[hits]]
        np.cumsum(good, axis=1, out=result[:, 1:])
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(good > 0, result[:, hit_ends] / taken[:, ends], 0)
            return np.asarray((good * precision).sum(axis=1) / result[:, -1])

    return statistic


def _f1(rows: Rows) -> Scorer:
    """2tp / (2tp + fp + fn) of the positive class; multiclass: the mean over the classes that a draw has or predicts."""
    codes = [rows.positive] if rows.positive is not None else range(rows.probabilities.shape[1])
    both = np.column_stack([(rows.y == k) & (rows.guess == k) for k in codes]).astype(float)
    either = np.column_stack([(rows.y == k).astype(float) + (rows.guess == k) for k in codes])

    def statistic(w: np.ndarray) -> np.ndarray:
        total = w @ either
        each = np.where(total > 0, 2 * (w @ both) / np.where(total > 0, total, 1), 0)
        return np.asarray(each.sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1))

    return statistic


def of_numbers(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """Rows of a regression. y, predicted, weight: shape [rows]."""
    return Rows(y, predicted, predicted[:, None], None, weight)


def _mean(losses: np.ndarray) -> Scorer:
    return lambda w: np.asarray((w @ losses) / w.sum(axis=1))


def _rmse(rows: Rows) -> Scorer:
    mean = _mean((rows.y - rows.guess) ** 2)
    return lambda w: np.sqrt(mean(w))


def _mae(rows: Rows) -> Scorer:
    return _mean(np.abs(rows.y - rows.guess))


def _mape(rows: Rows) -> Scorer:
    """As scikit-learn's: a true 0 counts as the smallest float64 step from 0, so that such a row dominates."""
    return _mean(np.abs(rows.y - rows.guess) / np.maximum(np.abs(rows.y), np.finfo(np.float64).eps))


def _r2(rows: Rows) -> Scorer:
    """1 - Σ(y - ŷ)² / Σ(y - mean of the draw)²; NaN where all numbers of a draw are equal."""
    y = rows.y - rows.y.mean()  # against cancellation
    squared = (rows.y - rows.guess) ** 2

    def statistic(w: np.ndarray) -> np.ndarray:
        total = w.sum(axis=1)
        spread = w @ y**2 - (w @ y) ** 2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(spread > 0, 1 - (w @ squared) / spread, np.nan))

    return statistic


_STATISTICS: Final[dict[str, Callable[[Rows], Scorer]]] = {
    "roc_auc": _ranked(_auc),
    "average_precision": _ranked(_average_precision),
    "log_loss": _log_loss,
    "accuracy": _accuracy,
    "f1": _f1,
    "rmse": _rmse,
    "mae": _mae,
    "mape": _mape,
    "r2": _r2,
}
# What settings.yaml may name as the metric of training and promotion.
TUNED: Final = tuple(m for m in _STATISTICS if METRICS[m].task == "classification")
TUNED_REGRESSION: Final = tuple(m for m in _STATISTICS if METRICS[m].task == "regression")
