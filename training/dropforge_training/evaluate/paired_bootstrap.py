"""Two models on the same rows: how much better one is, and how sure that is. Paired bootstrap.

Every resample draws the rows anew with replacement (Efron & Tibshirani 1993) and scores both models on the same draw, so that
what makes a row hard for both cancels. A draw is a weight a row (how often it was drawn); scores are weighted scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import Rows, Scorer
from dropforge_training.evaluate.metrics import informative_rows, scorer

RESAMPLES = 500
FEWEST = 100  # rows below which a slice is not compared: its interval would span everything
_CELLS = 200_000  # weights held at a time: they stay in the processor's cache
_DRAWN = 20_000_000  # rows drawn in all


@dataclass(frozen=True, slots=True)
class Resampling:
    """`confidence`: of the one-sided bounds, a fraction; `minimum_gain`: the gain of the null hypothesis."""

    confidence: float
    seed: int
    minimum_gain: float = 0.0


def gain(metric: str, candidate: Rows, served: Rows, how: Resampling) -> dict[str, float] | None:
    """Scores of both, their difference (positive: the candidate is better) and how sure it is. None when the rows lack a class.

    `low` … `high`: its 95 % bootstrap interval; `at_least`, `at_most`: its bounds with the given confidence, each one-sided.
    `p_value`: of the hypothesis that the gain is no more than `minimum_gain`, from the gain over its bootstrap standard error
    and Student's t with the rows that carry the metric less one. (Percentiles of few hundred draws give no small p-values, and are
    too narrow on few rows; Efron & Tibshirani 1993, §12-13.)
    """
    ours, theirs = scorer(metric, candidate), scorer(metric, served)
    n = len(candidate.y)
    once = np.ones((1, n))
    ours_now, theirs_now = float(ours(once)[0]), float(theirs(once)[0])
    if np.isnan(ours_now) or np.isnan(theirs_now):
        return None
    result = bootstrap(lambda w: ours(w) - theirs(w), n, how.seed)
    if len(result) < 2:  # hardly a draw has every class
        return None
    difference = ours_now - theirs_now
    error = float(np.std(result, ddof=1))
    direction = sign(metric)
    return {
        "candidate": direction * ours_now,
        "served": direction * theirs_now,
        "gain": difference,
        "low": float(np.quantile(result, 0.025)),
        "high": float(np.quantile(result, 0.975)),
        "at_least": float(np.quantile(result, 1 - how.confidence)),
        "at_most": float(np.quantile(result, how.confidence)),
        "standard_error": error,
        "p_value": _p_value(difference - how.minimum_gain, error, informative_rows(metric, candidate.y) - 1),
    }


def _p_value(excess: float, error: float, degrees: int) -> float:
    """One-sided. 1 where nothing can be said: the models do not differ on any row, or one row carries the metric."""
    if not error > 0 or degrees < 1:
        return 1.0
    return float(student_t.sf(excess / error, degrees))


def bootstrap(score: Scorer, rows: int, seed: int, most: int = RESAMPLES) -> np.ndarray:
    """The score of `most` draws of that many rows, fewer for very many rows; without draws that lack a class."""
    rng = np.random.default_rng(seed)
    resamples = int(np.clip(_DRAWN // rows, min(100, most), most))
    chunk = max(1, _CELLS // rows)
    result, w = [], np.empty((min(chunk, resamples), rows))
    for start in range(0, resamples, chunk):
        draws = min(chunk, resamples - start)
        for k in range(draws):
            w[k] = np.bincount(rng.integers(0, rows, rows), minlength=rows)
        result.append(score(w[:draws]))
    values = np.concatenate(result)
    return np.asarray(values[~np.isnan(values)])


def compare(
    metric: str, candidate: Rows, served: Rows, slices: Mapping[str, np.ndarray], how: Resampling
) -> list[dict[str, Any]]:
    """One entry for all rows, then one a slice (name → truth values, shape [rows]) of at least FEWEST rows."""
    messages = []
    for name, inside in {"all": np.ones(len(candidate.y), dtype=bool), **slices}.items():
        rows = np.flatnonzero(inside)
        if len(rows) < FEWEST and name != "all":
            continue
        result = gain(metric, candidate.at(rows), served.at(rows), how)
        if not result and name == "all":
            return []
        if result:
            messages.append({"slice": name, "rows": len(rows), **result})
    return messages
