"""Two models on the same rows: how much better one is, and how sure that is. Paired bootstrap, numpy only.

Every resample draws the rows anew with replacement (Efron & Tibshirani 1993) and scores both models on the same draw, so that
what makes a row hard for both cancels. A draw is a weight a row (how often it was drawn); scores are weighted scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 500
FEWEST = 100  # rows below which a slice is not compared: its interval would span everything
_CELLS = 4_000_000  # weights held at a time
_DRAWN = 20_000_000  # rows drawn in all

Scorer = Callable[[np.ndarray], np.ndarray]  # weights [draws, rows] → scores [draws], larger is better


@dataclass(frozen=True, slots=True)
class Rows:
    """What a model says of rows. y, guess: codes, shape [rows]; probabilities: [rows, classes]; positive: code or None."""

    y: np.ndarray
    guess: np.ndarray
    probabilities: np.ndarray
    positive: int | None

    def at(self, rows: np.ndarray) -> Rows:
        return Rows(self.y[rows], self.guess[rows], self.probabilities[rows], self.positive)


def scorer(metric: str, rows: Rows) -> Scorer:
    """The metric as a function of row weights, larger is better: losses are negated. NaN where a draw lacks a class.

    Equals evaluation.score for weights of one; multiclass as there.
    """
    y, p = rows.y, rows.probabilities / rows.probabilities.sum(axis=1, keepdims=True)
    ranked = _auc if metric == "roc_auc" else _average_precision
    match metric:
        case "log_loss":
            losses = -np.log(np.clip(p[np.arange(len(y)), y], np.finfo(p.dtype).eps, 1))
            return lambda w: -(w @ losses) / w.sum(axis=1)
        case "accuracy":
            hits = (rows.guess == y).astype(float)
            return lambda w: (w @ hits) / w.sum(axis=1)
        case "f1":
            return _f1(rows)
        case _ if rows.positive is not None:
            return ranked(y == rows.positive, p[:, rows.positive])
        case _:
            each = [ranked(y == k, p[:, k]) for k in np.unique(y)]
            return lambda w: np.asarray(np.mean([one(w) for one in each], axis=0))


def _auc(hit: np.ndarray, chance: np.ndarray) -> Scorer:
    """Share of pairs in the right order, ties counting half (Mann-Whitney)."""
    order, starts = _tied(chance)
    hits = hit[order].astype(float)

    def score(w: np.ndarray) -> np.ndarray:
        drawn = w[:, order]
        good = np.add.reduceat(drawn * hits, starts, axis=1)
        bad = np.add.reduceat(drawn * (1 - hits), starts, axis=1)
        below = np.cumsum(bad, axis=1) - bad / 2
        with np.errstate(invalid="ignore"):
            return np.asarray((good * below).sum(axis=1) / (good.sum(axis=1) * bad.sum(axis=1)))

    return score


def _average_precision(hit: np.ndarray, chance: np.ndarray) -> Scorer:
    """Σ (recall step) · precision, from the most probable row down, tied rows at once."""
    order, starts = _tied(-chance)
    hits = hit[order].astype(float)

    def score(w: np.ndarray) -> np.ndarray:
        drawn = w[:, order]
        good = np.add.reduceat(drawn * hits, starts, axis=1)
        taken = np.cumsum(np.add.reduceat(drawn, starts, axis=1), axis=1)
        found = np.cumsum(good, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(taken > 0, found / taken, 0)
            return np.asarray((good * precision).sum(axis=1) / good.sum(axis=1))

    return score


def _tied(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _f1(rows: Rows) -> Scorer:
    """2tp / (2tp + fp + fn) of the positive class; multiclass: the mean over the classes."""
    codes = [rows.positive] if rows.positive is not None else range(rows.probabilities.shape[1])
    parts = []
    for k in codes:
        hit, guess = rows.y == k, rows.guess == k
        parts.append(((hit & guess).astype(float), hit.astype(float) + guess))

    def score(w: np.ndarray) -> np.ndarray:
        each = []
        for both, either in parts:
            total = w @ either
            each.append(np.where(total > 0, 2 * (w @ both) / np.where(total > 0, total, 1), 0))
        return np.asarray(np.mean(each, axis=0))

    return score


def gain(metric: str, candidate: Rows, served: Rows, confidence: float, seed: int) -> dict[str, float] | None:
    """Scores of both, their difference (positive: the candidate is better), its 95 % interval low … high, and what it is at
    least and at most with the given confidence (one-sided). None when the rows lack a class.
    """
    ours, theirs = scorer(metric, candidate), scorer(metric, served)
    n = len(candidate.y)
    once = np.ones((1, n))
    ours_now, theirs_now = float(ours(once)[0]), float(theirs(once)[0])
    if np.isnan(ours_now) or np.isnan(theirs_now):
        return None
    found = bootstrap(lambda w: ours(w) - theirs(w), n, seed)
    sign = -1.0 if metric == "log_loss" else 1.0
    return {
        "candidate": sign * ours_now,
        "served": sign * theirs_now,
        "gain": ours_now - theirs_now,
        "low": float(np.quantile(found, 0.025)),
        "high": float(np.quantile(found, 0.975)),
        "at_least": float(np.quantile(found, 1 - confidence)),
        "at_most": float(np.quantile(found, confidence)),
    }


def bootstrap(score: Scorer, rows: int, seed: int) -> np.ndarray:
    """The score of 500 draws of that many rows, fewer for very many rows; without draws that lack a class."""
    rng = np.random.default_rng(seed)
    resamples = int(np.clip(_DRAWN // rows, 100, RESAMPLES))
    chunk = max(1, _CELLS // rows)
    found = []
    for start in range(0, resamples, chunk):
        draws = min(chunk, resamples - start)
        w = np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(draws)]).astype(float)
        found.append(score(w))
    values = np.concatenate(found)
    return np.asarray(values[~np.isnan(values)])


def compare(
    metric: str, candidate: Rows, served: Rows, slices: Mapping[str, np.ndarray], confidence: float, seed: int
) -> list[dict[str, Any]]:
    """One entry for all rows, then one a slice (name → truth values, shape [rows]) of at least FEWEST rows."""
    told = []
    for name, inside in {"all": np.ones(len(candidate.y), dtype=bool), **slices}.items():
        rows = np.flatnonzero(inside)
        if len(rows) < FEWEST and name != "all":
            continue
        found = gain(metric, candidate.at(rows), served.at(rows), confidence, seed)
        if found:
            told.append({"slice": name, "rows": len(rows), **found})
    return told
