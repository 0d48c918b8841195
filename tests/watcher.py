"""Ends what a test run has started when the run itself is killed: no fixture is torn down then, and a local cloud would stay.

Run as a program it waits for the end of its standard input, which lasts as long as the test run, and stops the processes whose
pid files lie in the folder of its argument.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def ended_with_this_run(pids: Path) -> Iterator[None]:
    """Around fixtures that start processes with pid files in `pids`. On a usual end they have stopped them before."""
    watcher = subprocess.Popen([sys.executable, __file__, str(pids)], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        watcher.communicate()


def main(pids: Path) -> None:
    sys.stdin.buffer.read()
    from dropforge_local.processes import Process  # not before: most runs end as usual, with nothing to stop

    for file in sorted(pids.glob("*.json"), reverse=True):  # workers before the services they use
        Process(file.stem, file, file.with_suffix(".log")).stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
