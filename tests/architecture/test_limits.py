"""Functions stay readable: a ratchet on their length and their parameters, and on untyped documents in signatures."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..python_sources import nodes, tree

ROOT = Path(__file__).parents[2]
FOLDERS = ("layers/core", "training", "cli", "localstack", "frontend", "functions")
MODULES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
MOST_LINES = 50  # of a function, without its docstring
MOST_PARAMETERS = 6  # without self and cls; options of a command, which are one parameter each, do not count
MOST_UNTYPED = 0.11  # of signatures: as measured. A change may lower it: a document that is passed around has a type


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes(path):
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
    return {
        target.id
        for node in tree(path).body
        if isinstance(node, ast.Assign) and "typer." in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@cache
def _known_options() -> set[str]:
    return {name for path in MODULES if "commands" in path.parts for name in _options(path)}


def _is_option(parameter: ast.arg) -> bool:
    text = ast.unparse(parameter.annotation) if parameter.annotation else ""
    return "typer." in text or text in _known_options()


def _beyond(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """What of the function is more than it may be."""
    lines, parameters = _lines(function), _parameters(function)
    if lines > MOST_LINES:
        return f"{lines} lines"
    if len(parameters) > MOST_PARAMETERS:
        counted = [p for p in parameters if not _is_option(p)]
        return f"{len(counted)} parameters" if len(counted) > MOST_PARAMETERS else ""
    return ""


def test_functions_are_short_and_take_few_parameters() -> None:
    """50 lines, 6 parameters: a longer one is split by what it does, more parameters become one object."""
    wrong = [
        f"{path.relative_to(ROOT)}: {function.name}: {beyond}"
        for path in MODULES
        for function in _functions(path)
        if (beyond := _beyond(function))
    ]
    assert not wrong, "\n".join(wrong)


def test_untyped_documents_in_signatures_become_fewer() -> None:
    """At most this fraction of all signatures has a dict[str, Any]."""
    functions = [f for path in MODULES for f in _functions(path)]
    untyped = [f for f in functions if any(_is_untyped(a) for a in _annotations(f))]
    assert len(untyped) <= MOST_UNTYPED * len(functions), f"{len(untyped)} of {len(functions)} signatures are untyped"


def _is_untyped(annotation: ast.expr) -> bool:
    any_type = any(isinstance(n, ast.Name) and n.id == "Any" for n in ast.walk(annotation))
    return any_type and "dict[str, Any]" in ast.unparse(annotation)


def _annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    return [a for a in (*(p.annotation for p in _parameters(function)), function.returns) if a is not None]
