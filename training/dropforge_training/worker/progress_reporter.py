"""Progress of the search while it runs: as MLflow metrics of the run, and as the note that the API reads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from dropforge.clock import now
from dropforge.errors import DropforgeError, TransientError
from dropforge.messages import ModelProgress, Stage, TrainingJob
from dropforge.observability import failure
from dropforge.ports import ObjectStore
from dropforge.training import progress
from dropforge_training.interruption import Interrupted
from dropforge_training.search.tuner import Progress


class Run(Protocol):
    """What takes the figures; tracking.JobRun is one."""

    def log_progress(self, trial: int, figures: dict[str, float]) -> None:
        """Log figures of a trial."""


class Note:
    """How far the job is, kept where the API finds it. Never raises: a training does not end for want of a note.

    Use as a context manager around the whole job: an error that ends it for good is noted, one after which it is tried again
    is not.
    """

    def __init__(self, store: ObjectStore, bucket: str, job: TrainingJob, metric: str, log: logging.Logger) -> None:
        self._store, self._bucket, self._job = store, bucket, job
        self._log = log
        self._lock = threading.Lock()
        self._now = ModelProgress(
            model=job.model, trials_budget=job.budget.trials, seconds_budget=job.budget.seconds, metric=metric
        )

    def __enter__(self) -> Note:
        self.stage("tuning")
        return self

    def __exit__(self, _type: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is None:
            self.stage("trained")
        elif isinstance(error, Exception) and not isinstance(error, Interrupted | TransientError):
            self.stage("failed")

    def stage(self, stage: Stage) -> None:
        """Report the stage that begins."""
        self._keep(stage=stage)

    def __call__(self, seen: Progress) -> None:
        """Store the progress."""
        if self._now.stage == "tuning":
            self._keep(trials=seen.trial, seconds=round(seen.seconds, 1), best_score=seen.best)

    def _keep(self, **changes: object) -> None:
        with self._lock:
            self._now = self._now.model_copy(update={**changes, "reported_at": now()})
            try:
                progress.keep(self._store, self._bucket, self._job.upload_id, self._now)
            except DropforgeError as error:
                self._log.warning("progress not noted", extra=failure(error))


class Reporter:
    """Hands on the newest figures in a thread of its own: a tracking server that is slow or away never holds up a trial.

    Figures that were overtaken while the server was busy are left out. Use as a context manager; leaving it waits for the
    figures on their way, but for a server that does not answer no longer than `timeout` seconds. `note` hears of all of them
    first, in the caller's thread.
    """

    def __init__(
        self, run: Run, log: logging.Logger, timeout: float = 5.0, note: Callable[[Progress], None] | None = None
    ) -> None:
        self._run = run
        self._log = log
        self._timeout = timeout
        self._note = note
        self._newest: Progress | None = None
        self._wake = threading.Condition()
        self._done = False
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._done = True
            self._wake.notify()
        self._thread.join(self._timeout)

    def __call__(self, progress: Progress) -> None:
        """Store the progress, in the background."""
        if self._note:
            self._note(progress)
        with self._wake:
            self._newest = progress
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._newest is not None or self._done)
                newest, self._newest = self._newest, None
            if newest is None:
                return
            figures = {"tuning.progress": newest.trial / newest.trials, "tuning.seconds_left": newest.seconds_left}
            if newest.best is not None:
                figures["tuning.best_so_far"] = newest.best
            try:
                self._run.log_progress(newest.trial, figures)
            except DropforgeError as error:
                self._log.warning("progress not logged to MLflow", extra=failure(error))
