"""Prediction sets that hold the true class as often as they say, for every class alone.

Split conformal prediction, class-conditional ("Mondrian"; Vovk, Gammerman & Shafer 2005, §4.5). The calibration rows are the
held-out rows: the served model was neither fitted, nor tuned, nor calibrated, nor given its threshold on them. A row's score
is 1 - p of its true class, p as the serving bundle itself gives it. For coverage c and the n held-out rows of a class, its
limit is the ⌈(n + 1)·c⌉-th smallest score. For a new row exchangeable with the held-out rows of its class, the set then holds
the class with probability at least c, and at most c + 1/(n + 1) where no two scores are equal. That is over the draw of held-out
rows and new row together: with one draw of n rows the coverage varies by about √(c(1 - c)/n).

What it does not say: nothing of rows from another population, and nothing for a single row. Of several models trained on one
upload the gate prefers the one with the best metric on these same rows; its sets inherit that choice's (small) optimism.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dropforge.inference.prediction_sets import members

COVERAGES = ("0.8", "0.9", "0.95", "0.99")
METHOD = "split conformal, class-conditional, calibrated on held-out rows"


def limits(y: np.ndarray, probabilities: np.ndarray) -> dict[str, tuple[float, ...]]:
    """By coverage, for each class the largest 1 - p at which it is in the set; 1 (always) where a class has too few rows.

    y: codes, shape [rows]; probabilities: shape [rows, classes], as served, of rows the model was not made with.
    """
    classes = probabilities.shape[1]
    scores = [np.sort(1 - np.asarray(probabilities[y == k, k], dtype=np.float64)).clip(min=0) for k in range(classes)]
    return {c: tuple(_limit(s, float(c)) for s in scores) for c in COVERAGES}


def _limit(scores: np.ndarray, coverage: float) -> float:
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # 0.95 · 20 is 19, not 20, whatever the last bit says
    return 1.0 if rank > len(scores) else float(scores[rank - 1])


def rows_by_class(y: np.ndarray, classes: int) -> tuple[int, ...]:
    """Calibration rows of each class."""
    return tuple(np.bincount(y, minlength=classes).tolist())


def cross_measured(
    y: np.ndarray, probabilities: np.ndarray, seed: int, time: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """What sets of these rows hold, measured on rows their limits were not taken from: each half by the other's limits.

    The limits of the bundle are of all these rows, so that they cannot be measured on the same ones; halves have wider sets.
    time: where rows are split by it, the newer half is measured by the limits of the older one.
    """
    if time is not None:
        newer = time > np.median(time)
        return measure(y[newer], probabilities[newer], limits(y[~newer], probabilities[~newer])) if newer.any() else []
    half = _halves(y, seed)
    parts = [(np.flatnonzero(half != h), np.flatnonzero(half == h)) for h in (0, 1)]
    inside = {c: np.zeros(probabilities.shape, dtype=bool) for c in COVERAGES}
    for calibrating, measured in parts:
        result = limits(y[calibrating], probabilities[calibrating])
        for coverage, at in result.items():
            inside[coverage][measured] = members(probabilities[measured], at)
    return [_facts(float(c), y, member) for c, member in inside.items()]


def measure(y: np.ndarray, probabilities: np.ndarray, given: Mapping[str, tuple[float, ...]]) -> list[dict[str, Any]]:
    """What sets with these limits hold on rows that the limits were not taken from."""
    return [_facts(float(c), y, members(probabilities, at)) for c, at in given.items()]


def _halves(y: np.ndarray, seed: int) -> np.ndarray:
    """0 or 1 for each row, every class in equal parts."""
    half = np.zeros(len(y), dtype=int)
    rng = np.random.default_rng(seed)
    for code in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == code))
        half[rows[::2]] = 1
    return half


def _facts(coverage: float, y: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """Fraction covered (all rows, and by class), mean size, fraction of sets of one and of none."""
    hit = member[np.arange(len(y)), y]
    size = member.sum(axis=1)
    classes = range(member.shape[1])
    return {
        "coverage": coverage,
        "covered": float(hit.mean()),
        "by_class": [float(hit[y == k].mean()) if (y == k).any() else None for k in classes],
        "rows_by_class": [int((y == k).sum()) for k in classes],
        "mean_size": float(size.mean()),
        "single": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
    }
