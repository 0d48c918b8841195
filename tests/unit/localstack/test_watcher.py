"""A test run that is killed leaves no process behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dropforge_local.processes import Process

ROOT = Path(__file__).parents[3]
RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from watcher import ended_with_this_run
with ended_with_this_run(Path(sys.argv[2])):
    print("started", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_ends_what_it_started(tmp_path: Path, number: signal.Signals) -> None:
    """By SIGTERM or SIGKILL, which run no teardown: the process with a pid file ends within moments."""
    service = Process("a service", tmp_path / "pids" / "service.json", tmp_path / "service.log")
    service.start([sys.executable, "-c", "import time; time.sleep(600)"], {}, tmp_path)
    try:
        run = subprocess.Popen(
            [sys.executable, "-c", RUN, str(ROOT / "tests"), str(tmp_path / "pids")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert run.stdout is not None
        assert run.stdout.readline() == "started\n"
        assert service.pid() is not None
        run.send_signal(number)
        run.communicate(timeout=60)
        pause = threading.Event()
        for _ in range(600):
            if service.pid() is None:
                break
            pause.wait(0.1)
        assert service.pid() is None
    finally:
        service.stop()
