"""Dropforge's own search on Adult within a number of seconds, last fit included: python ours.py SECONDS [BAG] [SEED]."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import adult
import numpy as np
import pandas as pd

from dropforge.adapters.memory import MemoryStore
from dropforge.data.schema import Column
from dropforge.tuning.budget import Allowance
from dropforge.tuning.journal import Journal
from dropforge_training import folds, refit, tuning
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.tables import Table, TrainingData

CLASSES = ["<=50K", ">50K"]


def main(seconds: float, bag: int = 4, seed: int = 20260101) -> None:
    train, test = adult.load("reference"), adult.load("new")
    texts = set(adult.categories(train[0]))
    features = tuple(Column(name=c, kind="category" if c in texts else "number") for c in train[0])
    tables = [Table(x, y, np.arange(len(y), dtype=np.uint64)) for x, y in (train, test)]
    data = TrainingData(tables[0], tables[1], CLASSES, CLASSES[1], features, 0, len(tables[0]), {}, pd.DataFrame())
    candidate, markers = XGBoost(), dict.fromkeys((c.name for c in features), ())
    started = time.monotonic()
    rows = folds.make(candidate, data, markers, seed)
    left = seconds - (time.monotonic() - started)
    wanted = tuning.Search(
        candidate=candidate,
        model="xgboost",
        metric="roc_auc",
        classes=2,
        positive=1,
        seed=seed,
        jobs=2,
        ranges={},
        allowance=Allowance(10_000, left),
        bag=bag,
        start=[candidate.first()],
    )
    going_on: Callable[[], bool] = lambda: False  # noqa: E731
    journal = Journal(MemoryStore(), "s3://bench/tuning/adult")
    tuned = tuning.tune(
        wanted, rows, journal, "adult", log=logging.getLogger("bench"), stop=going_on, tell=lambda _: None
    )
    pipeline = refit.fit(candidate, data, data.train, markers, tuned.members, seed=seed, jobs=2)
    ended = time.monotonic()
    p = pipeline.predict_proba(test[0])[:, 1]
    adult.tell(started, test[1], p, ended=ended, trials=tuned.trials, validation=round(tuned.score, 5))


if __name__ == "__main__":
    main(float(sys.argv[1]), *(int(a) for a in sys.argv[2:]))
