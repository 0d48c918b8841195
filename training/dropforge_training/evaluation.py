"""Scores on rows no model was trained or tuned on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn import metrics as sk

_BINS = 10


def score(metric: str, y: np.ndarray, probabilities: np.ndarray, positive: int = 1) -> float:
    """One metric, larger is better (losses are negated).

    y: codes, shape [rows]; probabilities: shape [rows, classes]; positive: code of the class a binary metric is about.
    Multiclass: the mean over the classes that occur in y, each against the rest, for roc_auc and average_precision; over the
    classes that occur or were guessed for f1.
    """
    classes = probabilities.shape[1]
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)  # float32 sums are off by rounding
    binary = classes == 2
    truth = (y == positive).astype(int) if binary else y
    chance = probabilities[:, positive] if binary else probabilities
    guess = probabilities.argmax(axis=1)
    match metric:
        case "roc_auc":
            return float(sk.roc_auc_score(truth, chance)) if binary else _each(sk.roc_auc_score, y, probabilities)
        case "average_precision":
            if binary:
                return float(sk.average_precision_score(truth, chance))
            return _each(sk.average_precision_score, y, probabilities)
        case "log_loss":
            return -float(sk.log_loss(y, probabilities, labels=range(classes)))
        case "accuracy":
            return float(sk.accuracy_score(y, guess))
        case _:
            return float(sk.f1_score(truth, guess == positive) if binary else sk.f1_score(y, guess, average="macro"))


def _each(metric: Callable[[np.ndarray, np.ndarray], float], y: np.ndarray, probabilities: np.ndarray) -> float:
    return float(np.mean([metric(y == k, probabilities[:, k]) for k in np.unique(y)]))


def evaluate(y: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, positive: int | None) -> dict[str, float]:
    """Every metric of the model card. `predicted`: codes by the decision threshold; `positive`: code of the positive class."""
    binary = positive is not None
    truth = (y == positive).astype(int) if binary else y
    guess = (predicted == positive).astype(int) if binary else predicted
    p = np.column_stack([1 - probabilities[:, positive], probabilities[:, positive]]) if binary else probabilities
    onehot = np.eye(probabilities.shape[1])[y]
    return {
        "roc_auc": score("roc_auc", truth, p),
        "average_precision": score("average_precision", truth, p),
        "log_loss": -score("log_loss", truth, p),
        "brier": float(((probabilities - onehot) ** 2).sum(axis=1).mean() / (2 if binary else 1)),
        "accuracy": float(sk.accuracy_score(truth, guess)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(truth, guess)),
        "f1": float(sk.f1_score(truth, guess, average="binary" if binary else "macro")),
        "mcc": float(sk.matthews_corrcoef(truth, guess)),
        "ece": calibration_error(truth, p),
        "rows": float(len(y)),
    }


def uncalibrated(y: np.ndarray, raw: np.ndarray, positive: int | None) -> dict[str, float]:
    """Log loss, Brier and calibration error of the probabilities before calibration, to be read beside those after."""
    told = evaluate(y, raw, raw.argmax(axis=1), positive)
    return {f"{name}_uncalibrated": told[name] for name in ("log_loss", "brier", "ece")}


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
