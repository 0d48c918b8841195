"""What the campaign needs: its size, an emulator to spoil, and the figures that go into docs/reliability.md.

`make test` runs every fault a few times; `make faults` sets CAMPAIGNS=full and runs them as often as the promise says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dropforge.adapters.s3_store import S3Store
from harness.processes import bare_emulator, s3_store
from harness.world import AppContext

from ..conftest import repeats
from ..unit.serving.conftest import ask, bundle, stored
from ..watcher import ended_with_this_run

__all__ = ["ask", "bundle", "stored"]  # the small real bundle of the serving tests, for faults of requests too


@pytest.fixture(autouse=True)
def _promises(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    marker = request.node.get_closest_marker("promise")
    for number in marker.args if marker else ():
        record_property("promise", number)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Keep what was measured, in words, for the page."""
    return lambda text: record_property("figure", text)


@pytest.fixture
def times() -> Callable[[int, int], int]:
    """How often: `times(quick, full)`."""
    return repeats


@pytest.fixture
def world() -> AppContext:
    return AppContext()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an emulator without a stack."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    home: Path = tmp_path_factory.mktemp("emulator")
    with ended_with_this_run(home / "pids"), bare_emulator(home, port):
        yield port


@pytest.fixture
def s3(emulator: int) -> S3Store:
    return s3_store(emulator)
