"""Exact contributions of columns to single predictions of boosted trees (TreeSHAP, Lundberg et al. 2020, as XGBoost computes it)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import xgboost
from sklearn.compose import ColumnTransformer

from dropforge_training.data.training_table import Table
from dropforge_training.export.example_rows import SHARED, coarse
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline

_ROWS = 300  # at most: as many as the time allows
_FEWEST_ROWS = 10
_COLUMNS = 8
_EXAMPLES = 3
_LARGEST = 6


def of(
    model: LabelledPipeline | NumberPipeline, rows: Table, positive: int | None, seed: int, seconds: float
) -> dict[str, Any] | None:
    """Contributions in log-odds (of a regression in units of its transformed target) on a sample of rows.

    None for a model or preprocessor they cannot be read from.

    A one-hot column's contributions are summed into its source column. Binary: towards the positive class; multiclass: the
    mean of the absolute contributions over the classes, without examples. seconds: that it may take, about.
    """
    cleaner, preprocessor, estimator = (step for _, step in model.pipeline.steps)
    if not isinstance(estimator, xgboost.XGBClassifier | xgboost.XGBRegressor) or not isinstance(
        preprocessor, ColumnTransformer
    ):
        return None
    source = matrix_sources(cleaner, preprocessor)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:_ROWS]
    x = rows.x.iloc[chosen].reset_index(drop=True)
    clean = cleaner.transform(x)
    matrix = np.asarray(preprocessor.transform(clean), dtype=np.float32)
    if len(source) != matrix.shape[1]:
        return None
    raw = _within(estimator.get_booster(), matrix, seconds)
    chosen, x, clean = chosen[: len(raw)], x.iloc[: len(raw)], clean.iloc[: len(raw)]
    names = list(dict.fromkeys(source))
    index = np.array([names.index(s) for s in source])
    summed = np.stack([raw[..., :-1][..., index == i].sum(axis=-1) for i in range(len(names))], axis=-1)
    sign = -1.0 if positive == 0 else 1.0
    strength = np.abs(summed).mean(axis=tuple(range(summed.ndim - 1)))
    order = [int(i) for i in np.argsort(-strength)]
    document: dict[str, Any] = {
        "rows": len(chosen),
        "columns": [{"column": names[i], "mean_absolute": float(strength[i])} for i in order],
    }
    if summed.ndim == 2:
        summed, bias = sign * summed, sign * float(raw[0, -1])
        bias += model.rule.center if isinstance(model, NumberPipeline) else 0.0
        document["base"] = bias
        document["beeswarm"] = [_beeswarm(names[i], summed[:, i], _given(clean, x, names[i])) for i in order[:_COLUMNS]]
        shown = x.assign(**{n: clean[n] for n in names if n not in x.columns})  # days between two dates
        document["examples"] = _examples(summed, bias, names, shown, model, rows.y[chosen])
    return document


def _given(clean: Any, x: Any, name: str) -> np.ndarray:
    """A column's values as the model gets them; of one that only its derived columns use as it came."""
    return np.asarray(clean[name] if name in clean else x[name].astype("int64").where(x[name].notna()))


def _within(booster: xgboost.Booster, matrix: np.ndarray, seconds: float) -> np.ndarray:
    """Contributions of the first rows, as many as `seconds` allow by what the first few take, and those few at least."""
    started = time.monotonic()
    first = booster.predict(xgboost.DMatrix(matrix[:_FEWEST_ROWS]), pred_contribs=True)
    taken = time.monotonic() - started
    more = int(len(first) * max(0.0, seconds / max(taken, 1e-6) - 1))
    if more < 1 or len(matrix) <= len(first):
        return np.asarray(first)
    rest = booster.predict(xgboost.DMatrix(matrix[len(first) : len(first) + more]), pred_contribs=True)
    return np.concatenate([first, rest])


def matrix_sources(cleaner: Any, preprocessor: ColumnTransformer) -> list[str]:
    """The source column of every column of the matrix; of days between two dates their own name."""
    origin = {d.name: d.sources[0] for d in cleaner.derived if len(d.sources) == 1}
    matches: list[str] = []
    for name, step, columns in preprocessor.transformers_:
        if name == "remainder":
            continue
        wanted = [[*cleaner.numbers, *cleaner.categories][i] for i in columns]
        wanted = [origin.get(c, c) for c in wanted]
        sizes = [len(c) for c in step.categories_] if hasattr(step, "categories_") else [1] * len(wanted)
        matches += [c for c, size in zip(wanted, sizes, strict=True) for _ in range(size)]
    return matches


def _beeswarm(name: str, contributions: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Points of one column: contribution, and where its value lies between the smallest (0) and largest (1); null: no number."""
    if values.dtype == object:
        shade: list[float | None] = [None] * len(values)
    else:
        ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") / max(1, len(values) - 1)
        shade = [None if np.isnan(v) else round(float(r), 2) for v, r in zip(values, ranks, strict=True)]
    return {
        "column": name,
        "points": [[round(float(c), 4), s] for c, s in zip(contributions, shade, strict=True)],
    }


def _examples(
    summed: np.ndarray,
    bias: float,
    names: list[str],
    x: Any,
    model: LabelledPipeline | NumberPipeline,
    y: np.ndarray,
) -> list[dict[str, Any]]:
    """The surest yes, the most doubtful and the surest no of the sample, with what moved them most; of a regression the largest,
    the middle and the smallest prediction. y: codes or numbers, shape [rows]."""
    margin = summed.sum(axis=1) + bias
    ranked = np.argsort(-margin)
    number = isinstance(model, NumberPipeline)
    middle = int(ranked[len(ranked) // 2]) if number else int(np.argmin(np.abs(margin)))
    picked = [int(ranked[0]), middle, int(ranked[-1])]
    predicted = model.predict(x) if isinstance(model, NumberPipeline) else _chances(model, x)
    messages = []
    for i in dict.fromkeys(picked):
        largest = np.argsort(-np.abs(summed[i]))[:_LARGEST]
        messages.append(
            {
                "prediction" if number else "probability": float(predicted[i]),
                "label": f"{y[i]:g}" if isinstance(model, NumberPipeline) else str(model.classes_[y[i]]),
                "margin": float(margin[i]),
                "contributions": [
                    {"column": names[k], "value": _shown(x[names[k]], i), "contribution": float(summed[i, k])}
                    for k in largest
                ],
                "rest": float(np.delete(summed[i], largest).sum()),
            }
        )
    return messages


def _chances(model: LabelledPipeline, x: Any) -> np.ndarray:
    return np.asarray(model.predict_proba(x)[:, list(model.classes_).index(model.positive)])


def _shown(column: Any, i: int) -> str:
    """A value as the card shows it: coarse, and a text only when many rows have it, so that no person can be told by it."""
    value = column.iloc[i]
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "(missing)"
    if isinstance(value, float):
        return f"{coarse(value):g}"
    return str(value) if int((column == value).sum()) >= SHARED else "(rare)"
