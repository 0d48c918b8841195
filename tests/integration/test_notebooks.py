"""The notebook that calls the API, against a model that answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def test_the_api_is_called(cloud: Any, production: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own assertions hold: rows, CSV and MLflow's form give the same label; a mistake is told."""
    monkeypatch.setenv("DROPFORGE_HOME", str(cloud.config.home))
    monkeypatch.chdir(ROOT)
    space: dict[str, Any] = {}
    for cell in json.loads((ROOT / "notebooks" / "call_the_api.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)  # noqa: S102 - our own
    assert space["info"]["model"]["name"].startswith("adult-income-")
