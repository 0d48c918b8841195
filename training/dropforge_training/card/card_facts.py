"""The model card as facts: how good, how sure, for whom, because of what. Rendered by card_html, kept as JSON beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from dropforge.messages import Estimate, Evidence
from dropforge.metrics import label, sign
from dropforge.metrics.weighted_rows import Rows
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.evaluate import curves, held_out, metrics, paired_bootstrap, permutation_importance
from dropforge_training.explain import shap_values
from dropforge_training.fit import conformal
from dropforge_training.preprocessing.cleaner import LabelledPipeline

_CONFIDENCE = 0.95
_SMALLEST_SLICE = 30  # rows under which a slice is counted, but not scored: its score would be noise
_MOST_SLICES = 20
_FEW_CLASSES = 4  # up to which the bootstrap is cheap
_FEWER_DRAWS = 200
_RARE = 30  # rows of a rare class in the sample, as far as there are so many


def intervals(
    scored: Rows, names: Iterable[str], seed: int, most: int = paired_bootstrap.RESAMPLES
) -> dict[str, Estimate]:
    """Each metric with its 95 % percentile bootstrap interval (Efron 1979) over the rows, drawn anew with replacement.

    Metrics of which no draw has a value, such as those of rows of one class, are left out.
    """
    tail = (1 - _CONFIDENCE) / 2
    matches = {}
    for name in names:
        drawn = paired_bootstrap.bootstrap(metrics.scorer(name, scored), len(scored.y), seed, most)
        value = sign(name) * metrics.score(name, scored)
        if len(drawn) and math.isfinite(value):
            low, high = sorted(sign(name) * float(np.quantile(drawn, q)) for q in (tail, 1 - tail))
            matches[name] = Estimate(value=value, low=low, high=high)
    return matches


def evidence(scored: Rows, out_of_fold: Rows, names: Sequence[str], seed: int) -> Evidence:
    """How well the model's scores are known: on the held-out rows, and cross-validated on the training rows' folds."""
    classes = scored.probabilities.shape[1]
    regression = classes == 1
    measured = metrics.tuned("regression" if regression else "classification")
    most = paired_bootstrap.RESAMPLES if classes <= _FEW_CLASSES else _FEWER_DRAWS
    crossed = {}
    if len(out_of_fold.y) and len(np.unique(out_of_fold.y)) > 1:
        crossed = intervals(out_of_fold, names, seed, _FEWER_DRAWS)
    return Evidence(
        rarest_class_rows=len(scored.y) if regression else int(np.bincount(scored.y, minlength=classes).min()),
        heldout=intervals(scored, dict.fromkeys((*names, *measured)), seed, most),
        cross_validated=crossed,
    )


def confusion(scored: Rows, classes: list[str]) -> dict[str, Any]:
    """Counts by true (rows) and predicted (columns) class."""
    counts = sk.confusion_matrix(scored.y, scored.guess, labels=range(len(classes)))
    return {"classes": classes, "counts": counts.tolist()}


def slices(scored: Rows, groups: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each value of each sensitive column, the most frequent first.

    Binary: how often the positive class is predicted, and the rates of true and false positives; the differences between
    slices are demographic parity and equalised odds (Hardt et al. 2016).
    """
    matches: list[dict[str, Any]] = []
    for column in groups.columns:
        values = groups[column].astype(object).where(groups[column].notna(), "(missing)").astype(str).to_numpy()
        names, counts = np.unique(values, return_counts=True)
        for i in np.argsort(-counts, kind="stable")[:_MOST_SLICES]:
            entry: dict[str, Any] = {"column": column, "value": str(names[i]), "rows": int(counts[i])}
            if counts[i] >= _SMALLEST_SLICE:
                entry |= _slice_scores(scored.at(np.flatnonzero(values == names[i])))
            matches.append(entry)
    return matches


def _slice_scores(part: Rows) -> dict[str, float]:
    scores = {"accuracy": float((part.y == part.guess).mean())}
    if len(np.unique(part.y)) == part.probabilities.shape[1]:
        scores["roc_auc"] = held_out.score("roc_auc", part.y, part.probabilities, part.positive or 0)
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
    model: LabelledPipeline, rows: Table, metric: str, positive: int | None, seed: int, seconds: float
) -> list[dict[str, Any]]:
    """Of the raw columns on held-out rows, see permutation_importance; the sample is stratified by class."""

    def draw(most: int) -> tuple[pd.DataFrame, Callable[[np.ndarray], float]]:
        chosen, weights = _sample(rows.y, most, np.random.default_rng(seed))
        y = rows.y[chosen]

        def score(p: np.ndarray) -> float:
            return metrics.score(metric, Rows(y, p.argmax(axis=1), p, positive), weights)

        return rows.x.iloc[chosen].reset_index(drop=True), score

    return permutation_importance.importance(model, draw, seed=seed, seconds=seconds)


def _sample(y: np.ndarray, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places of about `most` rows in which every class has its share and no fewer than _RARE rows, and their weights.

    A row of a class of which more were taken than its share weighs less in proportion, so that weighted scores are those of
    all rows.
    """
    if len(y) <= most:
        return np.arange(len(y)), np.ones(len(y))
    places, weights = [], []
    for code in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == code))
        taken = rows[: max(min(_RARE, len(rows)), round(most * len(rows) / len(y)))]
        places.append(taken)
        weights.append(np.full(len(taken), len(rows) / len(taken)))
    return np.concatenate(places), np.concatenate(weights)


def differences(differing: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each sensitive column with two scored slices: how far apart its values are treated (binary).

    Demographic parity difference: largest minus smallest share predicted positive. Equalised odds difference: the larger of
    the ranges of true and false positive rates (Hardt et al. 2016; as Fairlearn defines both).
    """
    messages = []
    for column in dict.fromkeys(s["column"] for s in differing):
        parts = [s for s in differing if s["column"] == column and "predicted_positive" in s]
        if len(parts) < 2:
            continue
        tpr, fpr = _range(parts, "true_positive_rate"), _range(parts, "false_positive_rate")
        messages.append(
            {
                "column": column,
                "values": len(parts),
                "demographic_parity_difference": _range(parts, "predicted_positive"),
                "equalised_odds_difference": max(tpr, fpr),
                "accuracy_difference": _range(parts, "accuracy"),
            }
        )
    return messages


def _range(parts: list[dict[str, Any]], name: str) -> float:
    values = [p[name] for p in parts if name in p]
    return float(max(values) - min(values)) if len(values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's predictions of the held-out rows (`scored`) and its scores.

    `metric`: that of the tuning; `metrics`: all of them by name; `importance`: as `importance` of this module gives it;
    `seconds`: that contributions to single predictions may take.
    """

    data: TrainingData
    scored: Rows
    metric: str
    metrics: dict[str, float]
    importance: list[dict[str, Any]]
    seed: int
    seconds: float


def shared(evaluation: Evaluation, known: Evidence) -> dict[str, Any]:
    """Facts that cards of every task have. `known`: the scores' intervals."""
    return {
        "metrics": evaluation.metrics,
        "intervals": {k: [e.low, e.high] for k, e in known.heldout.items()},
        "cross_validated": {k: [e.value, e.low, e.high] for k, e in known.cross_validated.items()},
        "warning": known.warning,
        "confidence": _CONFIDENCE,
        "importance": {"metric": evaluation.metric, "columns": evaluation.importance},
    }


def card(
    model: LabelledPipeline,
    evaluation: Evaluation,
    raw: np.ndarray,
    served_probabilities: np.ndarray,
    known: Evidence,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything, as plain values that JSON can hold.

    `raw`: probabilities before calibration; `served_probabilities`: as the bundle gives them; `known`: the scores'
    intervals; `facts`: what the caller knows.
    """
    rows, scored, classes = evaluation.data.heldout, evaluation.scored, evaluation.data.classes
    result = slices(scored, evaluation.data.groups)
    after = curves.reliability(scored.y, scored.probabilities, scored.positive)
    return {
        "format_version": 2,
        **facts,
        "classes": classes,
        "positive": model.positive,
        "threshold": model.threshold,
        **shared(evaluation, known),
        "confusion": confusion(scored, classes),
        "curves": curves.ranking(scored, classes),
        "reliability": {
            "before": curves.reliability(scored.y, raw, scored.positive) if model.calibration else after,
            "after": after,
        },
        "conformal": conformal.cross_measured(scored.y, served_probabilities, evaluation.seed, rows.time),
        "slices": result,
        "differences": differences(result),
        "contributions": shap_values.of(model, rows, scored.positive, evaluation.seed, evaluation.seconds),
    }


def logged(card: dict[str, Any]) -> dict[str, float]:
    """The card's figures as MLflow metrics, beside `heldout.{metric}`."""
    document: dict[str, float] = {}
    for name, (low, high) in card["intervals"].items():
        document |= {f"heldout.{label(name)}.low": low, f"heldout.{label(name)}.high": high}
    for c in card["conformal"]:
        document |= {f"conformal.{c['coverage']:g}.{k}": c[k] for k in ("covered", "mean_size", "mean_width") if k in c}
    for d in card["differences"]:
        column = re.sub(r"[^\w.\- /]", "_", d["column"])
        document |= {f"fairness.{column}.{k}": d[k] for k in d if k.endswith("_difference")}
    everything = next((s for s in card["comparison"]["slices"] if s["slice"] == "all"), None)
    if everything:
        document |= {f"gate.{k}": everything[k] for k in ("served", "gain", "low", "high", "at_least")}
    return document
