"""Ports of local clouds that run at the same time: nobody need choose them."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dropforge.errors import PermanentError
from dropforge_local import cloud, frontend
from dropforge_local.layout import Config
from dropforge_local.processes import is_free

_SEARCHED = 200  # ports above the usual one
_PARTS = {"port": "the emulated AWS", "mlflow_port": "MLflow", "ui_port": "the web app"}


def chosen(config: Config, fixed: Collection[str], note: Callable[[str], None]) -> Config:
    """With the next free port where another program has the usual one, or that of the last start. `note` is told of each.

    Ports in `fixed` (names of fields) stay as they are, and all do while a part of this local cloud runs: the others know its address.
    Raises PermanentError where none is free.
    """
    parts = (cloud.emulator(config), cloud.mlflow(config), frontend.frontend(config), cloud.worker(config))
    if any(part.pid() is not None for part in parts):
        return config
    # Children of a server that was killed a moment ago hold its port a little longer.
    seconds = 3.0 if config.ports_file.exists() else 0.0
    searched = [p for p in _PARTS if p not in fixed and getattr(config, p) and not (p == "port" and config.external)]
    taken = {getattr(config, p) for p in _PARTS if p not in searched}
    found: dict[str, int] = {}
    for part in searched:
        usual = int(getattr(config, part))
        found[part] = usual if usual not in taken and is_free(usual, seconds) else _next(usual, taken)
        taken.add(found[part])
        if found[part] != usual:
            note(f"port {usual} is taken: {_PARTS[part]} is on {found[part]}")
    return replace(config, **found)  # type: ignore[arg-type] # every field of _PARTS is a number


def _next(usual: int, taken: Collection[int]) -> int:
    for port in range(usual + 1, min(usual + _SEARCHED, 65_535) + 1):
        if port not in taken and is_free(port):
            return port
    raise PermanentError(
        f"no port from {usual} to {usual + _SEARCHED} is free",
        code="port_taken",
        fix="stop local clouds that nobody uses: dropforge projects lists them, dropforge down in their folders stops them",
    )


@contextmanager
def one_at_a_time(note: Callable[[str], None]) -> Iterator[None]:
    """From the choice of ports until servers listen there: of this user's starts, one at a time. `note` is told of a wait."""
    path = Path(tempfile.gettempdir(), f"dropforge-{os.geteuid()}.lock")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("waiting for another local cloud that starts")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
