"""The last fit: the best parameters on all training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.models.model_spec import ModelSpec, prepared, weighted_fit
from dropforge_training.search.validation_folds import cleaner_for

_SEEDS = 101  # between two members of a bag


@dataclass(frozen=True, slots=True)
class Refit:
    """Fits processor, preprocessor and every member's estimator on some of the data's rows.

    `members`: parameters of each; `weights`: of each member in the mean, in any unit, None: all alike.
    """

    candidate: ModelSpec
    data: TrainingData
    markers: dict[str, tuple[str, ...]]
    members: Sequence[dict[str, Any]]
    seed: int
    jobs: int
    weights: Sequence[float] | None = None

    def pipeline(self, rows: Table) -> Pipeline:
        """Several members become one estimator that gives their mean."""
        cleaner, preprocessor, created = self._fitted(rows)
        estimator = self.candidate.blend(created, self.weights) if self.candidate.blends else created[0]
        return Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])

    def outputs(self, rows: Table, other: pd.DataFrame) -> np.ndarray:
        """What the pipeline fitted on `rows` predicts for other ones, as model_spec.predicted gives it: no conversion."""
        cleaner, preprocessor, created = self._fitted(rows)
        matrix = np.asarray(preprocessor.transform(cleaner.transform(other)), dtype=np.float32)
        each = [self.candidate.output(estimator, matrix) for estimator in created]
        return self.candidate.blended(each, self.weights or [1.0] * len(each)) if self.candidate.blends else each[0]

    def _fitted(self, rows: Table) -> tuple[Any, Any, list[Any]]:
        data = self.data
        cleaner = cleaner_for(self.candidate, data, self.markers)
        clean = cleaner.fit_transform(rows.x, data.fitted(rows.y))
        preprocessor = self.candidate.preprocessor(cleaner)
        matrix = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
        monotone, classes = data.signs(matrix.shape[1], cleaner.numbers), len(data.classes)
        created = []
        for number, params in enumerate(self.members):
            seed = self.seed + number * _SEEDS
            unfitted = prepared(self.candidate, params, seed=seed, jobs=self.jobs, classes=classes, monotone=monotone)
            created.append(weighted_fit(unfitted, matrix, data.fitted(rows.y), data.fit_weights(rows)))
        return cleaner, preprocessor, created
