"""Scores on rows no model was trained or tuned on."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from dropforge.inference.prediction_intervals import inverse
from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge_training.evaluate import metrics
from dropforge_training.models.model_spec import Fold

_BINS = 10


def score(
    metric: str, y: np.ndarray, probabilities: np.ndarray, positive: int = 1, weight: np.ndarray | None = None
) -> float:
    """One tuning metric, larger is better (losses are negated); labels are the most probable classes.

    y: codes, shape [rows]; probabilities: shape [rows, classes]; positive: code of the class a binary metric is about; weight: of
    each row, shape [rows].
    Multiclass, and rows that lack a class: see metrics.scorer.
    """
    binary = probabilities.shape[1] == 2
    rows = Rows(y, probabilities.argmax(axis=1), probabilities, positive if binary else None, weight)
    return metrics.score(metric, rows)


def score_fold(metric: str, fold: Fold, predicted: np.ndarray) -> float:
    """One tuning metric of a fold's validation rows, larger is better; of a regression in units of the target.

    predicted: as models.base.Trained has them, shape [rows, classes], or [rows, 1] of a regression.
    """
    if fold.y_valid.dtype.kind != "f":
        return score(metric, fold.y_valid, predicted, fold.positive, fold.weight_valid)
    y, numbers = (inverse(fold.transform, v + fold.center) for v in (fold.y_valid, predicted.reshape(-1)))
    return metrics.score(metric, of_numbers(y, numbers, fold.weight_valid))


def evaluate(
    y: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    positive: int | None,
    weight: np.ndarray | None = None,
) -> dict[str, float]:
    """Every metric of the model card. `predicted`: codes by the decision threshold; `positive`: code of the positive class;
    `weight`: of each row, shape [rows]; ece counts all rows alike.
    """
    binary = positive is not None
    truth = (y == positive).astype(int) if binary else y
    guess = (predicted == positive).astype(int) if binary else predicted
    p = np.column_stack([1 - probabilities[:, positive], probabilities[:, positive]]) if binary else probabilities
    onehot = np.eye(probabilities.shape[1])[y]
    rows = Rows(y, predicted, probabilities, positive, weight)
    squared = np.average(((probabilities - onehot) ** 2).sum(axis=1), weights=weight)
    return {
        **{name: sign(name) * metrics.score(name, rows) for name in metrics.tuned("classification")},
        "brier": float(squared / (2 if binary else 1)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(truth, guess, sample_weight=weight)),
        "mcc": float(sk.matthews_corrcoef(truth, guess, sample_weight=weight)),
        "ece": calibration_error(truth, p),
        "rows": float(len(y)),
    }


def evaluate_numbers(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """Every metric of a regression's card, in units of the target where they have one. y, predicted, weight: shape [rows]."""
    rows = of_numbers(y, predicted, weight)
    matches = {name: sign(name) * metrics.score(name, rows) for name in metrics.tuned("regression")}
    off = y - predicted
    matches |= {"median_absolute_error": float(np.median(np.abs(off))), "mean_error": float(off.mean())}
    matches["rows"] = float(len(y))
    return {name: value for name, value in matches.items() if np.isfinite(value)}


def uncalibrated(
    y: np.ndarray, raw: np.ndarray, positive: int | None, weight: np.ndarray | None = None
) -> dict[str, float]:
    """Log loss, Brier and calibration error of the probabilities before calibration, to be read beside those after."""
    output = evaluate(y, raw, raw.argmax(axis=1), positive, weight)
    return {f"{name}_uncalibrated": output[name] for name in ("log_loss", "brier", "ece")}


def calibration_error(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width: Σ share · |accuracy - confidence| (Naeini et al. 2015).

    Binary: of the positive class's probability; multiclass: of the most probable class.
    """
    binary = probabilities.shape[1] == 2
    confidence = probabilities[:, 1] if binary else probabilities.max(axis=1)
    hit = y.astype(float) if binary else (probabilities.argmax(axis=1) == y).astype(float)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for b in range(_BINS):
        inside = bins == b
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return float(total)
