"""Records `make deploy` as a new user sees it, against an emulator with nothing in it: docs/deploy-walk.md. `make walk-deploy`.

The command runs on a terminal of its own and its questions are answered as a person would; what stands on the page is what was printed.
AWS_ENDPOINT_URL takes every call to the emulator. Run after `sam build` on the interpreter of the Lambda runtime, as `make verify-aws` is.
The built template is replaced by its twin for the emulator (dropforge_local.sam) while it runs.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dropforge_local import cloud
from dropforge_local.layout import REGION, Config
from dropforge_local.sam import build_folder, local_template

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "deploy-walk.md"
PROJECT = "forge"
# There is no TLS, nobody collects traces, no image: what the emulator lacks.
PARAMETERS = "RequireTls=false Tracing=PassThrough ThrottleRate=10000 ThrottleBurst=10000"
SECONDS = 600


def main() -> int:
    samconfig = (ROOT / "samconfig.toml").read_bytes()
    built = build_folder(ROOT) / "template.yaml"
    whole = built.read_bytes()
    with tempfile.TemporaryDirectory(prefix="dropforge-walk-") as home:
        port, mlflow_port = _free_port(), _free_port()
        config = Config(ROOT, Path(home), port, mlflow_port, project=PROJECT)
        try:
            cloud.start_emulator(config)
            shutil.copy(local_template(config), built)
            recorded, code = walk(config)
        finally:
            cloud.down(config, lambda _what, _seconds: None)
            built.write_bytes(whole)
            (ROOT / "samconfig.toml").write_bytes(samconfig)
    PAGE.write_text(page(recorded.replace(home, "/home/you/forge").replace(str(ROOT), "/home/you/dropforge"), config))
    print(f"{PAGE.relative_to(ROOT)}: exit code {code}")
    return code


def walk(config: Config) -> tuple[str, int]:
    """What `dropforge deploy` prints on a terminal, with the answers typed into it; and its exit code."""
    answers = {
        "AWS region": REGION,
        "Name of the system": PROJECT,
        "Train on a worker of yours": "queue",
        "Address of your MLflow server": config.mlflow_uri,
        "Mail address for alarms": "",
        "Deploy forge to": "y",
    }
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        **config.credentials,
        "AWS_ENDPOINT_URL": config.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "TERM": "dumb",
    }
    command = [str(ROOT / ".venv" / "bin" / "dropforge"), "deploy", "--parameters", PARAMETERS]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, unanswered, deadline = "", dict(answers), time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ready, _, _ = select.select([ours], [], [], 0.2)
        if ready:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the terminal was hung up: the command has ended
                break
            seen += piece.decode("utf-8", "replace")
            last = seen.rpartition("\n")[2]
            for question in [q for q in unanswered if q in last and last.rstrip().endswith(":")]:
                os.write(ours, f"{unanswered.pop(question)}\n".encode())
        elif process.poll() is not None:
            break
    process.terminate()
    return seen.replace("\r\n", "\n"), process.wait()


def page(recorded: str, config: Config) -> str:
    """The recording between its explanation and its end. Ports, ids and times differ from run to run and are left as they were."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", recorded).replace(config.endpoint, "http://127.0.0.1:4566")
    lines = [re.sub(r".*\r", "", line).rstrip() for line in text.splitlines()]
    # Of the progress of an upload, which a terminal overwrites, the end alone.
    lines = [line for line in lines if "Uploading to" not in line or "(100.00%)" in line]
    body = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return f"""<!-- made by `make walk-deploy`: nothing here is edited by hand -->
# The first deploy, word for word

`make deploy` in an account with nothing in it, recorded on the emulator (`AWS_ENDPOINT_URL`); on AWS the words are the same and the waiting is longer. `make deploy` runs
`sam build` first, which is left out here. The parameters given are those that an emulator without TLS and tracing needs; on AWS none are.

```
$ dropforge deploy --parameters "{PARAMETERS}"
{body}
```
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
