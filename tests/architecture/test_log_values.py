"""No line of a log quotes an exception: its message holds what was sent, a cell of an upload among it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..python_sources import nodes

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    source
    for folder in ("layers", "functions", "training")
    for source in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in source.parts
)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _log_calls(of_module: Iterable[ast.AST]) -> Iterator[ast.Call]:
    for node in of_module:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            owner = node.func.value
            if (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")) in {
                "log",
                "_log",
                "logger",
            }:
                yield node


def _exceptions(of_module: Iterable[ast.AST]) -> set[str]:
    """Names that `except … as name` binds somewhere in the module."""
    return {node.name for node in of_module if isinstance(node, ast.ExceptHandler) and node.name}


def _quotes(node: ast.AST, errors: set[str]) -> bool:
    """Whether an expression turns an exception into text: `error.message`, `str(error)`, `f"{error}"`, the error itself."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if name in {"failure", "type"}:
            return False
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in errors:
        return node.attr not in {"code", "status"}
    if isinstance(node, ast.Name):
        return node.id in errors
    return any(_quotes(child, errors) for child in ast.iter_child_nodes(node))


def test_a_log_call_names_an_error_by_its_code_or_kind() -> None:
    """`failure(error)`, `error.code` and its type may be logged; its text may not."""
    quoting = []
    for source in SOURCES:
        of_module = nodes(source)
        errors = _exceptions(of_module)
        calls = [
            c
            for c in _log_calls(of_module)
            if any(_quotes(a, errors) for a in (*c.args, *(k.value for k in c.keywords)))
        ]
        quoting += [f"{source.relative_to(ROOT)}:{call.lineno}" for call in calls]
    assert not quoting


def test_the_search_notices_an_error_that_is_quoted() -> None:
    """The three ways in which lines used to quote one."""
    for expression in ("error.message", "str(error)", "f'{error}'"):
        of_module = list(
            ast.walk(
                ast.parse(f"try: pass\nexcept ValueError as error:\n  log.info('x', extra={{'why': {expression}}})")
            )
        )
        (call,) = _log_calls(of_module)
        assert _quotes(call.keywords[0].value, _exceptions(of_module))
