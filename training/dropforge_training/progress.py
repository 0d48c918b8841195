"""Progress of the search as MLflow metrics of the run, while it runs."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from dropforge.errors import DropforgeError
from dropforge_training.tuning import Progress


class Run(Protocol):
    """What takes the figures; tracking.JobRun is one."""

    def log_progress(self, trial: int, figures: dict[str, float]) -> None: ...


class Reporter:
    """Hands on the newest figures in a thread of its own: a tracking server that is slow or away never holds up a trial.

    Figures that were overtaken while the server was busy are left out. Use as a context manager; leaving it waits for the
    figures on their way, but for a server that does not answer no longer than `patience` seconds.
    """

    def __init__(self, run: Run, log: logging.Logger, patience: float = 5.0) -> None:
        self._run = run
        self._log = log
        self._patience = patience
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
        self._thread.join(self._patience)

    def __call__(self, progress: Progress) -> None:
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
                self._log.warning("progress not told to MLflow", extra={"why": error.message})
