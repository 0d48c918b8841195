"""Search for parameters within a budget. The study's journal is on S3: a killed worker's study goes on where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from sklearn.model_selection import train_test_split

from dropforge.messages import TrainingBudget
from dropforge.tuning.journal import Journal
from dropforge_training import evaluation
from dropforge_training.models.base import Candidate
from dropforge_training.processing import TableCleaner
from dropforge_training.tables import TrainingData

_VALIDATION_SHARE = 0.2
_FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


class _Backend(BaseJournalBackend):
    """Optuna's port over our journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._journal.read(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._journal.append(logs)


@dataclass(frozen=True, slots=True)
class Tuned:
    """Best parameters, ready for the last fit; the score is on validation rows (a loss is negated)."""

    params: dict[str, Any]
    score: float
    trials: int
    seconds: float


def tune(
    candidate: Candidate,
    data: TrainingData,
    *,
    journal: Journal,
    study_name: str,
    metric: str,
    budget: TrainingBudget,
    markers: dict[str, tuple[str, ...]],
    seed: int,
    jobs: int,
    log: logging.Logger,
    stop: Callable[[], bool],
) -> Tuned:
    """Trials until the budget's number or seconds are used up, counting those of an earlier attempt; at least one.

    `stop` is asked between trials. Preprocessing is fitted once, not once a trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y, x_valid, y_valid = _matrices(candidate, data, markers, seed)
    classes = len(data.classes)
    started = time.monotonic()
    study = optuna.create_study(
        storage=JournalStorage(_Backend(journal)),
        study_name=study_name,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        params = candidate.search_space(trial)
        fitted = candidate.fit(
            candidate.estimator(params, seed=seed, jobs=jobs, classes=classes), x, y, x_valid, y_valid
        )
        trial.set_user_attr("final_params", candidate.final_params(fitted, params))
        return evaluation.score(metric, y_valid, fitted.predict_proba(x_valid))

    while not stop():
        done = study.get_trials(deepcopy=False, states=_FINISHED)
        if done and (len(done) >= budget.trials or time.monotonic() - started >= budget.seconds):
            break
        study.optimize(objective, n_trials=1)
        finished = len(done) + 1
        log.info(
            f"trial {finished} of {budget.trials}",
            extra={
                "best_score": round(study.best_value, 5),
                "metric": metric,
                "seconds_left": round(max(0.0, budget.seconds - (time.monotonic() - started)), 1),
            },
        )
    best = study.best_trial
    return Tuned(
        best.user_attrs["final_params"],
        float(best.value or 0.0),
        len(study.get_trials(deepcopy=False, states=_FINISHED)),
        time.monotonic() - started,
    )


def _matrices(
    candidate: Candidate, data: TrainingData, markers: dict[str, tuple[str, ...]], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and validation matrices of the training rows; the held-out rows are not touched."""
    indices = np.arange(len(data.train))
    smallest = np.bincount(data.train.y).min()
    fit, valid = train_test_split(
        indices, test_size=_VALIDATION_SHARE, random_state=seed, stratify=data.train.y if smallest >= 2 else None
    )
    cleaner = cleaner_for(candidate, data, markers)
    rows = data.train.x.iloc[fit]
    clean = cleaner.fit(rows).transform(rows)
    preprocessor = candidate.preprocessor(cleaner)
    x = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
    x_valid = np.asarray(preprocessor.transform(cleaner.transform(data.train.x.iloc[valid])), dtype=np.float32)
    return x, data.train.y[fit], x_valid, data.train.y[valid]


def cleaner_for(candidate: Candidate, data: TrainingData, markers: dict[str, tuple[str, ...]]) -> TableCleaner:
    """The unfitted processor for these features."""
    numbers = [c.name for c in data.features if c.kind not in {"category", "text"}]
    categories = [c.name for c in data.features if c.kind in {"category", "text"}]
    return candidate.processor(numbers, categories, markers)
