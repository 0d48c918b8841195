"""Scores of rows, as they are and for a bootstrap's draws, by one definition: the files of dropforge.metrics.definitions.

A draw is a weight a row (how often it was drawn), a score of a draw is a weighted score. scikit-learn's metrics take no table of
draws; the tests hold these equal to them.
"""

from __future__ import annotations

import numpy as np

from dropforge.metrics import METRICS, TUNED, Task, is_own, sign
from dropforge.metrics.weighted_rows import Rows, Scorer
from dropforge_training.evaluate import own_metrics


def tuned(task: Task) -> tuple[str, ...]:
    """The metrics of a task that tuning and promotion may use."""
    return tuple(name for name in TUNED if METRICS[name].task == task)


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
        statistic = METRICS[metric].statistic
        if statistic is None:
            raise KeyError(metric)
        return statistic(rows)
    function = own_metrics.load(metric)
    y, predicted = own_metrics.arguments(rows.y, rows.probabilities, rows.positive)
    return lambda w: np.array([function(y, predicted, weight) for weight in w], dtype=np.float64)


def score(metric: str, rows: Rows, weights: np.ndarray | None = None) -> float:
    """The metric of the rows, larger is better. weights: shape [rows]; one for every row when left out."""
    once = np.ones(len(rows.y)) if weights is None else weights
    return float(scorer(metric, rows)(once[None, :])[0])


def informative_rows(metric: str, y: np.ndarray) -> int:
    """Rows that carry the metric: those of the rarest class where it weighs classes against each other, else all."""
    known = METRICS.get(metric)
    if y.dtype.kind == "f" or (known is not None and not known.weighs_classes):
        return len(y)
    counts = np.bincount(y)
    return int(counts[counts > 0].min()) if len(y) else 0
