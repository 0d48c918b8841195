"""Curves of the model card as short lists of points: how well it ranks, how honest its probabilities are, how tuning went."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import metrics as sk

from dropforge.metrics.weighted_rows import Rows

_POINTS = 120
_MOST_CLASSES = 6
_BINS = 10


def ranking(scored: Rows, classes: list[str]) -> list[dict[str, Any]]:
    """ROC and precision-recall points of the positive class, or of each class against the rest (of six at most)."""
    codes = [scored.positive] if scored.positive is not None else range(min(len(classes), _MOST_CLASSES))
    messages = []
    for k in codes:
        hit, chance = scored.y == k, scored.probabilities[:, k]
        fpr, tpr, _ = sk.roc_curve(hit, chance)
        precision, recall, _ = sk.precision_recall_curve(hit, chance)
        messages.append(
            {
                "class": classes[k],
                "share": float(hit.mean()),
                "roc": _thinned(fpr, tpr),
                "precision_recall": _thinned(recall[::-1], precision[::-1]),
            }
        )
    return messages


def reliability(y: np.ndarray, probabilities: np.ndarray, positive: int | None) -> list[dict[str, float]]:
    """Ten bins of equal width, empty ones left out: mean probability, share that observed true, rows.

    Binary: of the positive class; multiclass: of the most probable class. The bins of the expected calibration error.
    """
    if positive is not None:
        predicted, observed = probabilities[:, positive], (y == positive).astype(float)
    else:
        predicted, observed = probabilities.max(axis=1), (probabilities.argmax(axis=1) == y).astype(float)
    bins = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
    return [
        {
            "predicted": float(predicted[bins == b].mean()),
            "observed": float(observed[bins == b].mean()),
            "rows": int((bins == b).sum()),
        }
        for b in range(_BINS)
        if (bins == b).any()
    ]


def _thinned(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    """At most 120 points, evenly along the curve's length, ends kept."""
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    wanted = np.unique(np.searchsorted(along, np.linspace(0, along[-1], _POINTS)).clip(max=len(x) - 1))
    return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(x[wanted], y[wanted], strict=True)]
