"""An animated picture of a terminal from a real run, for the site's first page: `make recording` writes build/recording/.

The commands of the README's "Your own table" run in a folder of their own on the example's data, with a local cloud on free ports
that is stopped at the end. What they print is recorded with its times (asciicast version 2); waits are cut and the rest is played
faster where the run took longer than the picture may, which the page says. termtosvg draws it.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropforge_cli.example_data import fetch

ROOT = Path(__file__).parents[2]
SECONDS = 38.0  # the picture, the most
WIDTH, HEIGHT = 110, 30
_LONGEST_WAIT = 1.2
_TYPING = 0.03  # seconds a letter of a command
_READING = 1.0  # between the end of a command and the next

Event = tuple[float, str]  # seconds since the start, text


def commands(text: str, ports: Sequence[int]) -> list[str]:
    """Those of the README's block behind its set-up, without remarks; `up` gets ports that are free."""
    block = re.search(r"^## Your own table\n+```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if block is None:
        raise SystemExit("error: README.md has no block under `## Your own table`")
    lines = [line.partition("  #")[0].strip() for line in block[1].splitlines()]
    api, mlflow = ports
    started = f"dropforge up --no-ui --port {api} --mlflow-port {mlflow}"
    return [re.sub(r"\bdropforge up$", started, line) for line in lines[1:]]


def shortened(events: Sequence[Event]) -> tuple[list[Event], float]:
    """The events with no wait longer than _LONGEST_WAIT, in at most SECONDS; and how much faster than they came they are played."""
    result, clock, before = list[Event](), 0.0, 0.0
    for at, text in events:
        clock += min(at - before, _LONGEST_WAIT)
        before = at
        result.append((clock, text))
    pace = max(1.0, clock / SECONDS)
    return [(at / pace, text) for at, text in result], pace


def record(script: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[list[Event], list[int]]:
    """What a terminal shows while the commands run one after the other in one shell, and their exit codes."""
    events, codes, started = list[Event](), list[int](), time.monotonic()
    where = folder
    for command in script:
        for letter in f"$ {command}":
            events.append((time.monotonic() - started, letter))
            time.sleep(_TYPING)
        events.append((time.monotonic() - started, "\r\n"))
        code, where = _run(command, where, env, events, started)
        codes.append(code)
        if code:
            break
        time.sleep(_READING)
    events.append((time.monotonic() - started, "$ "))
    return events, codes


def _run(command: str, where: Path, env: Mapping[str, str], events: list[Event], started: float) -> tuple[int, Path]:
    """Exit code, and the folder that the command leaves its shell in."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (HEIGHT, WIDTH))
    with tempfile.NamedTemporaryFile("r") as last:
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"{command}; code=$?; pwd > '{last.name}'; exit $code"],
            cwd=where, env=dict(env), stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        while True:
            try:
                text = os.read(leader, 65536)
            except OSError:  # the terminal's other end was closed
                break
            if not text:
                break
            events.append((time.monotonic() - started, text.decode("utf-8", "replace")))
        os.close(leader)
        code = process.wait()
        return code, Path(last.read().strip() or where)


def cast(events: Sequence[Event]) -> str:
    """An asciicast, version 2."""
    lines: list[Any] = [{"version": 2, "width": WIDTH, "height": HEIGHT, "env": {"TERM": "xterm-256color"}}]
    lines += [[round(at, 3), "o", text] for at, text in events]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def main() -> None:
    """Record, shorten, draw. Ends with the exit code of the command that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "recording")
    parser.add_argument("--table", type=Path, help="the table that is recorded as my.csv; else the example's reference")
    parser.add_argument("--renderer", default=str(ROOT / ".venv-docs" / "bin" / "termtosvg"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    table = given.table or fetch(ROOT / ".cache" / "data").reference
    with tempfile.TemporaryDirectory(prefix="dropforge-recording-") as workdir:
        folder = Path(workdir)
        (folder / "my.csv").write_bytes(table.read_bytes())
        inherited = {
            k: v for k, v in os.environ.items() if k not in {"DROPFORGE_HOME", "DROPFORGE_STACK", "CI", "NO_COLOR"}
        }
        env = {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "COLUMNS": str(WIDTH),
        }
        script = commands((ROOT / "README.md").read_text(encoding="utf-8"), _free_ports(2))
        try:
            events, codes = record(script, folder, env)
        finally:
            subprocess.run([Path(sys.executable).parent / "dropforge", "down"], cwd=folder / "my", env=env, check=False)
    if any(codes):
        sys.exit(f"{script[len(codes) - 1]} ended with {codes[-1]}:\n{''.join(text for _, text in events)[-2000:]}")
    took, (short, pace) = events[-1][0], shortened(events)
    (given.out / "terminal.cast").write_text(cast(short), encoding="utf-8")
    subprocess.run(
        [given.renderer, "render", given.out / "terminal.cast", given.out / "terminal.svg", "-t", "gjm8", "-D", "3000"],
        check=True,
    )
    caption = f"A run of {took:.0f} s, in {short[-1][0]:.0f} s: no wait is longer than {_LONGEST_WAIT / pace:.1f} s"
    caption += f", played {pace:.1f} times as fast." if pace > 1.05 else "."
    (given.out / "caption.txt").write_text(caption + "\n", encoding="utf-8")
    sys.stderr.write(f"{caption} {given.out / 'terminal.svg'}\n")


if __name__ == "__main__":
    main()
