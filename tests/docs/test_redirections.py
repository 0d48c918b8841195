"""What the documentation sends into a file or a pipe arrives there: the data, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from ..command_server import CommandServer

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
_REDIRECTION = re.compile(
    r"\b(dropforge [^#`\n|>]+?)\s*(?:>\s*[\w./-]+|\|\s*jq [.\w]+)\s*(?:#.*)?(?:`|$)", re.MULTILINE
)
OUTPUTS = {
    "ApiUrl": "http://127.0.0.1:1/prod",
    "ApiKey": "key",
    "MlflowUrl": "http://127.0.0.1:2",
    "FrontendUrl": "",
    "DataBucket": "data",
    "ArtifactBucket": "artifacts",
    "Region": "us-east-1",
    "EndpointUrl": "http://127.0.0.1:1",
    "AccessKeyId": "AKIAEXAMPLE",
    "SecretAccessKey": "example",
    "StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:training",
    "TrainingQueueUrl": "http://127.0.0.1:1/000000000000/training",
}
NEEDS_A_RUNNING_SYSTEM = {
    "dropforge logs last --json",  # tests/integration/test_redirections.py
    "dropforge event conclude",  # tests/integration/test_redirections.py
}


def documented() -> set[str]:
    """Every command of ours that a page redirects, without its target."""
    return {match[1].strip() for page in PAGES for match in _REDIRECTION.finditer(page.read_text(encoding="utf-8"))}


def test_redirections_are_recognised() -> None:
    """The pages show more than one, so that the search below is not empty by mistake."""
    assert {"dropforge env worker", "dropforge env api", "dropforge env sam"} <= documented()


@pytest.mark.parametrize("command", sorted(documented() - NEEDS_A_RUNNING_SYSTEM))
def test_a_documented_redirection_fills_its_file(command: str, tmp_path: Path, commands: CommandServer) -> None:
    """The file holds NAME=value lines or one JSON document; progress stays on the terminal."""
    (tmp_path / "settings.yaml").write_text("project: documented\n")
    (tmp_path / "outputs.json").write_text(json.dumps(OUTPUTS))
    done = commands.run(tmp_path, shlex.split(command)[1:], {**os.environ, "DROPFORGE_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert text
    if text.startswith("{"):
        assert json.loads(text)
    else:
        assert all(re.fullmatch(r"[A-Z_]+=\S.*", line) for line in text.splitlines())
