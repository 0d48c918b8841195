"""The notebooks run, and are committed as they were before they ran."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def run(notebook: str) -> dict[str, Any]:
    """Its code cells one after the other; what they left behind."""
    space: dict[str, Any] = {"__name__": notebook}
    for cell in json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{notebook}:{cell['id']}", "exec"), space)  # noqa: S102 - our own
    return space


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the checkout to a notebook; what it writes stays in it."""
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "data").symlink_to(ROOT / ".cache" / "data")
    (tmp_path / "settings.yaml").write_bytes((ROOT / "settings.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stripped(notebook: Path) -> None:
    """No output, no execution count, and a title for the reader."""
    cells = json.loads(notebook.read_text())["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    assert code
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    assert cells[0]["source"][0].startswith("# ")


@pytest.mark.campaign
def test_the_data_are_explored(here: Path, adult_lines: list[str]) -> None:
    """Its own assertions hold: a shifted column drifts, a shuffled one is found by its relations."""
    assert run("explore_data")["report"].rows_reference == len(adult_lines) - 1


def test_a_model_is_added(here: Path, adult_lines: list[str]) -> None:
    """The class it writes is a candidate, learns real rows, and is accepted in settings.yaml."""
    run("add_a_model")
    assert (here / "my_models.py").exists()
    sys.modules.pop("my_models", None)
