"""From nothing to a prediction, as the README tells it: one clock over a clone and every command of "Your own table".

    make bench-first-prediction                          the machine's package caches are used
    … first_prediction.py --cold                         with empty caches of pip and uv

The table is the example's 32,561 rows, fetched before; it lies in the fresh checkout as `my.csv`. Nothing else is put there and
nothing is edited. What the run started is stopped, and what it made is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dropforge_cli.example_data import fetch

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^## Your own table\n+```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Each line of the README's block, without its remark."""
    result = _BLOCK.search(text)
    if result is None:
        raise SystemExit("error: README.md has no block under `## Your own table`")
    return [line.partition("  #")[0].strip() for line in result[1].splitlines()]


def main() -> None:
    """One run, told on stderr as it goes and as JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cold", action="store_true", help="empty caches of pip and uv")
    parser.add_argument("--source", type=Path, default=ROOT, help="the repository to clone; else this one")
    parser.add_argument("--json", type=Path, help="write it there as well")
    given = parser.parse_args()
    table = fetch(ROOT / ".cache" / "data").reference
    with tempfile.TemporaryDirectory(prefix="dropforge-first-") as folder:
        result = _run(given.source, Path(folder), table, cold=given.cold)
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    sys.exit(result["exit"])


def _run(source: Path, folder: Path, table: Path, *, cold: bool) -> dict[str, Any]:
    clone = [f"git clone --quiet '{source}' dropforge", "cd dropforge"]
    lines = ["set -u", 'tick() { echo "$(date +%s.%N) $1" >> "$TICKS"; }']
    for command in [*clone, *commands((source / "README.md").read_text(encoding="utf-8"))]:
        shown = command.replace(str(source), "…").replace("'", "'\\''")
        lines += [
            f"echo '$ {shown}' >&2",
            f"{command} >&2 || {{ code=$?; dropforge down; exit $code; }}",
            f"tick '{shown}'",
        ]
        if command == "cd dropforge":
            lines.append(f"cp '{table}' my.csv")
    lines.append("dropforge down >&2")
    ticks = folder / "ticks"
    before, started = os.getloadavg()[0], time.time()
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        check=False,
        env={**_environment(folder, cold=cold), "TICKS": str(ticks)},
    )
    steps, last = [], started
    for line in ticks.read_text(encoding="utf-8").splitlines():
        at, _, command = line.partition(" ")
        steps.append({"command": command, "seconds": round(float(at) - last, 1)})
        last = float(at)
    return {
        "exit": done.returncode,
        "seconds": round(last - started, 1),
        "steps": steps,
        "caches": "empty" if cold else "as they were",
        "cores": os.cpu_count(),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
    }


def _environment(folder: Path, *, cold: bool) -> dict[str, str]:
    """Ports may be given, an active environment and a project's own state not."""
    left_out = {"DROPFORGE_HOME", "DROPFORGE_STACK", "VIRTUAL_ENV"}
    stored = {k: v for k, v in os.environ.items() if k not in left_out}
    stored["PATH"] = os.pathsep.join(
        p for p in stored["PATH"].split(os.pathsep) if Path(p) != Path(sys.executable).parent
    )
    if cold:
        stored |= {
            name: str(folder / "cache" / name.lower()) for name in ("PIP_CACHE_DIR", "UV_CACHE_DIR", "XDG_CACHE_HOME")
        }
    return stored


if __name__ == "__main__":
    main()
