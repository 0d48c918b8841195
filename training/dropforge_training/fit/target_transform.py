"""Whether a regression is fitted on its target or on the target's logarithm: what predicts the metric better on rows left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from dropforge.config.settings import TrainingSettings
from dropforge.inference.prediction_intervals import LOG1P, forward, inverse
from dropforge.metrics.weighted_rows import of_numbers
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.evaluate import metrics

_ROWS = 5_000  # of the trial: a second of fitting
_POISSON = "poisson"
_SKEWED = 1.0  # skewness of the target from which the logarithm is worth a trial


def with_transform(data: TrainingData, training: TrainingSettings) -> TrainingData:
    """The data with the transform its target is fitted after, and the mean then taken from it; a classification as it is.

    `auto`: a quick booster is fitted both ways on one half of the training rows (at most 5,000) and scored on the other, in units
    of the target; the logarithm must win. One of Poisson deviance then tells whether members for the mean are worth their time
    (TrainingData.of_the_mean). The held-out rows are not touched. Time and groups part the halves as they part the held-out rows.
    """
    if not data.regression:
        return data
    wanted = training.target_transform
    scores = {} if wanted == "none" else _scores(data, training)
    transform = LOG1P if wanted == LOG1P or (scores and scores[LOG1P] > scores[""]) else ""
    return replace(
        data,
        transform=transform,
        center=float(forward(transform, data.train.y).mean()),
        of_the_mean=bool(transform and scores and scores.get(_POISSON, -math.inf) > scores[LOG1P]),
    )


def _scores(data: TrainingData, training: TrainingSettings) -> dict[str, float]:
    """By transform, and of a mean's logarithm where no number is below zero; none where the target is not skewed."""
    y = data.train.y
    if _skewness(y) < _SKEWED:
        return {}
    chosen = np.random.default_rng(training.seed).permutation(len(y))[:_ROWS]
    x, y = _matrix(data.train.x.iloc[chosen]), y[chosen]
    half = _half(data.train.at(chosen))
    if half.all() or not half.any():
        return {}

    def score(loss: str, fitted: np.ndarray, back: Callable[[np.ndarray], np.ndarray]) -> float:
        booster = HistGradientBoostingRegressor(
            loss=loss, max_iter=80, early_stopping=False, random_state=training.seed
        )
        predicted = back(booster.fit(x[half], fitted[half]).predict(x[~half]))
        return float(metrics.score(training.metric, of_numbers(y[~half], predicted)))

    scores = {t: score("squared_error", forward(t, y), partial(inverse, t)) for t in ("", LOG1P)}
    if data.train.y.min() >= 0:
        scores[_POISSON] = score("poisson", 1 + y, lambda predicted: predicted - 1)
    return scores


def _half(table: Table) -> np.ndarray:
    """Which rows are fitted on, about half of them, shape [rows]: the older ones, or whole groups, where rows are split so."""
    if table.time is not None:
        return np.asarray(table.time <= np.median(table.time))
    return np.arange(len(table)) % 2 == 0 if table.group is None else np.asarray(table.group % np.uint64(2) == 0)


def _skewness(y: np.ndarray) -> float:
    """Third standardised moment."""
    spread = float(y.std())
    return float((((y - y.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0


def _matrix(x: pd.DataFrame) -> np.ndarray:
    """Numbers as they are, everything else as codes: good enough to compare two targets."""
    columns = [
        pd.to_numeric(x[c], errors="coerce").astype("float64")
        if pd.api.types.is_numeric_dtype(x[c])
        else pd.Series(pd.factorize(x[c])[0].astype("float64"), index=x.index)
        for c in x.columns
    ]
    return np.column_stack([np.asarray(c) for c in columns])
