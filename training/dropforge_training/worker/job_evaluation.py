"""The fitted model as it will be served: exported, and scored on the held-out rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dropforge.config.settings import Settings
from dropforge.inference.calibrate import calibrate
from dropforge.messages import Evidence
from dropforge.metrics import is_own
from dropforge.metrics.weighted_rows import Rows, of_numbers
from dropforge_training.card import card_facts, regression_facts
from dropforge_training.card.card_facts import Evaluation
from dropforge_training.evaluate import held_out
from dropforge_training.evaluate.metrics import score
from dropforge_training.export import bundle_builder as bundle
from dropforge_training.fit import calibration, prediction_intervals
from dropforge_training.fit.out_of_fold import Fitted, FittedNumbers
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline, decide


@dataclass(frozen=True, slots=True)
class Evaluated:
    """`card`: gives the model card of the scores' intervals and what the caller knows."""

    model: LabelledPipeline | NumberPipeline
    bundle: bundle.Bundle
    rows: Rows
    metrics: dict[str, float]
    card: Callable[[Evidence, dict[str, Any]], dict[str, Any]]


def evaluate(
    fitted: Fitted | FittedNumbers, origin: bundle.Origin, seed: int, seconds: float, log: logging.Logger
) -> Evaluated:
    """Score the model on the held-out rows and build its bundle. seconds: that measuring the columns' importance may take, and
    as many that contributions to single predictions may.

    Raises JobFailed for one that cannot be exported.
    """
    if isinstance(fitted, FittedNumbers):
        return _regression(fitted, origin, seed, seconds, log)
    return _classification(fitted, origin, seed, seconds, log)


def _classification(fitted: Fitted, origin: bundle.Origin, seed: int, seconds: float, log: logging.Logger) -> Evaluated:
    model, data, settings = fitted.model, origin.data, origin.settings
    current, metric = data.heldout, settings.training.metric
    raw = model.raw(current.x)
    probabilities = calibrate(model.calibration, raw)
    codes = np.searchsorted(model.classes_, decide(probabilities, model.classes_, model.threshold, model.positive))
    positive = data.classes.index(data.positive) if data.positive else None
    rows = Rows(current.y, codes, probabilities, positive, current.weight)
    metrics = held_out.evaluate(current.y, probabilities, codes, rows.positive, current.weight)
    metrics |= held_out.uncalibrated(current.y, raw, rows.positive, current.weight)
    metrics |= _own(settings, rows)
    ranked = card_facts.importance(model, current, metric, rows.positive, seed, seconds)
    importance = {i["column"]: i["mean"] for i in ranked}
    built = bundle.build(model, origin, metrics=metrics, importance=importance, log=log)
    evaluation = Evaluation(data, rows, metric, metrics, ranked, seed, seconds)

    def model_card(known: Evidence, facts: dict[str, Any]) -> dict[str, Any]:
        decided = {
            "calibration": calibration.summary(fitted.calibration),
            "threshold_reason": fitted.threshold_reason,
        }
        return card_facts.card(model, evaluation, raw, built.checked.output, known, {**facts, **decided})

    return Evaluated(model, built, rows, metrics, model_card)


def _regression(
    fitted: FittedNumbers, origin: bundle.Origin, seed: int, seconds: float, log: logging.Logger
) -> Evaluated:
    model, data, settings = fitted.model, origin.data, origin.settings
    current, metric = data.heldout, settings.training.metric
    rows = of_numbers(current.y, model.predict(current.x), current.weight)
    metrics = held_out.evaluate_numbers(current.y, rows.guess, current.weight)
    metrics |= _own(settings, rows)
    ranked = regression_facts.importance(model, current, metric, seed, seconds)
    importance = {i["column"]: i["mean"] for i in ranked}
    built = bundle.build(model, origin, metrics=metrics, importance=importance, log=log, width=fitted.width)
    residuals = prediction_intervals.residuals(model.rule, current.y, built.checked.output)
    uncertain = regression_facts.Calibration(residuals, built.checked.widths)
    evaluation = Evaluation(data, rows, metric, metrics, ranked, seed, seconds)

    def model_card(known: Evidence, facts: dict[str, Any]) -> dict[str, Any]:
        return regression_facts.card(model, evaluation, uncertain, known, facts)

    return Evaluated(model, built, rows, metrics, model_card)


def _own(settings: Settings, rows: Rows) -> dict[str, float]:
    """The scores of the rows by the project's own metrics."""
    names = {settings.training.metric, settings.promotion.metric}
    return {name: score(name, rows) for name in sorted(names) if is_own(name)}
