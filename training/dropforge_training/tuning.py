"""Search for parameters within a budget. The study's journal is on S3: a killed worker's study goes on where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from sklearn.model_selection import train_test_split

from dropforge.errors import JobFailed
from dropforge.messages import TrainingBudget
from dropforge.tuning.journal import Journal
from dropforge_training import evaluation
from dropforge_training.interruption import Interrupted
from dropforge_training.models.base import Candidate
from dropforge_training.processing import TableCleaner
from dropforge_training.search import NarrowedTrial
from dropforge_training.tables import TrainingData

_VALIDATION_SHARE = 0.2
_BARREN_TRIALS = 3  # trials in a row without a finite score after which the search is given up
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
    model: str,
    journal: Journal,
    study_name: str,
    metric: str,
    budget: TrainingBudget,
    markers: dict[str, tuple[str, ...]],
    search: Mapping[str, Any],
    seed: int,
    jobs: int,
    log: logging.Logger,
    stop: Callable[[], bool],
) -> Tuned:
    """Trials until the budget's number or seconds are used up, counting those of an earlier attempt; at least one.

    `stop` is asked between trials. Preprocessing is fitted once, not once a trial. `search`: ranges set
    for `model` in settings.yaml.
    Raises Interrupted when `stop` said so, SettingsError for a wrong `search`, JobFailed when no trial can be scored.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    x, y, x_valid, y_valid = _matrices(candidate, data, markers, seed)
    classes = len(data.classes)
    positive = data.classes.index(data.positive) if data.positive else 1
    started = time.monotonic()
    study = optuna.create_study(
        storage=JournalStorage(_Backend(journal)), study_name=study_name, direction="maximize", load_if_exists=True
    )
    earlier = study.get_trials(deepcopy=False, states=_FINISHED)
    # A resumed study must not draw the first attempt's random points a second time.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(earlier))
    spent = sum(t.duration.total_seconds() for t in earlier if t.duration)

    def elapsed() -> float:
        return spent + time.monotonic() - started

    def objective(trial: optuna.Trial) -> float:
        narrowed = NarrowedTrial(trial, search, model)
        params = candidate.search_space(narrowed)
        narrowed.check_all_used()
        fitted = candidate.fit(
            candidate.estimator(params, seed=seed, jobs=jobs, classes=classes), x, y, x_valid, y_valid
        )
        trial.set_user_attr("final_params", candidate.final_params(fitted, params))
        return evaluation.score(metric, y_valid, fitted.predict_proba(x_valid), positive)

    barren = 0
    done = len(earlier)
    while not done or (done < budget.trials and elapsed() < budget.seconds):
        if stop():
            raise Interrupted
        study.optimize(objective, n_trials=1)
        before, done = done, len(study.get_trials(deepcopy=False, states=_FINISHED))
        barren = barren + 1 if done == before else 0
        if barren == _BARREN_TRIALS:
            raise JobFailed(
                f"{barren} trials in a row gave no finite {metric}",
                code="tuning_failed",
                fix="choose another training.metric, or narrow the model's `search` in settings.yaml",
            )
        log.info(
            f"trial {done} of {budget.trials}",
            extra={
                "best_score": round(study.best_value, 5) if done else None,
                "metric": metric,
                "seconds_left": round(max(0.0, budget.seconds - elapsed()), 1),
            },
        )
    best = study.best_trial
    return Tuned(best.user_attrs["final_params"], float(best.value or 0.0), done, elapsed())


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
    texts = {c.name: c.kind in {"category", "text"} for c in data.features}
    texts |= {c: s.cast == "category" for c, s in data.steps.items() if s.cast}
    numbers = [c.name for c in data.features if not texts[c.name]]
    categories = [c.name for c in data.features if texts[c.name]]
    return candidate.processor(numbers, categories, markers, data.steps)
