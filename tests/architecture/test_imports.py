"""The import rules are law."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "layers/core/dropforge",
    "training/dropforge_training",
    "cli/dropforge_cli",
    "localstack/dropforge_local",
    "frontend/dropforge_ui",
]
MODULES = sorted(p for folder in PACKAGES for p in (ROOT / folder).rglob("*.py"))
HANDLERS = sorted((ROOT / "functions").glob("*/app.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_import_contracts_hold() -> None:
    """Left may import right, never back; SDKs stay in the adapters; the prediction path stays light."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("path", [*MODULES, *HANDLERS], ids=_name)
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    """os.environ and os.getenv appear in environment.py (and the web app's config.py) only; programs that start others copy it."""
    allowed = {"layers/core/dropforge/environment.py", "frontend/dropforge_ui/config.py"}
    if _name(path) in allowed or {"dropforge_local", "dropforge_cli"} & {*path.parts}:
        return
    text = path.read_text()
    assert "os.environ" not in text
    assert "getenv" not in text


@pytest.mark.parametrize("path", HANDLERS, ids=_name)
def test_handlers_translate_and_never_decide(path: Path) -> None:
    """A handler file has at most 110 lines and builds no client of its own."""
    text = path.read_text()
    assert len(text.splitlines()) <= 110
    assert "boto3" not in text


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_importing_opens_nothing(path: Path) -> None:
    """No module calls a client constructor or opens a connection at its top level."""
    forbidden = {"client", "connect", "World", "world", "Session"}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            continue
        calls = [c.func for c in ast.walk(node) if isinstance(c, ast.Call)]
        names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}
        assert not names & forbidden
