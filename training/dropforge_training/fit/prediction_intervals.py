"""Prediction intervals of a regression that hold the true number as often as they say.

Split conformal prediction with locally weighted residuals (Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, §5.2), each side
by itself. A row's width w(x) is predicted by a second model, fitted on the absolute out-of-fold residuals of the training rows.
On the n held-out rows, with which neither model was made, the scores are (prediction - y)/w and (y - prediction)/w; for coverage c
each side's limit is the ⌈(n + 1)·(1 + c)/2⌉-th smallest of its scores. For a new row exchangeable with the held-out rows the
interval then holds the number with probability at least c, over the draw of held-out rows and new row together.

A transform of the target (dropforge.inference.prediction_intervals) comes first: residuals are of the transformed target.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from dropforge.inference.bundle_manifest import Regression
from dropforge.inference.prediction_intervals import forward

COVERAGES = ("0.5", "0.8", "0.9", "0.95", "0.99")
METHOD = "split conformal, locally weighted, each side by itself, calibrated on held-out rows"
_FEWEST = 300  # residuals below which every row has the same width
_SMALLEST = 0.02  # of the median absolute residual: no width is smaller


def width_model(seed: int) -> HistGradientBoostingRegressor:
    """An unfitted model of the logarithm of a row's width."""
    return HistGradientBoostingRegressor(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=30, early_stopping=False, random_state=seed
    )


def residuals(rule: Regression, y: np.ndarray, output: np.ndarray) -> np.ndarray:
    """How far numbers are above what the graph's `output` serves, in units of the transformed target, shape [rows]."""
    return np.asarray(forward(rule.transform, y) - rule.center - output)


def log_widths(residuals: np.ndarray) -> np.ndarray:
    """What the width model is fitted on: ln(|residual| + a little), shape [rows]; empty where there are too few residuals."""
    size = np.abs(residuals)
    middle = float(np.median(size)) if len(size) else 0.0
    if len(size) < _FEWEST or middle <= 0.0:
        return np.empty(0)
    return np.asarray(np.log(size + _SMALLEST * middle))


def fewest_rows(coverage: float) -> int:
    """Held-out rows below which an interval of this coverage has no finite end: the n-th of n scores must suffice."""
    return math.ceil((1 + coverage) / (1 - coverage) - 1e-9)


def limits(residuals: np.ndarray, widths: np.ndarray) -> dict[str, tuple[float, float]]:
    """(below, above) in units of the width by coverage; a coverage that so few rows cannot show is left out.

    residuals: y - prediction of held-out rows, shape [rows]; widths: shape [rows].
    """
    scores = residuals / widths
    below, above = np.sort(-scores), np.sort(scores)
    matches = {}
    for coverage in COVERAGES:
        rank = math.ceil((len(scores) + 1) * (1 + float(coverage)) / 2 - 1e-9)
        if rank <= len(scores):
            matches[coverage] = (float(below[rank - 1]), float(above[rank - 1]))
    return matches


def newer_half(time: np.ndarray) -> np.ndarray:
    """1 for the rows after the median moment, else 0; shape [rows]."""
    return np.asarray(time > np.median(time), dtype=int)


def cross_measured(
    residuals: np.ndarray, widths: np.ndarray, seed: int, time: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """What intervals of these rows hold, measured on rows their limits were not taken from: each half by the other's limits.
    time: where rows are split by it, the newer half by the limits of the older one.

    `covered`: fraction of rows; `mean_width` and `median_width` in units of the transformed target.
    """
    half = np.random.default_rng(seed).permutation(len(residuals)) % 2 if time is None else newer_half(time)
    measured: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for h in (0, 1) if time is None else (1,):
        inside = half == h
        for coverage, (below, above) in limits(residuals[~inside], widths[~inside]).items():
            low, high = -below * widths[inside], above * widths[inside]
            hit = (residuals[inside] >= low) & (residuals[inside] <= high)
            measured.setdefault(coverage, []).append((hit, high - low))
    facts = []
    for coverage, parts in measured.items():
        hit, wide = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        facts.append(
            {
                "coverage": float(coverage),
                "covered": float(hit.mean()),
                "rows": len(hit),
                "mean_width": float(wide.mean()),
                "median_width": float(np.median(wide)),
            }
        )
    return facts
