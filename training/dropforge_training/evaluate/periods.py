"""How a model's score moves from period to period, where rows are split by time.

The first periods are blocks of the training rows, each predicted by a fit of the rows before it (folds.walk_forward); the last
ones are of the held-out rows, predicted by the model that is served.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import Rows
from dropforge_training.data import holdout_split
from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import metrics, paired_bootstrap

_FEWEST = 30  # rows of a period: the score of fewer is noise
_PERIODS = 5  # of each of the two parts
_DRAWS = 200


def scores(
    metric: str, data: TrainingData, heldout: Rows, out_of_fold: Rows, places: np.ndarray, seed: int
) -> dict[str, Any]:
    """The periods in order of time, each with its score and 95 % bootstrap interval; empty where rows are not split by time.

    places: of the rows of `out_of_fold` among the training rows.
    """
    if data.heldout.time is None or data.train.time is None:
        return {}
    dates = _holds_dates(data)
    before = _periods(metric, out_of_fold, data.train.time[places], seed, dates=dates)
    after = _periods(metric, heldout, data.heldout.time, seed, dates=dates)
    entries = [{**p, "held_out": False} for p in before] + [{**p, "held_out": True} for p in after]
    return {"metric": metric, "column": data.split.column, "entries": entries}


def rule(data: TrainingData) -> dict[str, Any]:
    """Which rows were held out, in words."""
    column, current, every = data.split.column, len(data.heldout), len(data.heldout) + len(data.train)
    if data.split.by == "time":
        words = f"the newest rows: {column} from {holdout_split.moment(data.split.start, dates=_holds_dates(data))} on"
    elif data.heldout.group is not None and data.train.group is not None:
        groups = len(np.unique(data.heldout.group)), len(np.unique(data.train.group))
        words = f"{groups[0]:,} of {sum(groups):,} groups of {column}, whole"
    else:
        words = "a random part, the same rows in every run"
    return {"by": data.split.by, "column": column, "words": words, "share": current / every, "undated": data.undated}


def _holds_dates(data: TrainingData) -> bool:
    column = data.heldout_raw[data.split.column] if data.heldout_raw is not None else None
    return column is not None and column.dtype.kind == "M"


def _periods(metric: str, rows: Rows, time: np.ndarray, seed: int, *, dates: bool) -> list[dict[str, Any]]:
    """At most five periods of about equal size and of at least 30 rows; rows of one moment are in one period."""
    if not len(time):
        return []
    wanted = int(np.clip(len(time) // _FEWEST, 1, _PERIODS))
    moments, counts = np.unique(time, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]) / len(time)
    period = np.minimum((before * wanted).astype(int), wanted - 1)[np.searchsorted(moments, time)]
    matches = []
    for p in np.unique(period):
        at = np.flatnonzero(period == p)
        part = rows.at(at)
        drawn = paired_bootstrap.bootstrap(metrics.scorer(metric, part), len(at), seed, _DRAWS)
        value = metrics.score(metric, part)
        if not np.isfinite(value) or len(drawn) < 2:
            continue
        low, high = sorted(sign(metric) * float(np.quantile(drawn, q)) for q in (0.025, 0.975))
        first, last = (holdout_split.moment(float(t), dates=dates) for t in (time[at].min(), time[at].max()))
        matches.append(
            {"from": first, "to": last, "rows": len(at), "score": sign(metric) * value, "low": low, "high": high}
        )
    return matches
