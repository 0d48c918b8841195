"""A key of settings.yaml that nothing reads would be a promise that nothing keeps."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from dropforge.config.preprocessing_settings import COLUMN_STEPS, NUMBER_STEPS
from dropforge.config.settings import Settings

from ..python_sources import nodes

ROOT = Path(__file__).parents[2]
PRODUCT = ("layers/core/dropforge", "training/dropforge_training", "cli/dropforge_cli")
PARSING = {"settings.py", "yaml_errors.py"}  # that a key is parsed does not mean that it is used


def _keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, attribute) of every leaf of the schema, blocks inside lists and mappings included."""
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        for one in inner:
            yield from _keys(one, f"{path}{name}.")
        if not inner and name != "sha256":  # computed, not a key
            yield f"{path}{name}", name


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


@cache
def _reads() -> dict[str, set[str]]:
    """Attribute → names of what it is read from: `limits.max_rows` and `self.data.limits.max_rows` give max_rows: {limits}."""
    result: dict[str, set[str]] = defaultdict(set)
    for folder in PRODUCT:
        for file in (ROOT / folder).rglob("*.py"):
            if file.name in PARSING:
                continue
            for node in nodes(file):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    owner = node.value
                    while isinstance(owner, ast.Subscript | ast.Call):  # columns[name].min, columns.get(name).min
                        owner = owner.value if isinstance(owner, ast.Subscript) else owner.func
                    result[node.attr].add(getattr(owner, "attr", getattr(owner, "id", "")))
                elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
                    result["*"] |= {a.value for a in node.args[1:2] if isinstance(a, ast.Constant)}
    return result


# What a block is called where its keys are read; its own name is one of them.
OWNERS = {
    "columns": {"o", "override", "declared"},
    "csv": {"csv", "settings"},
    "limits": {"limits"},
    "data": {"data", "settings"},
    "analysis": {"analysis", "settings"},
    "models": {"m", "model", "chosen", "self", "one"},
    "budget": {"budget", "chosen"},
    "training": {"training"},
    "promotion": {"promotion", "settings", "rule"},
    "serving": {"serving"},
    "costs": {"costs"},
    "capture": {"capture"},
    "cost": {"cost", "prices", "costs", "p", "self"},
    "processing": {"step"},
    # Registered steps read their own fields.
    **{name: {"self", "one"} for name in (*COLUMN_STEPS, *NUMBER_STEPS)},
    "sources": {"source", "described"},
}
LEAVES = sorted(set(_keys(Settings)))


@pytest.mark.parametrize(("key", "attribute"), LEAVES, ids=[key for key, _ in LEAVES])
def test_every_settings_key_is_read_where_something_is_decided(key: str, attribute: str) -> None:
    """By product code, from an object that bears its block's name; parsing alone is no use."""
    block = key.split(".")[-2] if "." in key else "settings"
    if block in _reads()["model_dump"]:  # handed on whole, key by key
        return
    readers = _reads().get(attribute, set())
    assert readers, f"{key} is read nowhere"
    allowed = OWNERS.get(block, set()) | {block, "given", "settings"}
    assert readers & allowed, f"{key} is read only from {sorted(readers)}: is it this key?"
