"""The analyze function in a process of its own, over the emulator's store; a file named `poison` kills that process."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dropforge.app_context import AppContext
from dropforge.environment import Environment
from dropforge.errors import Unavailable
from dropforge_local.memory import MemoryTracking, MemoryWorkflow
from harness.processes import s3_store

ROOT = Path(__file__).parents[3]
_PROCESSES = multiprocessing.get_context("forkserver")


class ProcessFunction:
    """A queue of events whose function is a process for every call; what is sent is delivered by `deliver`, once."""

    def __init__(self, port: int, how: str) -> None:
        self._port = port
        self._how = how
        self.sent: list[str] = []

    def invoke(self, payload: bytes) -> bytes:
        """Raises Unavailable when the process died, as Lambda says it to a caller."""
        process = _PROCESSES.Process(target=handle, args=(self._port, payload, self._how))
        process.start()
        process.join()
        if process.exitcode:
            raise Unavailable(f"the process ended with {process.exitcode}", code="function_failed")
        return b"null"

    def send(self, body: str) -> None:
        self.sent.append(body)

    def depth(self) -> int:
        return len(self.sent)

    def deliver(self) -> list[bool]:
        """Whether each call came back, in the order sent."""
        sent, self.sent = self.sent, []
        return [self._returned(body) for body in sent]

    def _returned(self, body: str) -> bool:
        try:
            self.invoke(body.encode())
        except Unavailable:
            return False
        return True


def handle(port: int, payload: bytes, how: str) -> None:
    """Runs in the child."""
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
    spec = importlib.util.spec_from_file_location("analyze_app", ROOT / "functions" / "analyze" / "app.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = app
    spec.loader.exec_module(app)
    world: Any = AppContext(Environment(data_bucket="data", artifact_bucket="artifacts"))
    tracking = MemoryTracking()
    vars(world).update(store=s3_store(port), workflow=MemoryWorkflow(), tracking=lambda _experiment: tracking)
    app._app_context = lambda: world
    _arm(how)
    app.handler(json.loads(payload), None)


def _run_out_of_memory() -> None:
    """Allocates within a limit of its own until the allocator refuses."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
    pieces: list[bytearray] = []
    try:
        while True:
            pieces.append(bytearray(20_000_000))
    except MemoryError:
        pieces.clear()  # the frame lives on in the traceback, and so would they
        raise


_DEATHS: Final[dict[str, Callable[[], object]]] = {
    "exit": lambda: os._exit(137),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "memory": _run_out_of_memory,
}


def _arm(how: str) -> None:
    from dropforge.uploads import analyze_upload

    admit = analyze_upload.admit

    def armed(file: Path, **rest: Any) -> Any:
        if b"poison" in file.read_bytes()[:200]:
            _DEATHS[how]()
        return admit(file, **rest)

    analyze_upload.admit = armed
