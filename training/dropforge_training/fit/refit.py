"""The last fit: the best parameters on all training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.models.model_spec import ModelSpec, prepared, weighted_fit
from dropforge_training.search.validation_folds import cleaner_for

_SEEDS = 101  # between two members of a bag


def fit(
    candidate: ModelSpec,
    data: TrainingData,
    rows: Table,
    markers: dict[str, tuple[str, ...]],
    members: Sequence[dict[str, Any]],
    *,
    seed: int,
    jobs: int,
    weights: Sequence[float] | None = None,
) -> Pipeline:
    """Processor, preprocessor and estimator fitted on `rows`. Several members become one estimator that gives their mean.

    weights: of each member in the mean, in any unit; None: all alike.
    """
    cleaner = cleaner_for(candidate, data, markers)
    clean = cleaner.fit_transform(rows.x, data.fitted(rows.y))
    preprocessor = candidate.preprocessor(cleaner)
    matrix = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
    monotone = data.signs(matrix.shape[1], cleaner.numbers)
    created = [
        weighted_fit(
            prepared(
                candidate, params, seed=seed + number * _SEEDS, jobs=jobs, classes=len(data.classes), monotone=monotone
            ),
            matrix,
            data.fitted(rows.y),
            data.fit_weights(rows),
        )
        for number, params in enumerate(members)
    ]
    estimator = candidate.blend(created, weights) if candidate.blends else created[0]
    return Pipeline([("processor", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])
