"""Commands about versions: what they ask the API for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dropforge_cli.commands import models


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("income-xgboost", ""), ("income-xgboost", "")),
        (("income-xgboost", "3"), ("income-xgboost", "3")),
        (("income-xgboost/3", ""), ("income-xgboost", "3")),
        (("challenger", ""), ("challenger", "")),
    ],
)
def test_a_version_is_named_as_it_is_shown(given: tuple[str, str], expected: tuple[str, str]) -> None:
    """`model/3`, as every table and the deployment history write it, is a model and its version."""
    bodies: list[dict[str, Any]] = []

    def api(*_: Any, json: dict[str, Any], **__: Any) -> Any:
        bodies.append(json)
        return SimpleNamespace(json=dict)

    model, version = given
    models.set_alias(SimpleNamespace(api=api), model, "Staging", version)  # type: ignore[arg-type]
    assert bodies == [{"alias": "Staging", "model": expected[0], "version": expected[1]}]


def test_few_held_out_rows_are_told_beside_the_score(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version shows its held-out score with its interval, the cross-validated one, and what to know before reading them."""
    version = {
        "name": "demo-forest", "version": "1", "aliases": [], "upload_id": "u", "heldout": {"roc_auc": 1.0},
        "interval": {"roc_auc": [1.0, 0.71, 1.0]}, "cross_validated": {"roc_auc": [0.83, 0.74, 0.91]},
        "recorded": True,
        "warning": "only 3 held-out rows of the rarest class",
    }  # fmt: skip
    target = SimpleNamespace(api=lambda *_: SimpleNamespace(json=lambda: {"models": [version]}))
    monkeypatch.setattr(models.Target, "find", lambda: target)
    monkeypatch.setenv("COLUMNS", "200")
    models.models(SimpleNamespace(invoked_subcommand=None))  # type: ignore[arg-type]
    output = capsys.readouterr()
    assert "1.0000 (0.7100 to 1.0000)" in output.out
    assert "0.8300 (0.7400 to 0.9100)" in output.out
    assert "demo-forest/1: only 3 held-out rows" in output.err
