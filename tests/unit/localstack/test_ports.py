"""Local clouds at the same time: each takes ports that are free."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dropforge.errors import PermanentError
from dropforge_local import cloud, ports, processes
from dropforge_local.layout import Config

ROOT = Path(__file__).parents[3]


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Three ports on which somebody listens."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.socket()) for _ in range(3)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
            server.listen()
        yield [int(s.getsockname()[1]) for s in servers]


@pytest.fixture
def config(tmp_path: Path, taken: list[int]) -> Config:
    """A local cloud whose usual ports are taken."""
    return Config(ROOT, tmp_path, taken[0], taken[1], ui_port=taken[2])


def test_taken_ports_are_replaced_by_free_ones(config: Config, taken: list[int]) -> None:
    """Three different ones on which nobody listens; each change is noted."""
    notes: list[str] = []
    chosen = ports.chosen(config, (), notes.append)
    found = [chosen.port, chosen.mlflow_port, chosen.ui_port]
    assert len({*found, *taken}) == 6
    assert all(processes.is_free(port) for port in found)
    assert [str(was) in line and str(now) in line for was, now, line in zip(taken, found, notes, strict=True)] == [
        True
    ] * 3


def test_ports_that_differ_from_each_other_stay(tmp_path: Path) -> None:
    """Free ones are taken as they are; two parts never get one port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    chosen = ports.chosen(Config(ROOT, tmp_path, port, port), (), lambda _text: None)
    assert chosen.port == port
    assert chosen.mlflow_port > port
    assert chosen.ui_port == 0  # no web app


def test_ports_asked_for_and_of_a_foreign_emulator_stay(config: Config) -> None:
    """What somebody wrote on the command line is an error when it is taken; another's emulator is not moved."""
    assert ports.chosen(config, ("port", "mlflow_port", "ui_port"), lambda _text: None) == config
    foreign = replace(config, external="http://127.0.0.1:4599")
    assert ports.chosen(foreign, ("mlflow_port", "ui_port"), lambda _text: None) == foreign


def test_a_running_local_cloud_keeps_its_ports(config: Config) -> None:
    """Its other parts know the addresses."""
    process = cloud.mlflow(config)
    process.start([sys.executable, "-c", "import time; time.sleep(600)"], dict(os.environ), config.home)
    try:
        assert ports.chosen(config, (), lambda _text: None) == config
    finally:
        process.stop()


def test_without_any_free_port_the_error_says_what_to_stop(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than a search without end."""
    monkeypatch.setattr(ports, "is_free", lambda *_: False)
    with pytest.raises(PermanentError, match=str(config.port)) as caught:
        ports.chosen(config, (), lambda _text: None)
    assert "dropforge projects" in caught.value.fix


def test_starts_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits until the first one's servers listen, and says so; a start that was killed blocks nobody."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with ports.one_at_a_time(lambda _text: waits.set()):
            order.append("second")

    with ports.one_at_a_time(order.append):
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(60)
        order.append("first")
    other.join(60)
    assert order == ["first", "second"]
    program = (
        "import os; from dropforge_local import ports; ports.one_at_a_time(print).__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    with ports.one_at_a_time(order.append):
        assert order == ["first", "second"]


def test_processes_are_found_by_their_module_and_folder(tmp_path: Path) -> None:
    """Of this user, while they run."""
    (tmp_path / "a_server.py").write_text("import time; print('ready', flush=True); time.sleep(600)")
    running = subprocess.Popen([sys.executable, "-m", "a_server"], cwd=tmp_path, stdout=subprocess.PIPE)
    assert running.stdout is not None
    with running.stdout:
        running.stdout.readline()
        assert processes.working_folders("a_server") == {tmp_path.resolve()}
        running.kill()
        running.wait()
    assert processes.working_folders("a_server") == set()
