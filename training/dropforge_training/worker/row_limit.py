"""As many members of the last fit as answer one row within `serving.max_milliseconds`, measured on the graph they make."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from dropforge.inference.bundle_manifest import Regression
from dropforge_training.data.training_table import TrainingData
from dropforge_training.export import bundle_builder as bundle
from dropforge_training.export import one_row_time
from dropforge_training.export.onnx_graph import records
from dropforge_training.fit.refit import Members, Refit
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline
from dropforge_training.search import ensemble_size
from dropforge_training.search.tuner import Tuned


@dataclass(frozen=True, slots=True)
class LimitedEnsemble:
    """The members that stay: their refit, and what it fitted on all training rows; where the model comes from, with its file.

    `milliseconds`: of one row (NaN: not known); `everything`: with all members; `limit`: None, there is none.
    """

    refit: Refit
    pipeline: Pipeline
    origin: bundle.Origin
    milliseconds: float
    everything: float
    limit: float | None
    selected: int  # members before

    def facts(self) -> dict[str, Any]:
        """For the card."""
        known = {} if math.isnan(self.milliseconds) else {"milliseconds": round(self.milliseconds, 3)}
        return {**known, "limit": self.limit, "members": len(self.refit.members), "reason": self.reason()}

    def reason(self) -> str:
        """In words what was left out."""
        members = len(self.refit.members)
        if self.limit is None or not self.everything > self.limit:
            return ""
        if members == self.selected:
            return f"more than serving.max_milliseconds: {self.limit:g}, with the one member that there is"
        was = f"{self.selected} members took {self.everything:.2g} ms and serving.max_milliseconds is {self.limit:g}"
        return f"{self.selected - members} of {self.selected} members left out: all {was}"


def within_limit(
    refit: Refit, fitted: Members, origin: bundle.Origin, tuned: Tuned, log: logging.Logger
) -> LimitedEnsemble:
    """Measure one row; while it takes too long, leave out the last members, which weigh least or are other seeds of a member.

    Raises JobFailed for a model that cannot be exported.
    """
    limit, rows, everything = origin.settings.serving.max_milliseconds, _rows(refit), math.nan
    while True:
        pipeline = refit.joined(fitted)
        exported, predictor = bundle.opened(_servable(pipeline, refit.data), origin)
        taken = one_row_time.milliseconds(predictor, rows) if predictor else math.nan
        everything = taken if math.isnan(everything) else everything
        count = len(refit.members)
        if limit is None or not taken > limit or count == 1:
            break
        least = sum(tuned.milliseconds[:count]) * limit / taken
        members, weights = tuned.bag(min(count - 1, ensemble_size.within(tuned.milliseconds[:count], least)))
        refit = replace(refit, members=members, weights=weights)
    origin = replace(origin, exported=exported)
    limited = LimitedEnsemble(refit, pipeline, origin, taken, everything, limit, len(fitted.estimators))
    log.info("one row measured", extra=limited.facts())
    return limited


def _rows(refit: Refit) -> list[dict[str, Any]]:
    """Some training rows as callers send them."""
    x = refit.data.train.x
    chosen = np.random.default_rng(refit.seed).permutation(len(x))[: one_row_time.ROWS]
    return records(x.iloc[chosen])


def _servable(pipeline: Pipeline, data: TrainingData) -> LabelledPipeline | NumberPipeline:
    """Calibration and threshold are not known yet, and take no time to speak of."""
    if data.regression:
        return NumberPipeline(pipeline, Regression(data.transform, data.center))
    return LabelledPipeline(pipeline, data.classes, 0.5, data.positive, None)
