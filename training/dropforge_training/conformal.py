"""Prediction sets that hold the true class as often as they say, for every class alone.

Split conformal, class-conditional (Vovk, Gammerman & Shafer 2005, §4.5; "Mondrian"). A row's score is 1 - p of its true
class, on rows the model was not fitted on. For coverage c and the n rows of a class, the threshold is the
⌈(n + 1)·c⌉-th smallest score; with exchangeable rows the class is then in the set with probability at least c.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

COVERAGES = ("0.8", "0.9", "0.95", "0.99")


def thresholds(y: np.ndarray, probabilities: np.ndarray) -> dict[str, tuple[float, ...]]:
    """By coverage, for each class the largest 1 - p at which it is in the set; 1 where a class has too few rows to say.

    y: codes, shape [rows]; probabilities: shape [rows, classes], as served (calibrated), of rows the model did not see.
    """
    classes = probabilities.shape[1]
    scores = [np.sort(1 - probabilities[y == k, k]) for k in range(classes)]
    return {c: tuple(_threshold(s, float(c)) for s in scores) for c in COVERAGES}


def _threshold(scores: np.ndarray, coverage: float) -> float:
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # 0.95 · 20 is 19, not 20, whatever the last bit says
    return 1.0 if rank > len(scores) else float(scores[rank - 1])


def sets(probabilities: np.ndarray, limits: tuple[float, ...]) -> np.ndarray:
    """Which classes are in each row's set: truth values, shape [rows, classes]."""
    return np.asarray(1 - probabilities <= np.asarray(limits))


def measure(y: np.ndarray, probabilities: np.ndarray, conformal: dict[str, tuple[float, ...]]) -> list[dict[str, Any]]:
    """What the sets hold on these rows: share covered (all rows, and by class), mean size, share of sets of one and none."""
    told = []
    for coverage, limits in conformal.items():
        inside = sets(probabilities, limits)
        hit = inside[np.arange(len(y)), y]
        size = inside.sum(axis=1)
        told.append(
            {
                "coverage": float(coverage),
                "covered": float(hit.mean()),
                "by_class": [float(hit[y == k].mean()) for k in range(probabilities.shape[1])],
                "rows_by_class": [int((y == k).sum()) for k in range(probabilities.shape[1])],
                "mean_size": float(size.mean()),
                "single": float((size == 1).mean()),
                "empty": float((size == 0).mean()),
            }
        )
    return told
