"""The notebook that calls the API, against a model that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropforge.errors import DropforgeError
from dropforge_cli.models import serve_best

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.fixture
def served(cloud: Any, drop: Callable[..., str], wait: Callable[..., dict[str, Any]], adult_lines: list[str]) -> None:
    """The model an earlier test made answer, else one of a small upload."""
    try:
        cloud.target.api("GET", "/model_info")
    except DropforgeError:
        wait(drop("notebook.csv", ("\n".join(adult_lines[:2001]) + "\n").encode()))
        serve_best(cloud.target)


def test_the_api_is_called(cloud: Any, served: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own assertions hold: rows, CSV and MLflow's form give the same label; a mistake is told."""
    monkeypatch.setenv("DROPFORGE_HOME", str(cloud.config.home))
    monkeypatch.chdir(ROOT)
    space: dict[str, Any] = {}
    for cell in json.loads((ROOT / "notebooks" / "call_the_api.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)  # noqa: S102 - our own
    assert space["info"]["model"]["name"].startswith("adult-income-")
