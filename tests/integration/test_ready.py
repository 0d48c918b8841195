"""The hook that an emulator runs when it is ready: the stack is there afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropforge_local import cloud, deploy
from dropforge_local.layout import Config

from ..conftest import ROOT, free_ports
from ..watcher import ended_with_this_run

pytestmark = pytest.mark.integration
HOOK = ROOT / "localstack" / "init" / "ready.d" / "10-deploy.sh"


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Config]:
    """An emulator with nothing in it."""
    config = Config(ROOT, tmp_path, free_ports(1)[0], 0)
    with ended_with_this_run(config.pids):
        try:
            cloud.start_emulator(config)
            yield config
        finally:
            cloud.down(config, lambda _what, _seconds: None)


def _run(endpoint: str, uri: str = "", **account: str) -> subprocess.CompletedProcess[str]:
    """As the emulator runs it: by sh, with its address and its account in the environment."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": endpoint,
        "MLFLOW_TRACKING_URI": uri,
        **account,
    }
    return subprocess.run(["sh", HOOK], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.drill
def test_the_hook_deploys_the_stack(emulator: Config) -> None:
    """Once it has run the stack is complete and settings are in force; a second run, after a restart, changes nothing."""
    first = _run(emulator.endpoint, "http://127.0.0.1:5599", **emulator.credentials)
    assert (first.returncode, first.stdout) == (0, "stack created\n"), first.stderr
    assert _run(emulator.endpoint, "http://127.0.0.1:5599", **emulator.credentials).stdout == "stack unchanged\n"
    assert deploy.stack_status(emulator) == "CREATE_COMPLETE"
    stored = deploy.client(emulator, "s3").get_object(Bucket=emulator.data_bucket, Key="config/settings.yaml")
    assert stored["Body"].read() == (ROOT / "settings.yaml").read_bytes()
    functions = deploy.client(emulator, "lambda")
    name = deploy.outputs(emulator)["ControlFunction"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert variables["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5599", json.dumps(variables)


def test_another_address_is_told() -> None:
    """The hook speaks to an emulator on this machine and to nothing else."""
    result = _run("https://sts.amazonaws.com")
    assert (result.returncode, "http://127.0.0.1:4566" in result.stderr) == (1, True)
