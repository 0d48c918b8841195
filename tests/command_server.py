"""The program `dropforge` in processes of their own that are forked from one that has imported it: its start is paid once."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# Each line of stdin: arguments, folder, environment, files for stdout and stderr. Answered by the exit code. Nothing but imports runs
# before the fork, so a command finds arguments, environment and streams as a program that was started does.
_SERVER = """
import json, os, sys, traceback
import dropforge_cli.main, duckdb, rich.console, rich.table
dropforge_cli.main.app  # with every command: its module is imported

for line in sys.stdin:
    arguments, folder, environment, *streams = json.loads(line)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, path in enumerate(streams, 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.argv = ["dropforge", *arguments]
            dropforge_cli.main.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class CommandServer:
    """Runs one command at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, folder: Path, arguments: list[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run([DROPFORGE, *arguments], cwd=folder, env=environment, capture_output=True, text=True)."""
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.TemporaryDirectory() as streams:
            out, err = Path(streams, "out"), Path(streams, "err")
            self._process.stdin.write(
                json.dumps([arguments, str(folder), dict(environment), str(out), str(err)]) + "\n"
            )
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(
                ["dropforge", *arguments], code, *(f.read_text() if f.exists() else "" for f in (out, err))
            )

    def close(self) -> None:
        """End the process; a command that runs is waited for."""
        self._process.communicate()
