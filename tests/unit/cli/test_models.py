"""Commands about versions: what they ask the API for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dropforge_cli import models


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (("income-xgboost", ""), ("income-xgboost", "")),
        (("income-xgboost", "3"), ("income-xgboost", "3")),
        (("income-xgboost/3", ""), ("income-xgboost", "3")),
        (("challenger", ""), ("challenger", "")),
    ],
)
def test_a_version_is_named_as_it_is_shown(given: tuple[str, str], asked: tuple[str, str]) -> None:
    """`model/3`, as every table and the ledger write it, is a model and its version."""
    bodies: list[dict[str, Any]] = []

    def api(*_: Any, json: dict[str, Any], **__: Any) -> Any:
        bodies.append(json)
        return SimpleNamespace(json=dict)

    model, version = given
    models.set_label(SimpleNamespace(api=api), model, "Staging", version)  # type: ignore[arg-type]
    assert bodies == [{"alias": "Staging", "model": asked[0], "version": asked[1]}]
