"""The Optuna study of a job, on a journal that all its workers share."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from dropforge import keys
from dropforge.errors import NotFound
from dropforge.observability import mask_library
from dropforge.ports import ObjectStore
from dropforge_training.search.study_journal import Journal

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
ROUNDS = "rounds"
WORKER = "worker"
RETRIES = "retries"
_MOST_RETRIES = 2  # a trial that kills its worker every time must end some day
_MOST_POINTS = 5
_PRUNE_AFTER = 4  # finished trials whose median the next ones are measured by
_STARTUP = 6  # trials before the sampler trusts its model
# Optuna's operations that others must see in the same order (optuna.storages.journal._storage.JournalOperation);
# those on one's own running trial are kept back until one of these is written: one request instead of twenty.
_ORDERED = frozenset({0, 1, 2, 3, 4, 6})


class Backend(BaseJournalBackend):
    """Optuna's port over our journal. Reads ask the store only when `refresh` says so: an append has seen all before it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: list[dict[str, Any]] = []  # in the order seen here: own held-back entries stand before others'
        self._taken = 0
        self._pending: list[dict[str, Any]] = []
        journal.refresh()

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Entries from this number on, as Optuna asks for them."""
        self._take(())
        return self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries in order; those that nobody waits for are written with the next ones."""
        if all(e["op_code"] not in _ORDERED for e in logs):
            self._pending += logs
            self._entries += logs
            return
        current, self._pending = self._pending, []
        self._journal.append([*current, *logs])
        self._take(current)

    def flush(self) -> None:
        """Write what was kept back."""
        if self._pending:
            current, self._pending = self._pending, []
            self._journal.append(current)
            self._take(current)

    def refresh(self) -> None:
        """Let the next read see what others have written."""
        self._journal.refresh()

    def claim(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """See Journal.claim."""
        return self._journal.claim(name, value)

    def _take(self, own: Iterable[dict[str, Any]]) -> None:
        """New entries of the journal, without those of `own`, which are known already."""
        skip = [json.dumps(e) for e in own]
        for entry in self._journal.seen()[self._taken :]:
            if skip and json.dumps(entry) == skip[0]:
                skip.pop(0)
            else:
                self._entries.append(entry)
        self._taken = len(self._journal.seen())


@dataclass(frozen=True, slots=True)
class Point:
    """Parameters worth trying again, with the score they had (larger is better)."""

    params: dict[str, Any]
    score: float


class SharedStudy:
    """One study as worker number `worker` sees it. At most one process is that worker: the queue's heartbeat sees to it."""

    def __init__(self, journal: Journal, name: str, *, seed: int, worker: int, workers: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        mask_library("optuna")  # it quotes why a trial failed
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.worker = worker
        self._backend = Backend(journal)
        self.study = optuna.create_study(
            storage=JournalStorage(self._backend),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_PRUNE_AFTER, n_warmup_steps=1),
        )
        known = len(self.trials())
        # A resumed study must not draw the first attempt's random points a second time, nor two workers the same.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=seed + known + 1000 * worker,
            n_startup_trials=_STARTUP,
            multivariate=True,
            constant_liar=workers > 1,
        )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """As far as seen; of these states when given."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def start_with(self, points: Iterable[Mapping[str, Any]], *, alone: bool = False) -> None:
        """Trials to run before the sampler chooses. Of the study's workers the first one adds its points, and no other.

        It may be killed in between: its successor, the same worker, adds what is missing. `alone`: no other worker runs any
        more, so that a study in which nobody came to add them gets them now.
        """
        claim = self._backend.claim("start", {"worker": self.worker, "points": [dict(p) for p in points]})
        if claim["worker"] == self.worker or (alone and not self.trials()):
            self.enqueue(claim["points"])

    def enqueue(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Trials to run before the sampler chooses again; what was run or stands in line already is not added."""
        for point in points:
            self.study.enqueue_trial(dict(point), skip_if_exists=True)

    def retry_orphans(self) -> int:
        """Trials that a killed predecessor left running are given up and put in line again. Returns how many were."""
        orphans = [t for t in self.trials(TrialState.RUNNING) if t.user_attrs.get(WORKER) == self.worker]
        for trial in orphans:
            self.study.tell(trial.number, state=TrialState.FAIL)
            retries = int(trial.user_attrs.get(RETRIES, 0)) + 1
            params = trial.params or trial.system_attrs.get("fixed_params", {})
            if params and retries <= _MOST_RETRIES:
                self.study.enqueue_trial(params, user_attrs={RETRIES: retries})
        return len(orphans)

    def ask(self) -> optuna.Trial:
        """The next trial, marked as this worker's."""
        trial = self.study.ask()
        trial.set_user_attr(WORKER, self.worker)
        return trial

    def publish(self) -> None:
        """Let others know the parameters of the running trial, so that it can be retried should this worker die."""
        self._backend.flush()

    def refresh(self) -> None:
        """Read what other workers appended."""
        self._backend.refresh()

    def curve(self) -> tuple[tuple[float, float], ...]:
        """(seconds since the first trial began, best score so far) where it rose, and at the end of the last trial."""
        ended = sorted(
            (
                t.datetime_complete.timestamp(),
                t.datetime_start.timestamp(),
                t.number,
                t.value if t.state == TrialState.COMPLETE else None,
            )
            for t in self.trials(*FINISHED)
            if t.datetime_start and t.datetime_complete
        )
        begun = min((start for _, start, _, _ in ended), default=0.0)
        points: list[tuple[float, float]] = []
        for end, _, _, value in ended:
            if value is not None and (not points or value > points[-1][1]):
                points.append((round(end - begun, 2), value))
        if points:
            points.append((round(ended[-1][0] - begun, 2), points[-1][1]))
        return tuple(dict.fromkeys(points))

    def best(self, count: int) -> list[FrozenTrial]:
        """Finished trials that differ in parameters, best first."""
        ranked = sorted(self.trials(TrialState.COMPLETE), key=lambda t: (-float(t.value or 0.0), t.number))
        distinct: list[FrozenTrial] = []
        for trial in ranked:
            if all(trial.params != other.params for other in distinct):
                distinct.append(trial)
        return distinct[:count]


def points_uri(bucket: str, model: str) -> str:
    """Where the best points of the model's last study are."""
    return keys.best_points(bucket, model)


def store_warm_start(store: ObjectStore, uri: str, study: str, metric: str, points: list[Point]) -> None:
    """For the next study of the model to start with. The last writer wins: any recent study serves."""
    body = {
        "study": study,
        "metric": metric,
        "points": [{"params": p.params, "score": p.score} for p in points[:_MOST_POINTS]],
    }
    store.put(uri, json.dumps(body).encode(), content_type="application/json")


def read_points(store: ObjectStore, uri: str) -> list[dict[str, Any]]:
    """Parameters of the last study's best trials, best first; empty when there was none."""
    try:
        stored = json.loads(store.get(uri).body)
    except NotFound:
        return []
    return [dict(p["params"]) for p in stored["points"]]
