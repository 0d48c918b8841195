"""A real server of Postgres for a test, of Debian's packages."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Debian keeps the server's programs out of PATH.
_FOUND = shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)), None)
_BIN = Path(_FOUND).resolve().parent if _FOUND else None
_NOBODY = 65534  # a server of Postgres refuses to run as root


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """A server of its own on loopback, with a password; what a secret of it holds."""
    if not _BIN:
        pytest.skip("no server of Postgres is installed (Debian: apt-get install postgresql)")
    # Not below pytest's folder, which is closed to the other user.
    folder = Path(tempfile.mkdtemp(prefix="dropforge-postgres-"))
    other = {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}
    if other:
        os.chown(folder, _NOBODY, _NOBODY)
    (folder / "password").write_text("s3cret-word\n")
    (folder / "password").chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    data = folder / "data"
    create = [
        "initdb",
        "-D",
        str(data),
        "-U",
        "reader",
        "--auth=scram-sha-256",
        f"--pwfile={folder / 'password'}",
        "-E",
        "UTF8",
    ]
    serve = f"-c listen_addresses=127.0.0.1 -p {port} -c fsync=off -k {folder}"
    start = ["pg_ctl", "-D", str(data), "-o", serve, "-w", "-l", str(folder / "log"), "start"]
    for program, *rest in (create, start):
        subprocess.run([str(_BIN / program), *rest], check=True, capture_output=True, cwd=folder, **other)  # type: ignore[call-overload] # user and group
    try:
        yield {"host": "127.0.0.1", "port": port, "dbname": "postgres", "username": "reader", "password": "s3cret-word"}
    finally:
        stop = [str(_BIN / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"]
        subprocess.run(stop, check=True, capture_output=True, cwd=folder, **other)  # type: ignore[call-overload] # as above
        shutil.rmtree(folder)
