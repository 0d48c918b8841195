"""The last fit with the tuned parameters, and the same fit without one fold at a time: what the model says of rows it does
not know, for calibration and the threshold. The held-out rows are not touched."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from dropforge.serving.calibration import calibrate
from dropforge.settings import Settings
from dropforge_training import calibration, folds, thresholds
from dropforge_training.interruption import Interrupted
from dropforge_training.processing import LabelledPipeline
from dropforge_training.tables import BUCKETS, Table, TrainingData


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model, and what was learnt out of fold: why this calibration and this threshold."""

    model: LabelledPipeline
    calibration: calibration.Choice
    threshold_reason: str


def fit(
    refit: Callable[[Table], Pipeline],
    data: TrainingData,
    settings: Settings,
    *,
    seed: int,
    log: logging.Logger,
    stop: Callable[[], bool],
) -> Fitted:
    """Fit on all training rows; calibrate and choose the threshold on out-of-fold rows.

    `refit` fits the whole pipeline with the tuned parameters on the rows given; it is called once a fold and once for all
    rows. Raises Interrupted when `stop` said so.
    """
    y, probabilities = _out_of_fold(refit, data, seed, stop)
    choice = calibration.choose(settings.training.calibration, y, probabilities, seed)
    served = calibrate(choice.calibration, probabilities)
    at, reason = 0.5, "multiclass: the most probable class"
    if data.positive:
        positive = data.classes.index(data.positive)
        at, reason = thresholds.choose(settings.serving, y == positive, served[:, positive])
    log.info("calibration and threshold chosen", extra={"calibration": choice.reason, "threshold": f"{at:g}: {reason}"})
    model = LabelledPipeline(refit(data.train), data.classes, at, data.positive, choice.calibration)
    return Fitted(model, choice, reason)


def _out_of_fold(
    refit: Callable[[Table], Pipeline], data: TrainingData, seed: int, stop: Callable[[], bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and probabilities of rows that the model saying them was not fitted on."""
    rows, classes = data.train, len(data.classes)
    fold, asked = _fold_of(rows, classes, seed)
    told, codes = [np.empty((0, classes))], [np.empty(0, dtype=np.int64)]
    for f in range(asked):
        if stop():
            raise Interrupted
        outside = _side(rows, fold == f)
        told.append(np.asarray(refit(_side(rows, fold != f)).predict_proba(outside.x), dtype=np.float64))
        codes.append(outside.y)
    return np.concatenate(codes), np.concatenate(told)


def _fold_of(rows: Table, classes: int, seed: int) -> tuple[np.ndarray, int]:
    """Fold of each row, and how many folds are worth a fit. Equal rows share a fold: a copy would be no unknown row."""
    k = 5 if len(rows) < 10_000 else 3
    asked = k if len(rows) < 50_000 else 1  # a third of many rows is enough
    if folds.fewest_different(rows) < 2:
        return np.zeros(len(rows), dtype=int), 0
    # the held-out share uses the hash modulo this; what is left of it is independent
    fold = ((rows.row // np.uint64(BUCKETS)) % np.uint64(k)).astype(int)
    inside = all((np.bincount(rows.y[fold != f], minlength=classes) > 0).all() for f in range(k))
    if not inside or len(np.unique(fold)) < k:  # a rare class sits in one fold
        k = min(k, folds.fewest_different(rows))
        fold, asked = folds.stratified(rows, k, seed), min(asked, k)
    return fold, asked


def _side(rows: Table, side: np.ndarray) -> Table:
    return Table(rows.x[side].reset_index(drop=True), rows.y[side], rows.row[side])
