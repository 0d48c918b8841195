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

from dropforge_cli.example_data import fetch
from dropforge_cli.target import API_VARIABLE, HOME_VARIABLE
from dropforge_local import cloud, deploy
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
            cloud.prepare_home(config)
            cloud.start_emulator(config)
            cloud.start_mlflow(config, lambda _what, _seconds: None)
            shutil.copy(local_template(config), built)
            first, code = walk(config, ["--parameters", PARAMETERS], answers(config), {})
            outputs = deploy.outputs(config)
            cloud.start_worker(config, outputs)
            # The stack names API Gateway's address of an API; the emulator has it under a path of its own.
            where = {API_VARIABLE: outputs["ApiUrl"], HOME_VARIABLE: home}
            table = str(fetch(ROOT / ".cache" / "data").reference.relative_to(ROOT))
            second, failed = walk(config, ["--yes", "--smoke-test", table], {}, where)
        finally:
            cloud.down(config, lambda _what, _seconds: None)
            built.write_bytes(whole)
            (ROOT / "samconfig.toml").write_bytes(samconfig)
    text = page(shown(first, config), shown(second, config), table)
    PAGE.write_text(text.replace(home, "/home/you/forge").replace(str(ROOT), "/home/you/dropforge"))
    print(f"{PAGE.relative_to(ROOT)}: exit codes {code}, {failed}")
    return code or failed


def answers(config: Config) -> dict[str, str]:
    """By question what a new user types."""
    return {
        "AWS region": REGION,
        "Name of the system": PROJECT,
        "Train on a worker of yours": "queue",
        "Address of your MLflow server": config.mlflow_uri,
        "Mail address for alarms": "",
        "Table for a smoke test": "",
        "Deploy forge to": "y",
    }


def walk(config: Config, arguments: list[str], answers: dict[str, str], variables: dict[str, str]) -> tuple[str, int]:
    """What `dropforge deploy` prints on a terminal, with the answers typed into it; and its exit code."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        **config.credentials,
        "AWS_ENDPOINT_URL": config.endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "TERM": "dumb",
        **variables,
    }
    command = [str(ROOT / ".venv" / "bin" / "dropforge"), "deploy", *arguments]
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


def shown(recorded: str, config: Config) -> str:
    """What stays of a recording on the page. Ports, ids and times differ from run to run and are left as they were."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", recorded).replace(config.endpoint, "http://127.0.0.1:4566")
    lines = [re.sub(r".*\r", "", line).rstrip() for line in text.splitlines()]
    # Of the progress of an upload, which a terminal overwrites, the end alone.
    lines = [line for line in lines if "Uploading to" not in line or "(100.00%)" in line]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def page(first: str, second: str, table: str) -> str:
    """The two recordings between their explanations."""
    return f"""<!-- made by `make walk-deploy`: nothing here is edited by hand -->
# The first deploy, word for word

`make deploy` in an account with nothing in it, recorded on the emulator (`AWS_ENDPOINT_URL`); on AWS the words are the same and the waiting is longer. `make deploy` runs
`sam build` first, which is left out here. The parameters given are those that an emulator without TLS and tracing needs; on AWS none are.

```
$ dropforge deploy --parameters "{PARAMETERS}"
{first}
```

## The smoke test

The same command again, with a table: the deploy finds nothing to change, and the table goes from upload to prediction. A training worker runs beside it (`TrainingCompute=queue`).
On the emulator the API's address has to be said (`{API_VARIABLE}`), on AWS the stack says it.

```
$ dropforge deploy --yes --smoke-test {table}
{second}
```
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
