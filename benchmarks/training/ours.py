"""Dropforge's own search on Adult within a number of seconds, last fit included: python ours.py SECONDS [BAG] [SEED]."""

from __future__ import annotations

import sys
import time

import adult
import own_search

from dropforge.tuning.budget import Allowance
from dropforge_training import folds, refit


def main(seconds: float, bag: int = 4, seed: int = 20260101) -> None:
    train, test = adult.load("reference"), adult.load("new")
    data = own_search.data(train, test)
    candidate, markers = own_search.CANDIDATE, own_search.markers(data)
    started = time.monotonic()
    rows = folds.make(candidate, data, markers, seed)
    left = seconds - (time.monotonic() - started)
    start = [candidate.first()]
    tuned = own_search.tune(rows, Allowance(10_000, left), seed=seed, name="adult", bag=bag, start=start)
    pipeline = refit.fit(candidate, data, data.train, markers, tuned.members, seed=seed, jobs=own_search.JOBS)
    ended = time.monotonic()
    p = pipeline.predict_proba(test[0])[:, 1]
    adult.tell(started, test[1], p, ended=ended, trials=tuned.trials, validation=round(tuned.score, 5))


if __name__ == "__main__":
    main(float(sys.argv[1]), *(int(a) for a in sys.argv[2:]))
