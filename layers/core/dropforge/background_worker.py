"""Work that follows an answer without being waited for: held in a short list, done by one thread.

At once when the last work is long ago, so that little is lost where requests are rare; else every few seconds. A process that
is frozen between requests, as a Lambda function is, lets its thread run only while it answers: it calls `settle` before each answer,
which waits for the thread when something is due. What an instance then still holds when it is taken away is lost, at most what came
within SETTLE_SECONDS of the last work; the caller logs how much was held.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import Final, Generic, TypeVar

from dropforge.observability import failure

EVERY_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.0  # one write a second and instance is the most that `settle` asks for
SOON_ROWS: Final = 2_000  # so many are done at once, whatever the time

Item = TypeVar("Item")


class BackgroundWorker(Generic[Item]):
    """Of one process. Safe to share between threads; the thread starts with the first item."""

    def __init__(self, name: str, log: logging.Logger, most_rows: int) -> None:
        self._log, self._name, self._most = log, name, most_rows
        self._wake = threading.Condition()
        self._working = threading.Lock()
        self._pending: list[Item] = []
        self._pending_rows = 0
        self._rows = 0  # held or not done yet
        self._lost = 0
        self._thread: threading.Thread | None = None
        self._done_at = float("-inf")  # monotonic
        self._hurried = False  # `settle` waits
        self._failing = False  # the last try left something

    def _hold(self, item: Item, rows: int) -> None:
        """Never raises, never waits; rows beyond the limit of memory are counted as lost."""
        with self._wake:
            if self._rows + rows > self._most:
                self._lost += rows
                return
            self._pending.append(item)
            self._pending_rows += rows
            self._rows += rows
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
                atexit.register(self.flush)
            elif len(self._pending) == 1 or self._rows >= SOON_ROWS:
                self._wake.notify()

    def settle(self, timeout: float) -> int:
        """Wait until what is held or in work is done, if it is due, at most `timeout` seconds. Returns the rows that are left.

        Nobody waits while the last try failed: the store is away, and the rows stay for another request.
        """
        with self._wake:
            due = self._rows >= SOON_ROWS or time.monotonic() - self._done_at >= SETTLE_SECONDS
            if self._rows and due and not self._failing and timeout > 0:
                self._hurried = True
                self._wake.notify_all()
                self._wake.wait_for(lambda: not self._hurried, timeout)
            return self._rows

    def flush(self) -> bool:
        """Do what is held; True when nothing is left. What the work raises comes out; its items count as gone."""
        with self._working:
            with self._wake:
                items, self._pending = self._pending, []
                lost, self._lost = self._lost, 0
                done, left, self._pending_rows = self._pending_rows, True, 0
            try:
                done, left = self._do(items, lost)
            finally:
                self._settled(done, failing=left)
            return not left

    def _settled(self, done: int, *, failing: bool) -> None:
        with self._wake:
            self._rows = max(0, self._rows - done)
            self._failing = failing
            self._done_at = time.monotonic()
            self._hurried = False
            self._wake.notify_all()

    def _do(self, items: list[Item], lost: int) -> tuple[int, bool]:
        """Rows done, and whether some are left for another try."""
        raise NotImplementedError

    def _run(self) -> None:
        waiting = False
        while True:
            if not waiting:
                with self._wake:
                    self._wake.wait_for(lambda: bool(self._pending))
            try:
                waiting = not self.flush()
            except Exception as error:
                # What goes on aside must end neither answers nor itself.
                self._log.error("background work failed", extra={"work": self._name, **failure(error)})
            if waiting:
                time.sleep(EVERY_SECONDS)
                continue
            with self._wake:
                self._wake.wait_for(
                    lambda: (self._rows >= SOON_ROWS or self._hurried) and bool(self._pending), EVERY_SECONDS
                )
