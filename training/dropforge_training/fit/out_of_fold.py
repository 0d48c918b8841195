"""The fit with the tuned parameters without one fold at a time: what the model says of rows it does not know, for calibration
and the threshold. The held-out rows are not touched."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.pipeline import Pipeline

from dropforge.config.settings import Settings
from dropforge.inference.bundle_manifest import Regression
from dropforge.inference.calibrate import calibrate
from dropforge.inference.prediction_intervals import values
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge_training.data.holdout_split import BUCKETS
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.fit import calibration, decision_threshold, prediction_intervals
from dropforge_training.fit.refit import Refit
from dropforge_training.interruption import Interrupted
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline, decide
from dropforge_training.search import validation_folds

# Places of rows among the training rows, and what a model not fitted on them predicts, as model_spec.predicted gives it.
Outside = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model, and what was learnt out of fold: why this calibration and this threshold."""

    model: LabelledPipeline
    calibration: calibration.Choice
    threshold_reason: str
    out_of_fold: Rows  # what the model would serve for them; no rows where the budget, or the data, allowed no such fit
    places: np.ndarray  # of these rows among the training rows


@dataclass(frozen=True, slots=True)
class FittedNumbers:
    """A regression's model; `width`: predicts the logarithm of a row's width from the same columns, None: all rows are alike."""

    model: NumberPipeline
    width: Pipeline | None
    out_of_fold: Rows  # what the model would serve for them
    places: np.ndarray  # of these rows among the training rows


@dataclass(frozen=True, slots=True)
class FitOptions:
    """`allows`: whether time is left for another out-of-fold fit after so many, of which the longest took so many seconds. `known`:
    such rows with their predictions, in the place of fits. `stop`: asked between fits.
    """

    seed: int
    log: logging.Logger
    stop: Callable[[], bool] = lambda: False
    allows: Callable[[int, float], bool] = lambda _fits, _seconds: True
    known: Outside | None = None


def fit(
    refit: Refit, pipeline: Pipeline, data: TrainingData, settings: Settings, options: FitOptions
) -> Fitted | FittedNumbers:
    """Learn on out-of-fold rows how the model is to be served: see _labelled and _numbers.

    `refit`: of the tuned parameters; `pipeline`: what it fitted on all training rows.
    What settings.yaml asks for by name (a threshold rule, a calibration) gets one such fit in any case.
    Raises Interrupted when `stop` said so.
    """
    needed = not data.regression and (
        settings.training.calibration not in {"auto", "none"} or isinstance(settings.serving.threshold, str)
    )
    known = options.known
    if known is None:
        allows = options.allows
        known = _outside(refit, data, options.seed, options.stop, lambda n, s: (needed and n == 0) or allows(n, s))
    finish = _numbers if data.regression else _labelled
    return finish(pipeline, data, settings, known, options)


def _labelled(
    pipeline: Pipeline, data: TrainingData, settings: Settings, known: Outside, options: FitOptions
) -> Fitted:
    """Calibration and threshold, chosen on training rows by their out-of-fold probabilities."""
    places, probabilities = known
    y = data.train.y[places]
    choice = calibration.choose(settings.training.calibration, y, probabilities, options.seed)
    served = calibrate(choice.calibration, probabilities)
    at, reason = 0.5, "multiclass: the most probable class"
    if data.positive:
        positive = data.classes.index(data.positive)
        at, reason = decision_threshold.choose(settings.serving, y == positive, served[:, positive])
    chosen = {"calibration": choice.reason, "threshold": f"{at:g}: {reason}"}
    options.log.info("calibration and threshold chosen", extra=chosen)
    model = LabelledPipeline(pipeline, data.classes, at, data.positive, choice.calibration)
    labels = decide(served, model.classes_, at, data.positive)
    guess = np.searchsorted(model.classes_, labels) if len(y) else np.empty(0, dtype=np.int64)
    positive_code = data.classes.index(data.positive) if data.positive else None
    return Fitted(model, choice, reason, Rows(y, guess, served, positive_code, data.train.weights_at(places)), places)


def _numbers(
    pipeline: Pipeline, data: TrainingData, settings: Settings, known: Outside, options: FitOptions
) -> FittedNumbers:
    """A model of how far off a regression is, fitted on the residuals of training rows out of fold."""
    places, output = known
    y = data.train.y[places]
    prediction = settings.serving.prediction
    rule = Regression(data.transform, data.center, minimum=prediction.minimum, maximum=prediction.maximum)
    matrix = np.empty((0, 0), dtype=np.float32)
    if len(y):  # the cleaner and encoder stay as fitted
        matrix = np.asarray(pipeline[:-1].transform(data.train.x.iloc[places]), dtype=np.float32)
        rule = prediction_intervals.chosen_scale(rule, matrix, y, output[:, 0], options.seed)
    sizes = prediction_intervals.log_widths(prediction_intervals.residuals(rule, y, output[:, 0]))
    width = None
    if len(sizes):
        width = Pipeline([*pipeline.steps[:-1], ("estimator", prediction_intervals.width_model(options.seed))])
        width.steps[-1][1].fit(matrix, sizes)
        rule = replace(rule, width_range=(float(sizes.min()), float(sizes.max())))
    options.log.info("out-of-fold residuals", extra={"rows": len(places), "widths": width is not None})
    return FittedNumbers(
        NumberPipeline(pipeline, rule),
        width,
        of_numbers(y, values(rule, output[:, 0]), data.train.weights_at(places)),
        places,
    )


def wanted_fits(data: TrainingData, seed: int) -> tuple[int, float]:
    """How many out-of-fold fits these rows are worth, and the fraction of the training rows each is fitted on."""
    parts = _sides(data.train, len(data.classes), seed)
    return len(parts), float(np.mean([len(inside) for inside, _ in parts]) / len(data.train)) if parts else 0.0


def _outside(
    refit: Refit,
    data: TrainingData,
    seed: int,
    stop: Callable[[], bool],
    allows: Callable[[int, float], bool],
) -> Outside:
    """Places of training rows, and what a model that was not fitted on them predicts, as model_spec.predicted gives it."""
    rows, classes = data.train, len(data.classes)
    output, places, longest = [np.empty((0, max(1, classes)))], [np.empty(0, dtype=np.int64)], 0.0
    for number, (inside, outside) in enumerate(_sides(rows, classes, seed)):
        if stop():
            raise Interrupted
        if not allows(number, longest):
            break
        started = time.monotonic()
        output.append(np.asarray(refit.outputs(rows.at(inside), rows.x.iloc[outside]), dtype=np.float64))
        places.append(outside)
        longest = max(longest, time.monotonic() - started)
    return np.concatenate(places), np.concatenate(output)


def _sides(rows: Table, classes: int, seed: int) -> list[validation_folds.Sides]:
    """The rows of each out-of-fold fit, and those it is then asked for: by the rule the held-out rows were chosen by."""
    k = 5 if len(rows) < 10_000 else 3
    few = k if len(rows) < 50_000 else 1  # a third of many rows is enough
    if rows.time is not None:
        return validation_folds.walk_forward(rows, k, classes)[-few:]
    fold, number = _fold_of(rows, classes, seed, k, few)
    matches = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(number)]
    return validation_folds.learnable(rows, matches, classes)


def _fold_of(rows: Table, classes: int, seed: int, k: int, requested: int) -> tuple[np.ndarray, int]:
    """Fold of each row, and how many of the `k` folds are worth a fit. Equal rows share a fold: a copy would be no unknown row."""
    fewest = validation_folds.fewest_different(rows)
    if fewest < 2:
        return np.zeros(len(rows), dtype=int), 0
    hashes = rows.row if rows.group is None else rows.group
    # the held-out share uses the hash modulo this; what is left of it is independent
    fold = ((hashes // np.uint64(BUCKETS)) % np.uint64(k)).astype(int)
    inside = not classes or all((np.bincount(rows.y[fold != f], minlength=classes) > 0).all() for f in range(k))
    if not inside or len(np.unique(fold)) < k:  # a rare class sits in one fold
        k = min(k, fewest)
        fold, requested = validation_folds.stratified(rows, k, seed), min(requested, k)
    return fold, requested
