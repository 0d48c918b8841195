"""Names are nouns of the field: no variable, parameter, attribute or function is called by how its value came about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("layers/core", "training", "cli", "localstack", "frontend", "functions")
MODULES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
PARTICIPLES = {"told", "kept", "made", "asked", "held", "found", "seen", "heard", "lost"}
# Words that are terms here, with the reason.
TERMS = {
    "NotFound": "the HTTP status",
    "connection_made": "a method of asyncio.Protocol",
    "connection_lost": "a method of asyncio.Protocol",
    "seen": "what a loop or a training met already, as in `unseen` of machine learning",
    "seen_until": "as `seen`",
    "rows_seen": "as `seen`",
    "requests_seen": "as `seen`",
    "_SEEN_TWICE": "as `seen`",
    "lost": "records that could not be written, as in the metrics CaptureLost and ShadowLost",
    "_lost": "as `lost`",
    "_LOST": "characters that no encoding brings back, as in lossy",
    "Held": "rows held out, as in held-out set",
    "held": "as `Held`",
    "found": "a field of the receipts of erasures",
}


def _names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name


def _words(name: str) -> set[str]:
    return {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_say_what_a_thing_is(path: Path) -> None:
    """`told`, `kept`, `made`, … are in no name, except in the terms above."""
    wrong = {name for name in _names(path) if _words(name) & PARTICIPLES and name not in TERMS}
    assert not wrong, f"{path.name}: {sorted(wrong)}: name what it is"


def test_every_term_is_used() -> None:
    """A term that no module has any more leaves the list."""
    used = {name for path in MODULES for name in _names(path)}
    assert set(TERMS) <= used
