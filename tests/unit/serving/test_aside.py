"""Work beside the answers: what is in work is waited for, and what goes wrong ends nothing."""

from __future__ import annotations

import logging
import threading

import pytest

from dropforge.background_worker import BackgroundWorker


class _Gate(BackgroundWorker[str]):
    """Its work waits for `gate`, and fails first where `fails` says so."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__("gate", logging.getLogger("test.aside"), 100)
        self.begun, self.gate, self.done, self._fails = threading.Event(), threading.Event(), [""][:0], fails

    def hold(self, item: str) -> None:
        self._hold(item, 1)

    def _do(self, items: list[str], _lost: int) -> tuple[int, bool]:
        self.begun.set()
        self.gate.wait(30)
        if self._fails:
            self._fails -= 1
            raise RuntimeError("no")
        self.done += items
        return len(items), False


def test_what_the_thread_has_begun_is_waited_for() -> None:
    """The thread may take the item before the answer is settled: a frozen process would not finish it."""
    aside = _Gate()
    aside.hold("a")
    assert aside.begun.wait(30)
    assert aside.settle(0.01) == 1
    threading.Timer(0.05, aside.gate.set).start()
    assert aside.settle(30) == 0
    assert aside.done == ["a"]


def _own(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Messages of this worker; a thread that another test left may log too."""
    return [r.getMessage() for r in caplog.records if r.name == "test.aside"]


def test_work_that_fails_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A defect in the work costs its item, not those that follow."""
    aside = _Gate(fails=1)
    aside.gate.set()
    with caplog.at_level(logging.ERROR, "test.aside"):
        aside.hold("a")
        assert aside.begun.wait(30)
        deadline = threading.Event()
        while not _own(caplog) and not deadline.wait(0.01):
            pass
        aside.hold("b")
        while not aside.done and not deadline.wait(0.01):
            pass
    assert _own(caplog) == ["background work failed"]
    assert aside.done == ["b"]
    assert aside.flush()
    assert aside.settle(0) == 0
