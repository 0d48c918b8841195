"""Prediction intervals of a regression that hold the true number as often as they say.

Split conformal prediction with locally weighted residuals (Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, §5.2), each side
by itself. A row's width w(x) is predicted by a second model, fitted on the absolute out-of-fold residuals of the training rows.
On the n held-out rows, with which neither model was made, the scores are (prediction - y)/w and (y - prediction)/w; for coverage c
each side's limit is the ⌈(n + 1)·(1 + c)/2⌉-th smallest of its scores. For a new row exchangeable with the held-out rows the
interval then holds the number with probability at least c, over the draw of held-out rows and new row together.

Where the model is fitted on a transform of the target (dropforge.inference.prediction_intervals), residuals are of the transformed
target or of the target itself: see chosen_scale.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from dropforge.inference.bundle_manifest import Regression
from dropforge.inference.prediction_intervals import forward, interval, interval_scale, middle

COVERAGES = ("0.5", "0.8", "0.9", "0.95", "0.99")
METHOD = "split conformal, locally weighted, each side by itself, calibrated on held-out rows"
_TRIED = "0.9"  # coverage by which the scale is chosen
_MOST_TRIED = 10_000  # rows for it
_GAIN = 0.95  # score of another scale, as a fraction, from which it is taken
_FEWEST = 300  # residuals below which every row has the same width
_SMALLEST = 0.02  # of the median absolute residual: no width is smaller


def width_model(seed: int) -> HistGradientBoostingRegressor:
    """An unfitted model of the logarithm of a row's width."""
    return HistGradientBoostingRegressor(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=30, early_stopping=False, random_state=seed
    )


def residuals(rule: Regression, y: np.ndarray, output: np.ndarray) -> np.ndarray:
    """How far numbers are above what the graph's `output` serves, on the scale of the intervals, shape [rows]."""
    return np.asarray(forward(interval_scale(rule), y) - middle(rule, output))


def chosen_scale(rule: Regression, x: np.ndarray, y: np.ndarray, output: np.ndarray, seed: int) -> Regression:
    """The rule with the scale of its intervals: of the transform and the target itself the one whose intervals score better,
    the first in case of doubt.

    x: what widths are predicted from, shape [rows, features]; y: known numbers; output: of models that were not fitted on them.
    Half of the rows, fitted to the other half, are scored by the mean interval score (Gneiting and Raftery 2007, §6.2) of a
    coverage of 0.9, in units of the target: wide intervals and missed numbers both cost. A factor that is right for small
    numbers can be absurd for large ones.
    """
    if not rule.transform or len(y) < _FEWEST:
        return rule
    rows = np.random.default_rng(seed).permutation(len(y))[:_MOST_TRIED]
    fitted, scored = rows[::2], rows[1::2]

    def score(candidate: Regression) -> float:
        known = residuals(candidate, y[rows], output[rows])
        sizes, width = log_widths(known[::2]), np.ones(len(scored))
        if len(sizes):
            model = width_model(seed).fit(x[fitted], sizes)
            width = np.exp(np.clip(model.predict(x[scored]), sizes.min(), sizes.max()))
        ends = interval(candidate, output[scored], width, limits(known[1::2], width)[_TRIED])
        return interval_score(y[scored], *ends, float(_TRIED))

    other = replace(rule, interval_transform="")
    return other if score(other) < _GAIN * score(rule) else rule


def interval_score(y: np.ndarray, low: np.ndarray, high: np.ndarray, coverage: float) -> float:
    """Mean of width + 2/(1 - coverage) times how far a number lies outside; the smaller the better."""
    missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return float((high - low + 2 / (1 - coverage) * missed).mean())


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

    `covered`: fraction of rows; `mean_width` and `median_width` on the scale of the intervals.
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
