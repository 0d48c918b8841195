"""The last fit: the best parameters on all training rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from dropforge_training.data import rows_beyond_memory
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.fit import batches_on_disk
from dropforge_training.models.model_spec import Batch, ModelSpec, prepared, weighted_fit
from dropforge_training.search.validation_folds import cleaner_for

_SEEDS = 101  # between two members of a bag


@dataclass(frozen=True, slots=True)
class Members:
    """What was fitted on the same rows: cleaner, preprocessor, and the estimator of each member."""

    cleaner: Any
    preprocessor: Any
    estimators: list[Any]


@dataclass(frozen=True, slots=True)
class Refit:
    """Fits processor, preprocessor and every member's estimator on some of the data's rows.

    `members`: parameters of each; `weights`: of each member in the mean, in any unit, None: all alike; `beyond`: whether the last
    fit reads rows beyond memory, where there are any and the candidate can.
    """

    candidate: ModelSpec
    data: TrainingData
    markers: dict[str, tuple[str, ...]]
    members: Sequence[dict[str, Any]]
    seed: int
    jobs: int
    weights: Sequence[float] | None = None
    beyond: bool = True

    def pipeline(self, rows: Table) -> Pipeline:
        """The members fitted on these rows, and the rows beyond memory, as one pipeline."""
        return self.joined(self.last(rows))

    def last(self, rows: Table) -> Members:
        """The members of `pipeline`, each by itself."""
        return self._fitted(rows, beyond=self.on_all_rows)

    def joined(self, fitted: Members) -> Pipeline:
        """The first ones of these members, as many as `members` are, as one estimator that gives their mean."""
        first = fitted.estimators[: len(self.members)]
        estimator = self.candidate.blend(first, self.weights) if self.candidate.blends else first[0]
        return Pipeline([("cleaner", fitted.cleaner), ("preprocessor", fitted.preprocessor), ("estimator", estimator)])

    def outputs(self, rows: Table, other: pd.DataFrame) -> np.ndarray:
        """What the pipeline fitted on `rows` predicts for other ones, as model_spec.predicted gives it: no conversion."""
        fitted = self._fitted(rows)
        matrix = np.asarray(fitted.preprocessor.transform(fitted.cleaner.transform(other)), dtype=np.float32)
        each = [self.candidate.output(estimator, matrix) for estimator in fitted.estimators]
        return self.candidate.blended(each, self.weights or [1.0] * len(each)) if self.candidate.blends else each[0]

    @property
    def on_all_rows(self) -> bool:
        """Whether `pipeline` is fitted on the rows beyond memory too, where there are any."""
        return self.beyond and all(self.candidate.reads_batches(params) for params in self.members)

    def _fitted(self, rows: Table, *, beyond: bool = False) -> Members:
        """`beyond`: the estimators are fitted on the rows beyond memory as well; cleaner and preprocessor learn from `rows` alone."""
        data = self.data
        cleaner = cleaner_for(self.candidate, data, self.markers)
        clean = cleaner.fit_transform(rows.x, data.fitted(rows.y))
        preprocessor = self.candidate.preprocessor(cleaner)
        matrix = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
        monotone, classes = data.signs(matrix.shape[1], cleaner.numbers), len(data.classes)
        unfitted = [
            prepared(
                self.candidate,
                params,
                seed=self.seed + number * _SEEDS,
                jobs=self.jobs,
                classes=classes,
                monotone=monotone,
            )
            for number, params in enumerate(self.members)
        ]
        first = Batch(matrix, data.fitted(rows.y), data.fit_weights(rows))
        if beyond and data.beyond_memory is not None:
            transform = Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor)])
            folder = data.beyond_memory.files[0].parent / "batches"
            batches = batches_on_disk.written(folder, first, self._batches(transform))
            return Members(cleaner, preprocessor, self.candidate.fit_batches(unfitted, batches, classes))
        return Members(cleaner, preprocessor, [weighted_fit(u, first.x, first.y, first.weight) for u in unfitted])

    def _batches(self, transform: Pipeline) -> Iterator[Batch]:
        for table in rows_beyond_memory.tables(self.data):
            x = np.asarray(transform.transform(table.x), dtype=np.float32)
            yield Batch(x, self.data.fitted(table.y), self.data.fit_weights(table))
