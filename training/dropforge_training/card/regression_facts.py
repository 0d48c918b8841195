"""The model card of a regression as facts: how far off, how sure, for whom, because of what. Rendered by regression_card_html."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dropforge.inference.prediction_intervals import interval_scale
from dropforge.messages import Evidence
from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge_training.card.card_facts import Evaluation, shared
from dropforge_training.data.training_table import Table
from dropforge_training.evaluate import metrics, permutation_importance
from dropforge_training.explain import shap_values
from dropforge_training.fit import prediction_intervals
from dropforge_training.preprocessing.cleaner import NumberPipeline

_SMALLEST_SLICE = 30  # rows under which a slice is counted, but not scored: its score would be noise
_MOST_SLICES = 20
_MOST_POINTS = 400  # of predicted against observed
_BINS = 30
_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the intervals were calibrated on. `residuals`: on the scale of the intervals, `widths`: shape [rows]."""

    residuals: np.ndarray
    widths: np.ndarray


def card(
    model: NumberPipeline, evaluation: Evaluation, calibration: Calibration, known: Evidence, facts: dict[str, Any]
) -> dict[str, Any]:
    """Everything, as plain values that JSON can hold. `known`: the scores' intervals; `facts`: what the caller knows."""
    rows, scored, seed = evaluation.data.heldout, evaluation.scored, evaluation.seed
    return {
        "format_version": 2,
        "task": "regression",
        **facts,
        "transform": model.rule.transform,
        "interval_transform": interval_scale(model.rule),
        **shared(evaluation, known),
        "predicted_observed": _points(scored, seed),
        "residuals": _histogram(scored.y - scored.guess),
        "by_prediction": _by_prediction(scored),
        "conformal": prediction_intervals.cross_measured(calibration.residuals, calibration.widths, seed, rows.time),
        "slices": slices(scored, evaluation.data.groups),
        "differences": [],
        "contributions": shap_values.of(model, rows, None, seed, evaluation.seconds),
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


def importance(model: NumberPipeline, rows: Table, metric: str, seed: int, seconds: float) -> list[dict[str, Any]]:
    """Of the raw columns on held-out rows, see permutation_importance; the sample is random."""
    places = np.random.default_rng(seed).permutation(len(rows))

    def draw(most: int) -> tuple[pd.DataFrame, Callable[[np.ndarray], float]]:
        chosen = places[:most]
        y = rows.y[chosen]
        return rows.x.iloc[chosen].reset_index(drop=True), lambda numbers: metrics.score(metric, of_numbers(y, numbers))

    return permutation_importance.importance(model, draw, seed=seed, seconds=seconds)


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
