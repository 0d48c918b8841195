"""Processes we started: found again by pid and start time, stopped by signal, never anybody else's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropforge.errors import PermanentError, Unavailable

START_LIMIT_SECONDS = 900.0  # of a start that goes on and on: a process that spins is never ready


@dataclass(frozen=True, slots=True)
class Process:
    """One background process with its pid file and its log."""

    name: str
    pid_file: Path
    log: Path

    def pid(self) -> int | None:
        """The pid when the process we started still lives; None otherwise (a reused pid has another start time)."""
        try:
            document = json.loads(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        alive = document["started"] and _started_at(document["pid"]) == document["started"]
        return int(document["pid"]) if alive else None

    def start(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> int:
        """Start detached in a session of its own, output appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            started = subprocess.Popen(  # noqa: S603 - our own commands
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid_file.write_text(json.dumps({"pid": started.pid, "started": _started_at(started.pid)}))
        return started.pid

    def stop(self, timeout: float = 8.0) -> bool:
        """SIGTERM to its session, SIGKILL after `timeout` seconds. False when it was not running."""
        pid = self.pid()
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return False
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.pid() is not None and time.monotonic() < deadline:
            _reap(pid)
            time.sleep(0.05)
        if self.pid() is not None:
            _signal(pid, signal.SIGKILL)
            _reap(pid)
        self.pid_file.unlink(missing_ok=True)
        return True

    def progress(self) -> tuple[int, int]:
        """Processor time of all processes of its session in clock ticks, and bytes of its log: both grow while it works.

        Time of members that have ended is missing, so compare for equality only.
        """
        pid = self.pid()
        ticks = sum(_ticks(stat, pid) for stat in Path("/proc").glob("[0-9]*/stat")) if pid else 0
        return ticks, self.log.stat().st_size if self.log.exists() else 0

    def tail(self, lines: int = 15) -> str:
        """Last lines of the log, for error messages."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def wait_until(process: Process, ready: Callable[[], bool], seconds: float) -> None:
    """Until `ready()`. Raises Unavailable with the end of its log when the process dies, or makes no progress for `seconds`.

    Progress is processor time or a line in its log: on a busy machine a start takes as long as it takes. One that never
    becomes ready ends after START_LIMIT_SECONDS.
    """
    started = moved = time.monotonic()
    progress = process.progress()
    while not ready():
        _reap_any(process)
        if process.pid() is None:
            raise Unavailable(
                f"{process.name} ended at start:\n{process.tail()}", code="start_failed", fix=f"see {process.log}"
            )
        now = time.monotonic()
        if (current := process.progress()) != progress:
            progress, moved = current, now
        if now - moved > seconds or now - started > START_LIMIT_SECONDS:
            raise Unavailable(
                f"{process.name} is not ready after {now - started:.0f} s, the last {now - moved:.0f} s of them without "
                f"any progress:\n{process.tail()}",
                code="start_slow",
                fix=f"see {process.log}; `dropforge up` again goes on waiting for it",
            )
        time.sleep(0.05)


def require_free(port: int, what: str, option: str, timeout: float = 3.0) -> None:
    """Raises PermanentError naming the port and the option when somebody listens there and still does after `timeout` seconds.

    A server that was killed a moment ago has children that hold its port a little longer.
    """
    if not is_free(port, timeout):
        raise PermanentError(
            f"port {port} for {what} is taken by another program",
            code="port_taken",
            fix=f"stop that program, or choose another port: dropforge up {option} {port + 1}",
        )


def is_free(port: int, timeout: float = 0.0) -> bool:
    """Whether nobody listens there, at the latest after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while is_listening(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


def working_folders(module: str) -> set[Path]:
    """Where the processes of this user that run `python -m module` were started and work."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.geteuid() and module in (process / "cmdline").read_text().split("\0"):
                found.add((process / "cwd").resolve(strict=True))
        except OSError:  # it ended meanwhile
            continue
    return found


def is_listening(port: int) -> bool:
    """Whether somebody takes connections on this port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _started_at(pid: int) -> str:
    """Field 22 of /proc/pid/stat (start time in clock ticks since boot); empty for no such process or a zombie.

    By hand: psutil gives wall-clock time, which moves with the machine's clock, so that a process would no longer be recognised.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _ticks(stat: Path, session: int) -> int:
    """User and system time of the process (fields 14 and 15 of its stat) when it is of this session (field 6), else 0."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile
        return 0
    return int(fields[11]) + int(fields[12]) if int(fields[3]) == session else 0


def _signal(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    """Collect the process when it is our child, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _reap_any(process: Process) -> None:
    pid = process.pid()
    if pid is not None:
        _reap(pid)
