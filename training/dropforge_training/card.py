"""The model card as facts: how good, how sure, for whom, because of what. Rendered by card_html, kept as JSON beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from dropforge_training import evaluation
from dropforge_training.processing import LabelledPipeline, decide
from dropforge_training.tables import Table

_CONFIDENCE = 0.95
_SMALLEST_SLICE = 30  # rows under which a slice is counted, but not scored: its score would be noise
_MOST_SLICES = 20
_IMPORTANCE_ROWS = 1000
_IMPORTANCE_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Scored:
    """Held-out rows with what the model says. `y`, `guess`: codes, shape [rows]; `probabilities`: [rows, classes]."""

    y: np.ndarray
    guess: np.ndarray
    probabilities: np.ndarray
    positive: int | None

    def at(self, rows: np.ndarray) -> Scored:
        return Scored(self.y[rows], self.guess[rows], self.probabilities[rows], self.positive)


def _measures(metric: str) -> dict[str, Callable[[Scored], float]]:
    """The metrics that get an interval: the tuning metric and three that everybody reads."""

    def scored(name: str) -> Callable[[Scored], float]:
        sign = -1.0 if name == "log_loss" else 1.0
        return lambda s: sign * evaluation.score(name, s.y, s.probabilities, 1 if s.positive is None else s.positive)

    names = dict.fromkeys((metric, "roc_auc", "log_loss"))
    labels: dict[str, Callable[[Scored], float]] = {"accuracy": lambda s: float((s.y == s.guess).mean())}
    return {n: scored(n) for n in names if n not in {"accuracy", "f1"}} | labels


def intervals(scored: Scored, metric: str, seed: int) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals (Efron 1979) over the held-out rows, which are drawn anew with replacement."""
    rng = np.random.default_rng(seed)
    n = len(scored.y)
    classes = scored.probabilities.shape[1]
    measures = _measures(metric)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(int(np.clip(2_000_000 // n, 50, 200))):
        sample = scored.at(rng.integers(0, n, n))
        if len(np.unique(sample.y)) < classes:
            continue  # a rare class was not drawn: nothing to rank it by
        for name, measure in measures.items():
            drawn[name].append(measure(sample))
    tail = 100 * (1 - _CONFIDENCE) / 2
    return {
        name: (float(np.percentile(values, tail)), float(np.percentile(values, 100 - tail)))
        for name, values in drawn.items()
        if values
    }


def confusion(scored: Scored, classes: list[str]) -> dict[str, Any]:
    """Counts by true (rows) and predicted (columns) class."""
    counts = sk.confusion_matrix(scored.y, scored.guess, labels=range(len(classes)))
    return {"classes": classes, "counts": counts.tolist()}


def slices(scored: Scored, groups: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each value of each sensitive column, the most frequent first.

    Binary: how often the positive class is predicted, and the rates of true and false positives; the differences between
    slices are demographic parity and equalised odds (Hardt et al. 2016).
    """
    found: list[dict[str, Any]] = []
    for column in groups.columns:
        values = groups[column].astype(object).where(groups[column].notna(), "(missing)").astype(str).to_numpy()
        names, counts = np.unique(values, return_counts=True)
        for i in np.argsort(-counts, kind="stable")[:_MOST_SLICES]:
            entry: dict[str, Any] = {"column": column, "value": str(names[i]), "rows": int(counts[i])}
            if counts[i] >= _SMALLEST_SLICE:
                entry |= _slice_scores(scored.at(np.flatnonzero(values == names[i])))
            found.append(entry)
    return found


def _slice_scores(part: Scored) -> dict[str, float]:
    scores = {"accuracy": float((part.y == part.guess).mean())}
    if len(np.unique(part.y)) == part.probabilities.shape[1]:
        scores["roc_auc"] = evaluation.score("roc_auc", part.y, part.probabilities, part.positive or 0)
    if part.positive is None:
        return scores
    truth, guess = part.y == part.positive, part.guess == part.positive
    scores["predicted_positive"] = float(guess.mean())
    if truth.any():
        scores["true_positive_rate"] = float(guess[truth].mean())
    if not truth.all():
        scores["false_positive_rate"] = float(guess[~truth].mean())
    return scores


def importance(
    model: LabelledPipeline, rows: Table, metric: str, positive: int | None, seed: int
) -> list[dict[str, Any]]:
    """Permutation importance (Breiman 2001): how much the metric falls when one column is shuffled; the largest first.

    Mean and standard deviation over three shuffles of at most 1,000 held-out rows. Columns that say the same share theirs.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(rows))[:_IMPORTANCE_ROWS]
    x, y = rows.x.iloc[chosen].reset_index(drop=True), rows.y[chosen]
    if len(np.unique(y)) < len(model.classes_):
        return []
    code = 1 if positive is None else positive
    base = evaluation.score(metric, y, model.predict_proba(x), code)
    found = []
    for column in x.columns:
        orders = [rng.permutation(len(x)) for _ in range(_IMPORTANCE_REPEATS)]
        shuffled = pd.concat([x.assign(**{column: x[column].to_numpy()[o]}) for o in orders], ignore_index=True)
        parts = np.split(
            model.predict_proba(shuffled), _IMPORTANCE_REPEATS
        )  # one call: waking a forest costs more than rows
        falls = [base - evaluation.score(metric, y, p, code) for p in parts]
        found.append({"column": column, "mean": float(np.mean(falls)), "std": float(np.std(falls))})
    return sorted(found, key=lambda f: -f["mean"])


def card(
    model: LabelledPipeline,
    rows: Table,
    probabilities: np.ndarray,
    *,
    classes: list[str],
    positive: int | None,
    groups: pd.DataFrame,
    metric: str,
    metrics: dict[str, float],
    importance: list[dict[str, Any]],
    seed: int,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything, as plain values that JSON can hold. `facts`: names, parameters and counts the caller knows."""
    labels = decide(probabilities, model.classes_, model.threshold, model.positive)
    scored = Scored(rows.y, np.searchsorted(model.classes_, labels), probabilities, positive)
    return {
        "format_version": 1,
        **facts,
        "metrics": metrics,
        "intervals": {k: list(v) for k, v in intervals(scored, metric, seed).items()},
        "confidence": _CONFIDENCE,
        "confusion": confusion(scored, classes),
        "slices": slices(scored, groups),
        "importance": {"metric": metric, "columns": importance},
    }
