"""The model card of a regression as facts: how far off, how sure, for whom, because of what. Rendered by regression_card_html."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dropforge.messages import Evidence
from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge_training.data.training_table import Table
from dropforge_training.evaluate import metrics
from dropforge_training.explain import shap_values
from dropforge_training.fit import prediction_intervals
from dropforge_training.preprocessing.cleaner import NumberPipeline

_CONFIDENCE = 0.95
_SMALLEST_SLICE = 30  # rows under which a slice is counted, but not scored: its score would be noise
_MOST_SLICES = 20
_MOST_POINTS = 400  # of predicted against observed
_BINS = 30
_GROUPS = 10
_IMPORTANCE_ROWS = 1000
_IMPORTANCE_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the intervals were calibrated on. `residuals`: of the transformed target, `widths`: shape [rows]."""

    residuals: np.ndarray
    widths: np.ndarray


def card(
    model: NumberPipeline,
    rows: Table,
    scored: Rows,
    calibration: Calibration,
    *,
    groups: pd.DataFrame,
    metric: str,
    metrics: dict[str, float],
    importance: list[dict[str, Any]],
    known: Evidence,
    seed: int,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything, as plain values that JSON can hold.

    `groups`: sensitive columns of the held-out rows; `known`: the scores' intervals; `facts`: what the caller knows.
    """
    return {
        "format_version": 2,
        "task": "regression",
        **facts,
        "transform": model.rule.transform,
        "metrics": metrics,
        "intervals": {k: [e.low, e.high] for k, e in known.heldout.items()},
        "cross_validated": {k: [e.value, e.low, e.high] for k, e in known.cross_validated.items()},
        "warning": known.warning,
        "confidence": _CONFIDENCE,
        "predicted_observed": _points(scored, seed),
        "residuals": _histogram(scored.y - scored.guess),
        "by_prediction": _by_prediction(scored),
        "conformal": prediction_intervals.cross_measured(calibration.residuals, calibration.widths, seed, rows.time),
        "slices": slices(scored, groups),
        "differences": [],
        "importance": {"metric": metric, "columns": importance},
        "contributions": shap_values.of(model, rows, None, seed),
    }


def slices(scored: Rows, groups: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each value of each sensitive column, the most frequent first: errors, and the mean error (bias)."""
    matches: list[dict[str, Any]] = []
    for column in groups.columns:
        values = groups[column].astype(object).where(groups[column].notna(), "(missing)").astype(str).to_numpy()
        names, counts = np.unique(values, return_counts=True)
        for i in np.argsort(-counts, kind="stable")[:_MOST_SLICES]:
            entry: dict[str, Any] = {"column": column, "value": str(names[i]), "rows": int(counts[i])}
            if counts[i] >= _SMALLEST_SLICE:
                part = scored.at(np.flatnonzero(values == names[i]))
                entry |= {m: sign(m) * metrics.score(m, part) for m in ("rmse", "mae")}
                entry["mean_error"] = float((part.y - part.guess).mean())
            matches.append(entry)
    return matches


def importance(
    predict: Callable[[pd.DataFrame], np.ndarray], rows: Table, metric: str, seed: int
) -> list[dict[str, Any]]:
    """Permutation importance (Breiman 2001): how much the metric falls when one column is shuffled; the largest first.

    `predict`: numbers of rows, shape [rows]. Mean and standard deviation over three shuffles of at most 1,000 held-out rows.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(rows))[:_IMPORTANCE_ROWS]
    x, y = rows.x.iloc[chosen].reset_index(drop=True), rows.y[chosen]
    base = metrics.score(metric, of_numbers(y, predict(x)))
    matches = []
    for column in x.columns:
        orders = [rng.permutation(len(x)) for _ in range(_IMPORTANCE_REPEATS)]
        shuffled = pd.concat([x.assign(**{column: x[column].to_numpy()[o]}) for o in orders], ignore_index=True)
        parts = np.split(predict(shuffled), _IMPORTANCE_REPEATS)  # one call: waking a forest costs more than rows
        falls = [base - metrics.score(metric, of_numbers(y, p)) for p in parts]
        matches.append({"column": column, "mean": float(np.mean(falls)), "std": float(np.std(falls))})
    return sorted(matches, key=lambda f: -f["mean"])


def _points(scored: Rows, seed: int) -> list[list[float]]:
    """Predicted and observed number of a random sample of rows."""
    chosen = np.random.default_rng(seed).permutation(len(scored.y))[:_MOST_POINTS]
    return [[float(f"{p:.6g}"), float(f"{o:.6g}")] for p, o in zip(scored.guess[chosen], scored.y[chosen], strict=True)]


def _histogram(residuals: np.ndarray) -> dict[str, Any]:
    """Counts of residuals between their 1st and 99th percentile; what lies beyond is counted at the ends."""
    low, high = (float(q) for q in np.quantile(residuals, (0.01, 0.99)))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(residuals, low, high), _BINS, (low, high))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _by_prediction(scored: Rows) -> list[dict[str, float]]:
    """Ten groups of equal size by predicted number: mean predicted, mean observed, mean absolute error."""
    order = np.argsort(scored.guess, kind="stable")
    return [
        {
            "rows": len(part),
            "predicted": float(scored.guess[part].mean()),
            "observed": float(scored.y[part].mean()),
            "mae": float(np.abs(scored.y[part] - scored.guess[part]).mean()),
        }
        for part in np.array_split(order, min(_GROUPS, len(order)))
    ]
