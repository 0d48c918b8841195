"""Redirections of the documentation that need a running system: the file gets the data, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def _documents(text: str) -> list[Any]:
    """JSON documents one after the other, as `jq` reads them."""
    decoder, documents, position = json.JSONDecoder(), [], 0
    while position < len(text.rstrip()):
        document, position = decoder.raw_decode(text, position)
        documents.append(document)
        position += len(text[position:]) - len(text[position:].lstrip())
    return documents


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("logs last --json", marks=pytest.mark.named_log_groups),
        "event conclude",
        "event analyze",
        "outputs --json",
    ],
)
def test_a_documented_redirection_fills_its_file(
    cloud: Any, reference: dict[str, Any], command: str, tmp_path: Path
) -> None:
    """Standard output is JSON from its first to its last byte."""
    program = Path(sys.executable).parent / "dropforge"
    subprocess.run(
        ["bash", "-c", f'"$0" {command} > "$1"', str(program), str(tmp_path / "redirected")],
        cwd=ROOT,
        env={**os.environ, "DROPFORGE_HOME": str(cloud.config.home)},
        check=True,
        timeout=120,
    )
    assert _documents((tmp_path / "redirected").read_text())
