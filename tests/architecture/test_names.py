"""Names are nouns of the field: no variable, parameter, attribute or function is called by how its value came about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..python_sources import nodes

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
    for node in nodes(path):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name


@cache
def _names_of_modules() -> list[tuple[Path, frozenset[str]]]:
    return [(path, frozenset(_names(path))) for path in MODULES]


def _words(name: str) -> set[str]:
    return {w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_names_say_what_a_thing_is() -> None:
    """`told`, `kept`, `made`, … are in no name, except in the terms above."""
    wrong = [
        f"{path.relative_to(ROOT)}: {name}: name what it is"
        for path, names in _names_of_modules()
        for name in names - set(TERMS)
        if _words(name) & PARTICIPLES
    ]
    assert not wrong, "\n".join(wrong)


def test_every_term_is_used() -> None:
    """A term that no module has any more leaves the list."""
    used = {name for _, names in _names_of_modules() for name in names}
    assert set(TERMS) <= used
