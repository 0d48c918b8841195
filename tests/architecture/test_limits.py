"""Functions stay readable: a ratchet on their length and their parameters, and on untyped documents in signatures."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("layers/core", "training", "cli", "localstack", "frontend", "functions")
MODULES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
MOST_LINES = 50  # of a function, without its docstring
MOST_PARAMETERS = 8  # without self and cls; options of a command, which are one parameter each, do not count
MOST_UNTYPED = 0.11  # of signatures: as measured. A change may lower it: a document that is passed around has a type


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = function.args
    return [a for a in (*given.posonlyargs, *given.args, *given.kwonlyargs) if a.arg not in {"self", "cls"}]


def _options(path: Path) -> set[str]:
    """Names of types that the module declares as options of a command: X = Annotated[…, typer.Option(…)]."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and "typer." in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


OPTIONS = {name for path in MODULES if "commands" in path.parts for name in _options(path)}


def _is_option(parameter: ast.arg) -> bool:
    text = ast.unparse(parameter.annotation) if parameter.annotation else ""
    return "typer." in text or text in OPTIONS


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    """50 lines, 8 parameters: a longer one is split by what it does, more parameters become one object."""
    wrong = []
    for function in _functions(path):
        lines = _lines(function)
        counted = [p for p in _parameters(function) if not _is_option(p)]
        if lines > MOST_LINES:
            wrong.append(f"{function.name}: {lines} lines")
        if len(counted) > MOST_PARAMETERS:
            wrong.append(f"{function.name}: {len(counted)} parameters")
    assert not wrong, f"{path.relative_to(ROOT)}: {'; '.join(wrong)}"


def test_untyped_documents_in_signatures_become_fewer() -> None:
    """At most this fraction of all signatures has a dict[str, Any]."""
    functions = [f for path in MODULES for f in _functions(path)]
    untyped = [f for f in functions if any("dict[str, Any]" in ast.unparse(a) for a in _annotations(f))]
    assert len(untyped) <= MOST_UNTYPED * len(functions), f"{len(untyped)} of {len(functions)} signatures are untyped"


def _annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    return [a for a in (*(p.annotation for p in _parameters(function)), function.returns) if a is not None]
