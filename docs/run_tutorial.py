"""Run every command of docs/tutorial.md in order, as a reader would type them; `make tutorial`.

A line that ends in `# exit N` must end so; every other must end with 0. The checkout is left alone: what the tutorial makes is in a
folder of its own, and its local cloud is stopped at the end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"\s*# exit (\d+)$")
FOLDER = "../dropforge-tutorial"


def commands(text: str) -> list[tuple[str, int]]:
    """Each command of the page's `sh` blocks, and the exit code it must have."""
    matches = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            wanted = _EXIT.search(line)
            matches.append((_EXIT.sub("", line), int(wanted[1]) if wanted else 0))
    return matches


def main() -> None:
    """Write one script that stops at the first line that ends otherwise than the page says."""
    with tempfile.TemporaryDirectory(prefix="dropforge-tutorial-") as folder:
        lines = ["set -u"]
        for command, wanted in commands(PAGE.read_text(encoding="utf-8")):
            shown = command.replace("'", "'\\''")
            lines += [f"echo '$ {shown}' >&2", command.replace(FOLDER, folder), "got=$?"]
            lines.append(
                f"if [ $got != {wanted} ]; then echo 'exit '$got' instead of {wanted}' >&2; dropforge down; exit 1; fi"
            )
        started = time.monotonic()
        done = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=ROOT, check=False, env=_environment())
        sys.stderr.write(f"{len(lines) // 4} commands, {time.monotonic() - started:.0f} s, exit {done.returncode}\n")
    sys.exit(done.returncode)


def _environment() -> dict[str, str]:
    """Ports may be given, a project's own state not."""
    return {k: v for k, v in os.environ.items() if k not in {"DROPFORGE_HOME", "DROPFORGE_STACK"}}


if __name__ == "__main__":
    main()
