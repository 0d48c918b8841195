"""Processes are found again, stopped in order, and never anybody else's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropforge.errors import PermanentError, Unavailable
from dropforge_local import processes
from dropforge_local.processes import Process, require_free, wait_until

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)
SAVING = (
    "import pathlib, signal, sys, time\n"
    "def save(*_): pathlib.Path('saved').write_text('yes'); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, save); print('ready', flush=True); time.sleep(600)"
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A process that is not started yet, and is stopped whatever the test does."""
    created = Process("the sleeper", tmp_path / "run" / "sleeper.json", tmp_path / "logs" / "sleeper.log")
    yield created
    created.stop(timeout=0)


@pytest.fixture
def start(process: Process, tmp_path: Path) -> Callable[[str], int]:
    """Start a program and wait until it says `ready`."""

    def started(program: str) -> int:
        pid = process.start([sys.executable, "-c", program], {}, tmp_path)
        wait_until(process, lambda: "ready" in process.tail(), 30)
        return pid

    return started


def test_a_started_process_is_found_again(process: Process, start: Callable[[str], int]) -> None:
    """Another object that reads the same pid file finds the same process."""
    pid = start(SLEEPER)
    assert Process("again", process.pid_file, process.log).pid() == pid


def test_an_ended_process_is_not_found(process: Process, start: Callable[[str], int]) -> None:
    """A process that died by itself does not run, zombie or not."""
    os.kill(start(SLEEPER), signal.SIGKILL)
    wait = Process("the sleeper", process.pid_file, process.log)
    with pytest.raises(Unavailable):
        wait_until(wait, lambda: False, 30)
    assert process.pid() is None


def test_stop_lets_a_process_save(process: Process, start: Callable[[str], int], tmp_path: Path) -> None:
    """The request to end comes as SIGTERM, and the process has finished its saving when `stop` returns."""
    start(SAVING)
    assert process.stop()
    assert (tmp_path / "saved").read_text() == "yes"
    assert process.pid() is None


def test_stop_ends_a_process_that_refuses(process: Process, start: Callable[[str], int]) -> None:
    """A process that ignores the request is killed when the timeout ends."""
    start(STUBBORN)
    assert process.stop(timeout=0.2)
    assert process.pid() is None


def test_stopping_twice_is_harmless(process: Process, start: Callable[[str], int]) -> None:
    """The second stop finds nothing and says so."""
    start(SLEEPER)
    assert process.stop()
    assert not process.stop()


def test_a_reused_pid_is_left_alone(process: Process) -> None:
    """A pid file whose start time is not that of the process with this pid names nobody: nothing is signalled."""
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL, start_new_session=True
    ) as stranger:
        try:
            process.pid_file.parent.mkdir(parents=True)
            process.pid_file.write_text(json.dumps({"pid": stranger.pid, "started": "1"}))
            assert process.pid() is None
            assert not process.stop()
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 12'])
def test_a_broken_pid_file_names_nobody(process: Process, text: str) -> None:
    """A pid file that was cut off is as good as none."""
    process.pid_file.parent.mkdir(parents=True)
    process.pid_file.write_text(text)
    assert process.pid() is None


def test_a_failed_start_shows_the_reason(process: Process, tmp_path: Path) -> None:
    """When the program ends at once, the error carries what it said and where its log is."""
    process.start([sys.executable, "-c", "raise SystemExit('no such database')"], {}, tmp_path)
    with pytest.raises(Unavailable, match="no such database") as caught:
        wait_until(process, lambda: False, 30)
    assert str(process.log) in caught.value.fix


WORKING = "while True: pass"
TALKING = "import time\nwhile True: print('migrating', flush=True); time.sleep(0.01)"


class _Clock:
    """Stands in for the module `time`: every sleep takes a minute of its time, and really until the process moved."""

    def __init__(self, process: Process, *, moves: bool) -> None:
        self.now, self._process, self._moves = 0.0, process, moves

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.now += 60
        before = self._process.progress()
        while self._moves and self._process.progress() == before:
            time.sleep(0.01)


@pytest.mark.parametrize("program", [WORKING, TALKING])
def test_a_slow_start_that_makes_progress_is_waited_for(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """A process that computes, or writes its log, is waited for longer than it may be without progress."""
    process.start([sys.executable, "-c", program], {}, tmp_path)
    clock = _Clock(process, moves=True)
    monkeypatch.setattr(processes, "time", clock)
    wait_until(process, lambda: clock.now >= 600, 90)


def test_a_start_without_progress_is_given_up(
    process: Process, start: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that neither computes nor writes is reported as not ready, and goes on: the next start finds it."""
    pid = start(SLEEPER)
    before = None
    while before != (before := process.progress()):
        time.sleep(0.05)
    clock = _Clock(process, moves=False)
    monkeypatch.setattr(processes, "time", clock)
    with pytest.raises(Unavailable, match="without any progress") as caught:
        wait_until(process, lambda: False, 90)
    assert (caught.value.code, clock.now, process.pid()) == ("start_slow", 120, pid)


def test_a_start_that_spins_for_ever_is_given_up(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress alone does not make a start endless: there is a limit over all."""
    process.start([sys.executable, "-c", WORKING], {}, tmp_path)
    monkeypatch.setattr(processes, "time", _Clock(process, moves=True))
    with pytest.raises(Unavailable) as caught:
        wait_until(process, lambda: False, 90)
    assert caught.value.code == "start_slow"


def test_a_process_gets_the_given_environment_only(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the user's environment reaches it: functions inherit what the emulator has."""
    monkeypatch.setenv("A_SECRET_OF_THE_SHELL", "hidden")
    show = "import os; print(sorted(os.environ), flush=True); print('ready', flush=True); import time; time.sleep(600)"
    process.start([sys.executable, "-c", show], {"GIVEN": "yes"}, tmp_path)
    wait_until(process, lambda: "ready" in process.tail(), 30)
    assert "GIVEN" in process.tail()
    assert "A_SECRET_OF_THE_SHELL" not in process.tail()


def test_a_taken_port_is_named_with_its_option() -> None:
    """The error tells the port, the option that changes it, and that another program has it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PermanentError, match=str(port)) as caught:
            require_free(port, "MLflow", "--mlflow-port", timeout=0)
    assert "--mlflow-port" in caught.value.fix


def test_a_free_port_is_no_error() -> None:
    """A port that nobody listens on passes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_free(port, "MLflow", "--mlflow-port")
