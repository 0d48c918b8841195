"""Whether columns that only tell when a row was (its date, a running number) are given to the model, where rows are split by time.

Rows to come lie beyond every value of them: what trees learn of the last weeks by such a column they say of all later ones.
Where the newest training rows are predicted better without them they are left out. Their month, weekday and hour stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import held_out
from dropforge_training.models.model_spec import Fold, ModelSpec, predicted, prepared, weighted_fit
from dropforge_training.search import validation_folds

_RANKS = 0.95  # correlation of ranks with the time from which a column is a clock
_ROWS = 20_000  # looked at for that
_ROUNDS = 60
_GAIN = 0.05  # of the score: less may be chance, and is no reason to leave a column out


def without_clock(
    data: TrainingData, candidate: ModelSpec, markers: dict[str, tuple[str, ...]], metric: str, *, seed: int, jobs: int
) -> TrainingData:
    """The data with `clock` filled where a quick fit of a boosted candidate predicts later rows better without; else as it is."""
    clocks = _clocks(data) if candidate.rounds else ()
    if not clocks:
        return data
    changed = replace(data, clock=clocks)
    # The newest fold alone: only it has as much behind it as the last fit will have, a season perhaps.
    score, other = (
        _score(candidate, validation_folds.make(candidate, d, markers, seed)[-1], len(d.classes), metric, seed, jobs)
        for d in (data, changed)
    )
    return changed if other > score + _GAIN * abs(score) else data


def _clocks(data: TrainingData) -> tuple[str, ...]:
    """Numbers and dates whose order is that of time, and beside which another feature is left."""
    rows = data.train
    if rows.time is None:
        return ()
    chosen = np.random.default_rng(0).permutation(len(rows))[:_ROWS]
    clocks = []
    for column in (c for c in data.features if c.name not in data.monotone):
        values = rows.x[column.name].iloc[chosen]
        if pd.api.types.is_datetime64_any_dtype(values):
            values = values.astype("int64").where(values.notna())
        elif not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            continue
        known = values.notna().to_numpy()
        if known.mean() > 0.5 and values.nunique() > 2:
            ranks = spearmanr(values[known].astype(float), rows.time[chosen][known])[0]
            clocks += [column.name] if abs(ranks) > _RANKS else []
    return tuple(clocks) if len(clocks) < len(data.features) else ()


def _score(candidate: ModelSpec, fold: Fold, classes: int, metric: str, seed: int, jobs: int) -> float:
    """Of a quick fit on the fold's validation rows, larger is better."""
    params = {**candidate.quick(), candidate.rounds: _ROUNDS}
    unfitted = prepared(candidate, params, seed=seed, jobs=jobs, classes=classes, monotone=fold.monotone)
    fitted = weighted_fit(unfitted, fold.x, fold.y, fold.weight)
    return held_out.score_fold(metric, fold, predicted(fitted, fold.x_valid))
