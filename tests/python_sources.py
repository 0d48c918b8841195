"""Python files as syntax trees: several tests of the architecture look through the same ones."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def tree(path: Path) -> ast.Module:
    """What the file says, read and parsed once a process."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of the file, in the order of ast.walk: walking takes as long as parsing."""
    return tuple(ast.walk(tree(path)))
