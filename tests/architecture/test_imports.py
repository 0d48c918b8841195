"""The import rules are law."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from ..python_sources import nodes, tree

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


def test_the_environment_is_read_in_one_place() -> None:
    """os.environ and os.getenv appear in environment.py (and the web app's config.py) only; programs that start others copy it."""
    allowed = {"layers/core/dropforge/environment.py", "frontend/dropforge_ui/config.py"}
    readers = {
        _name(path)
        for path in (*MODULES, *HANDLERS)
        if not {"dropforge_local", "dropforge_cli"} & {*path.parts}
        and any(word in path.read_text(encoding="utf-8") for word in ("os.environ", "getenv"))
    }
    assert readers == allowed


@pytest.mark.parametrize("path", HANDLERS, ids=_name)
def test_handlers_translate_and_never_decide(path: Path) -> None:
    """A handler file has at most 110 lines and builds no client of its own."""
    text = path.read_text()
    assert len(text.splitlines()) <= 110
    assert "boto3" not in text


def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    """Help and completion import the modules of all commands: none of them loads settings, a database or an SDK until it runs."""
    heavy = ("pydantic", "duckdb", "boto3", "botocore", "numpy", "pandas", "mlflow", "requests", "yaml", "jinja2")
    code = f"import sys; from dropforge_cli.main import app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_opens_nothing() -> None:
    """No module calls a client constructor or opens a connection at its top level."""
    forbidden = {"client", "connect", "World", "world", "Session"}
    for path in MODULES:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                continue
            calls = [c.func for c in ast.walk(node) if isinstance(c, ast.Call)]
            names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}
            assert not names & forbidden, f"{_name(path)}:{node.lineno}"


SCRIPTS = sorted(p for folder in (".ci", "benchmarks", "docs") for p in (ROOT / folder).rglob("*.py"))
_FOLDERS = {Path(package).name: ROOT / package for package in PACKAGES}


def _module(name: str) -> Path | None:
    """File of a module of the project's packages; None where there is none."""
    package, *rest = name.split(".")
    base = _FOLDERS[package].joinpath(*rest)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _names(path: Path) -> set[str]:
    """What a module defines or imports."""
    names: set[str] = set()
    for node in nodes(path):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name for alias in node.names}
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
    return names


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_scripts_import_what_there_is(path: Path) -> None:
    """No type checker and no test imports these scripts: a name that a package gave up would be seen when somebody runs one."""
    text = path.read_text()
    for node in nodes(path):
        if not isinstance(node, ast.ImportFrom) or str(node.module).split(".")[0] not in _FOLDERS:
            continue
        if "of the older checkout" in text.splitlines()[node.lineno - 1]:
            continue  # of an older checkout that a benchmark measures
        module = _module(str(node.module))
        assert module is not None, node.module
        for alias in node.names:
            assert alias.name in _names(module) or _module(f"{node.module}.{alias.name}"), (node.module, alias.name)
