"""Public names use the words of docs/reference/glossary.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from dropforge.api.routes import ACCESS
from dropforge.config.settings import Settings
from dropforge.uploads.upload_repository import State
from dropforge_cli.main import app

ROOT = Path(__file__).parents[2]
TERMS = set(re.findall(r"^\| ([a-z -]+) \|", (ROOT / "docs/reference/glossary.md").read_text(), re.M)) - {"term"}
# What the product called its things before, and nobody would search for.
PRIVATE = re.compile(
    r"(?<![a-z])(ledger|mend|mended|sweep|swept|candidate|told|asked|kept|made|swarm|barren|rival|remedy|remedies|aside|beside|look)(?![a-z])"
)


def _names() -> dict[str, list[str]]:
    group: Any = typer.main.get_command(app)
    keys: list[str] = []

    def walk(schema: dict[str, Any]) -> None:
        for name, part in schema.get("properties", {}).items():
            keys.append(name)
            walk(part)

    document = Settings.model_json_schema()
    walk(document)
    for part in document.get("$defs", {}).values():
        walk(part)
    return {
        "routes": [path for _, path in ACCESS],
        "commands": [*group.commands, *(o for c in group.commands.values() for p in c.params for o in p.opts)],
        "settings": keys,
        "states": list(get_args(State)),
        "modules": [
            f.stem for folder in ("layers/core", "training", "cli", "frontend") for f in (ROOT / folder).rglob("*.py")
        ],
    }


@pytest.mark.parametrize(("kind", "names"), _names().items(), ids=str)
def test_no_public_name_is_a_private_word(kind: str, names: list[str]) -> None:
    """Routes, commands, options, settings keys, states and files are named with terms of the field."""
    assert names
    assert [n for n in names if PRIVATE.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", n.replace("_", " ")).lower())] == []


@pytest.mark.parametrize(
    "term",
    [
        "alias",
        "canary",
        "shadow",
        "rollout",
        "deployment history",
        "ground truth",
        "quarantine",
        "challenger",
        "champion",
        "drift",
    ],
)
def test_the_glossary_explains_what_the_api_speaks_of(term: str) -> None:
    """Each of the words has its row."""
    assert term in TERMS
