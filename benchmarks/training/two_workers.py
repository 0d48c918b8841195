"""Two workers on one study against one, on trials that wait rather than compute; the study is on the local cloud's store.

A worker is a process. Both studies begin with the same points, drawn at random, so that not the sampler's luck is measured.
A trial fits a small tree on Adult rows and waits `WAIT` seconds, as a trial that runs elsewhere
would. The time is that from the first trial's start until the score is reached with which the one worker ended.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import statistics
import time
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

from dropforge.adapters.s3_store import S3Store
from dropforge_cli.target import Target
from dropforge_training.models.model_spec import Fold, ModelSpec, Trained, TrialFit
from dropforge_training.search import tuner
from dropforge_training.search.study import SharedStudy
from dropforge_training.search.study_budget import TuningBudget
from dropforge_training.search.study_journal import Journal

WAIT = 0.5
TRIALS = 24
SEEDS = range(1, 6)
ROWS = 4000


class WaitingTree(ModelSpec):
    """A decision tree whose fit takes its time elsewhere."""

    def search_space(self, trial: Any) -> dict[str, Any]:
        return {
            "max_depth": trial.suggest_int("max_depth", 2, 20),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 200, log=True),
            "max_features": trial.suggest_float("max_features", 0.2, 1.0),
        }

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:  # noqa: ARG002 - the contract of a model
        return DecisionTreeClassifier(**params, random_state=seed)

    def train(self, fit: TrialFit) -> Trained:
        time.sleep(WAIT)
        fitted = self.estimator(fit.params, seed=fit.seed, jobs=1, classes=2).fit(fit.fold.x, fit.fold.y)
        return Trained(fitted.predict_proba(fit.fold.x_valid))


def work(
    outputs: dict[str, str],
    name: str,
    fold: Fold,
    seed: int,
    worker: int,
    workers: int,
    trials: int,
    start: list[dict[str, Any]],
    ready: Any,
) -> None:
    """One worker's process; all begin together, when the last of them has imported what it needs."""
    wanted = tuner.Search(
        candidate=WaitingTree(),
        model="tree",
        metric="roc_auc",
        classes=2,
        positive=1,
        seed=seed,
        jobs=1,
        ranges={},
        allowance=TuningBudget(trials, 600, workers=workers),
        start=start,
        worker=worker,
        role="tune",
    )
    journal, log = _journal(outputs, name), logging.getLogger("bench")
    ready.wait()
    tuner.tune(wanted, [fold], journal, name, tuner.Observer(log))


def measure(outputs: dict[str, str], adult: str) -> dict[str, Any]:
    """Medians over the seeds of one worker's time to its best score, and of two workers' to the same."""
    fold, one, two = _fold(adult), [], []
    for seed in SEEDS:
        target, seconds = _run(outputs, f"one-{seed}-{time.time_ns()}", fold, seed, 1, TRIALS, None)
        _, shared = _run(outputs, f"two-{seed}-{time.time_ns()}", fold, seed, 2, 3 * TRIALS, target)
        one.append(seconds)
        two.append(shared)
        print(
            f"seed {seed}: AUC {target:.5f} after {seconds:.1f} s with one worker, {shared:.1f} s with two", flush=True
        )
    return {
        "trials": TRIALS,
        "wait": WAIT,
        "seeds": len(one),
        "one": [round(s, 2) for s in one],
        "two": [round(s, 2) for s in two],
        "ratio_of_sums": round(sum(two) / sum(one), 3),
        "median_ratio": round(statistics.median(b / a for a, b in zip(one, two, strict=True)), 3),
    }


def _run(
    outputs: dict[str, str], name: str, fold: Fold, seed: int, workers: int, trials: int, target: float | None
) -> tuple[float, float]:
    """Best score, and seconds until `target` (one's own best when None) was reached; ends as soon as it is."""
    dice = random.Random(seed)  # noqa: S311 - points of a study, no secret
    points = [
        {
            "max_depth": dice.randint(2, 20),
            "min_samples_leaf": dice.randint(1, 200),
            "max_features": dice.uniform(0.2, 1),
        }
        for _ in range(TRIALS)
    ]
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(workers)
    created = [
        spawn.Process(target=work, args=(outputs, name, fold, seed, n, workers, trials, points, ready))
        for n in range(1, workers + 1)
    ]
    for p in created:
        p.start()
    watched = _study(outputs, name)
    while any(p.is_alive() for p in created):
        time.sleep(1)
        # Asking costs one request and one for each new entry: whoever watches must not slow what is watched.
        watched.refresh()
        if target is not None and any((t.value or 0) >= target for t in _finished(watched)):
            for p in created:
                p.terminate()
    for p in created:
        p.join()
    watched.refresh()
    done = _finished(watched)
    best = max(float(t.value) for t in done)
    begin = min(t.datetime_start for t in done)
    reached = [t.datetime_complete for t in done if t.value >= (best if target is None else target)]
    if not reached:
        raise SystemExit(f"{name}: {len(done)} trials did not reach {target}")
    return best, (min(reached) - begin).total_seconds()


def _study(outputs: dict[str, str], name: str) -> SharedStudy:
    return SharedStudy(_journal(outputs, name), name, seed=0, worker=9, workers=1)


def _finished(study: SharedStudy) -> list[optuna.trial.FrozenTrial]:
    return study.trials(optuna.trial.TrialState.COMPLETE)


def _journal(outputs: dict[str, str], name: str) -> Journal:
    store = S3Store(Target(outputs).client("s3"))
    return Journal(store, f"s3://{outputs['DataBucket']}/tuning/{name}")


def _fold(adult: str) -> Fold:
    table = pd.read_csv(adult, nrows=ROWS)
    x = table.select_dtypes("number").drop(columns=["fnlwgt"]).to_numpy(dtype=np.float32)
    y = (table["income"] == ">50K").to_numpy(dtype=np.int64)
    cut = ROWS * 3 // 4
    return Fold(x[:cut], y[:cut], x[cut:], y[cut:])
