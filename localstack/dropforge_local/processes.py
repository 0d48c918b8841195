"""Start and stop the processes of the local cloud, and never anybody else's.

A process is remembered by its id and its start time: an id that the system gave to another process since then
is not ours and is left alone.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dropforge.errors import PermanentError, Unavailable
from dropforge_local.places import HOST, Home


@dataclass(frozen=True, slots=True)
class Started:
    """One process: `birth` is its start in clock ticks since boot (field 22 of /proc/{pid}/stat)."""

    name: str
    pid: int
    birth: int
    fingerprint: str = ""


def start(home: Home, name: str, command: Sequence[str], env: Mapping[str, str], *, fingerprint: str = "") -> Started:
    """Start it as the head of its own process group, its output appended to its log; `env` is its whole environment."""
    home.folder("logs")
    log = home.log(name)
    with log.open("ab") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own programs, no shell, no user text
            list(command),
            env=dict(env),
            cwd=home.folder("work"),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Started(name, process.pid, _birth(process.pid) or 0, fingerprint)
    _record(home, name).write_text(json.dumps(asdict(started)))
    return started


def running(home: Home, name: str) -> Started | None:
    """The process of that name if it is alive and still the one we started."""
    try:
        found = Started(**json.loads(_record(home, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if found.birth and _birth(found.pid) == found.birth else None


def stop(home: Home, name: str, *, seconds: float = 20, whole_group: bool = False) -> bool:
    """Ask it to end and wait; kill what is left after `seconds`. False when it did not run.

    The emulator saves its state when asked and must see the request alone (`whole_group=False`);
    a server that only wraps another needs it sent to the group.
    """
    found = running(home, name)
    if found is None:
        _record(home, name).unlink(missing_ok=True)
        return False
    _signal(found, signal.SIGTERM, whole_group=whole_group)
    wait_until(lambda: _birth(found.pid) != found.birth, seconds)
    # Children of the one we started (its warm functions) share the group; they have nothing to save.
    _signal(found, signal.SIGKILL, whole_group=True)
    _reap(found.pid)
    _record(home, name).unlink(missing_ok=True)
    return True


def wait_until(condition: Callable[[], bool], seconds: float, *, pause: float = 0.05) -> bool:
    """Poll until it holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def wait_for_http(home: Home, started: Started, url: str, seconds: float) -> None:
    """Wait for an answer 200. Raises Unavailable with the end of the log when the process ends or stays silent."""

    def ready() -> bool:
        return answers(url) or _birth(started.pid) != started.birth

    in_time = wait_until(ready, seconds)
    if _birth(started.pid) != started.birth:
        raise Unavailable(
            f"{started.name} ended while starting:\n{tail(home.log(started.name))}",
            code="start_failed",
            fix=f"the whole log is {home.log(started.name)}",
        )
    if not in_time:
        raise Unavailable(
            f"{started.name} gave no answer at {url} within {seconds:.0f} s:\n{tail(home.log(started.name))}",
            code="start_timeout",
            fix=f"the machine may be busy: run it again; the whole log is {home.log(started.name)}",
        )


def answers(url: str, timeout: float = 2) -> bool:
    """True when the local address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - loopback addresses built here
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def require_free(port: int, option: str, what: str) -> None:
    """Raises PermanentError naming port and option when something else listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise PermanentError(
                f"port {port} is taken, {what} cannot listen there",
                code="port_taken",
                fix=f"choose another with {option}, or stop the program that uses it (`ss -ltnp | grep :{port}`)",
            ) from None


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log; empty when there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _record(home: Home, name: str) -> Path:
    return home.folder("run") / f"{name}.json"


def _birth(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None when there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in field 2 may hold spaces and brackets: count from the last bracket. Field 3 is the state.
    after_name = stat.rpartition(")")[2].split()
    return None if after_name[0] in "ZX" else int(after_name[19])


def _signal(found: Started, number: signal.Signals, *, whole_group: bool) -> None:
    try:
        if whole_group:
            os.killpg(found.pid, number)
        else:
            os.kill(found.pid, number)
    except ProcessLookupError:
        return  # it ended by itself


def _reap(pid: int) -> None:
    """Collect the exit status when we are the parent (tests); otherwise init does."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return
