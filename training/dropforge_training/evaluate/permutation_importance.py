"""Permutation importance (Breiman 2001): how much a metric falls when the values of one column are shuffled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer

from dropforge_training.explain.shap_values import matrix_sources
from dropforge_training.models.model_spec import predicted
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline, TableCleaner

_ROWS = 1000  # of the sample
_FEWEST_ROWS = 50
_REPEATS = 3

# Draws about so many rows, and gives with them the score of what a model predicts for them, larger is better.
Draw = Callable[[int], tuple[pd.DataFrame, Callable[[np.ndarray], float]]]


def importance(
    model: LabelledPipeline | NumberPipeline, draw: Draw, *, seed: int, seconds: float
) -> list[dict[str, Any]]:
    """By column mean and standard deviation of the fall over three shuffles, the largest first.

    About 1,000 rows, or as many as fit into `seconds` (50 at least, and then one shuffle): a wide table, or a model of many trees,
    takes minutes otherwise. Columns that say the same share theirs.
    """
    x, score = draw(_ROWS)
    shuffler = _Shuffler(model, x)
    started = time.monotonic()
    base = score(shuffler.output([]))
    one = time.monotonic() - started
    repeats, whole = _REPEATS, _REPEATS * len(x.columns) * one
    if whole > seconds and len(x) > _FEWEST_ROWS:
        x, score = draw(max(_FEWEST_ROWS, int(len(x) * seconds / whole)))
        repeats = _REPEATS if len(x) > _FEWEST_ROWS else 1
        shuffler = _Shuffler(model, x)
        base = score(shuffler.output([]))
    rng = np.random.default_rng(seed)
    matches = []
    for column in x.columns:
        orders = [rng.permutation(len(x)) for _ in range(repeats)]
        # one call: waking a forest costs more than rows
        falls = [base - score(part) for part in np.split(shuffler.output([(column, o) for o in orders]), repeats)]
        matches.append({"column": column, "mean": float(np.mean(falls)), "std": float(np.std(falls))})
    return sorted(matches, key=lambda f: -f["mean"])


class _Shuffler:
    """What a model predicts for rows with one column shuffled.

    Only the columns of the model's matrix that come from the shuffled one are changed: cleaning all columns again for each of them
    would take time by the square of their number.
    """

    def __init__(self, model: LabelledPipeline | NumberPipeline, x: pd.DataFrame) -> None:
        self._model = model
        self._x = x
        self._estimator = model.pipeline.steps[-1][1]
        self._matrix: np.ndarray | None = None
        self._places: dict[str, np.ndarray] = {}
        steps = [step for _, step in model.pipeline.steps[:-1]]
        if len(steps) == 2 and type(steps[0]) is TableCleaner and isinstance(steps[1], ColumnTransformer):
            self._by_matrix(*steps)

    def _by_matrix(self, cleaner: TableCleaner, preprocessor: ColumnTransformer) -> None:
        sources = matrix_sources(cleaner, preprocessor)
        matrix = np.asarray(preprocessor.transform(cleaner.transform(self._x)), dtype=np.float32)
        if len(sources) != matrix.shape[1]:
            return
        self._matrix = matrix
        # days between two dates have two sources: these columns are cleaned again
        several = {s for d in cleaner.derived if len(d.sources) > 1 for s in d.sources}
        for column in self._x.columns:
            if column not in several:
                self._places[column] = np.flatnonzero(np.array(sources) == column)

    def output(self, shuffles: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
        """Of the rows by each shuffle (column, order), one after the other; without any, of the rows as they are."""
        if self._matrix is not None and all(column in self._places for column, _ in shuffles):
            parts = []
            for column, order in shuffles:
                part = self._matrix.copy()
                part[:, self._places[column]] = self._matrix[np.ix_(order, self._places[column])]
                parts.append(part)
            raw = predicted(self._estimator, np.concatenate(parts) if parts else self._matrix)
        else:
            frames = [self._x.assign(**{c: self._x[c].to_numpy()[o]}) for c, o in shuffles]
            raw = self._model.raw(pd.concat(frames, ignore_index=True) if frames else self._x)
        return self._model.of_raw(np.asarray(raw, dtype=np.float64))
