"""Dropforge's own search on Adult, as the benchmarks of this folder call it: the product's modules, without a cloud."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import adult
import numpy as np
import pandas as pd

from dropforge.datasets.table_schema import Column
from dropforge_local.memory import MemoryStore
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.models.model_spec import Fold
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.search import tuner
from dropforge_training.search.study_budget import TuningBudget
from dropforge_training.search.study_journal import Journal

CLASSES = ["<=50K", ">50K"]
CANDIDATE = XGBoost()
JOBS = 2


def data(train: tuple[pd.DataFrame, np.ndarray], test: tuple[pd.DataFrame, np.ndarray]) -> TrainingData:
    """Features and labels as a training job has them."""
    texts = set(adult.categories(train[0]))
    features = tuple(Column(name=c, kind="category" if c in texts else "number") for c in train[0])
    tables = [Table(x, y, _hashes(x, y)) for x, y in (train, test)]
    return TrainingData(tables[0], tables[1], CLASSES, CLASSES[1], features, 0, len(tables[0]), {}, pd.DataFrame())


def markers(given: TrainingData) -> dict[str, tuple[str, ...]]:
    """Texts that mean missing, by feature: none, adult.load has read them."""
    return dict.fromkeys((c.name for c in given.features), ())


def tune(
    rows: list[Fold],
    allowance: TuningBudget,
    *,
    seed: int,
    name: str,
    bag: int = 1,
    start: Sequence[dict[str, Any]] = (),
    tell: Callable[[tuner.Progress], None] = lambda _: None,
) -> tuner.Tuned:
    """One study of its own that begins with the points of `start`."""
    wanted = tuner.Search(
        candidate=CANDIDATE,
        model="xgboost",
        metric="roc_auc",
        classes=2,
        positive=1,
        seed=seed,
        jobs=JOBS,
        ranges={},
        allowance=allowance,
        bag=bag,
        start=start,
    )
    journal = Journal(MemoryStore(), f"s3://bench/tuning/{name}")
    return tuner.tune(wanted, rows, journal, name, tuner.Observer(logging.getLogger("bench"), tell=tell))


def _hashes(x: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    return np.asarray(pd.util.hash_pandas_object(x.assign(label=y), index=False), dtype=np.uint64)
