"""Blocks of the documentation that need a running system with an active model, as they are shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..code_blocks import blocks

pytestmark = pytest.mark.integration
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _run(command: list[str], cloud: Any, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": PATH, "DROPFORGE_HOME": str(cloud.config.home), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _client(text: str, cloud: Any) -> str:
    """With the address and the key of this system in place of the page's."""
    address = re.sub(r'"https://[^"]+"', json.dumps(cloud.outputs["ApiUrl"]), text)
    return address.replace('api_key="…"', f"api_key={cloud.outputs['ApiKey']!r}")


@pytest.mark.parametrize("page", ["docs/how-to/client.md", "docs/how-to/regression.md", "README.md"])
def test_a_block_runs_on_a_cloud(
    page: str, cloud: Any, production: str, adult_lines: list[str], tmp_path: Path
) -> None:
    """The client predicts, explains and sends ground truth; the command predicts a file; curl gets a prediction."""
    shutil.copy(cloud.config.settings_file, tmp_path / "settings.yaml")  # a command runs in a project
    if page == "docs/how-to/client.md":
        printed = _run([sys.executable, "-c", _client(blocks(page, "python")[0], cloud)], cloud, tmp_path).splitlines()
        assert printed[0].split()[0] in {"<=50K", ">50K"}
        assert "age" in printed[1]
    elif page == "README.md":
        if not shutil.which("curl"):
            pytest.skip("the block calls curl, which this machine has not")
        text = blocks(page)[2]
        record = cloud.target.api("GET", "/model_info").json()["example"]
        shown = text.replace('{"age": 39, …}', json.dumps(record))
        assert shown != text
        printed = _run(
            ["bash", "-ec", shown], cloud, tmp_path, KEY=cloud.outputs["ApiKey"], API=cloud.outputs["ApiUrl"]
        )
        assert json.loads(printed)["predictions"][0]["label"] in {"<=50K", ">50K"}
    else:
        (tmp_path / "rows.csv").write_text("\n".join(adult_lines[:4]) + "\n")
        printed = _run(["bash", "-ec", blocks(page)[1]], cloud, tmp_path)
        assert "50K" in printed
