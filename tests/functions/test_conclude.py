"""The handler of the workflow's last step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dropforge import keys
from dropforge.adapters import history_mac
from dropforge.app_context import AppContext
from dropforge.config import settings_store
from dropforge.deployment import rollback
from dropforge.deployment.alias_index import AliasIndex
from dropforge.errors import Unavailable
from dropforge.uploads.upload_repository import UploadRecord

ROOT = Path(__file__).parents[2]
Concluded = Callable[[], dict[str, Any]]


def _published(world: AppContext) -> dict[str, str]:
    """Alias → version in the index that /predict?alias= reads."""
    result = AliasIndex(world.store, world.env.data_bucket).read_if_changed("")
    assert result is not None
    return {a.alias: a.version for a in result[0]}


@pytest.fixture
def concluded(load: Callable[[str], ModuleType], event: Any, world: AppContext) -> Concluded:
    """Concludes one upload with one real candidate; `Production` is on version 1, trained earlier."""
    text = (ROOT / "settings.yaml").read_text().replace("auto_promote: false", "auto_promote: true")
    settings = settings_store.apply(world.store, world.env.data_bucket, text.encode())
    assert settings.promotion.auto_promote
    tracking: Any = world.tracking("")
    name = f"{settings.project}-xgboost"
    message = event("conclude")
    request, result = message["request"], message["outcomes"][0]["result"]
    request["settings_uri"] = keys.settings_copy(world.env.data_bucket, settings.sha256)
    request["parent_run_id"] = tracking.ensure_run("parent", name="analysis", tags={}).run_id
    result["run_id"] = tracking.ensure_run("rollout", name="xgboost", tags={}).run_id
    graph = b"graph"
    manifest = json.dumps(
        {
            "project": settings.project, "model": "xgboost", "run_id": result["run_id"], "dataset_id": "d", "created_at": "now",
            "target": "y", "features": [], "inputs": [], "probabilities_output": "p", "classes": ["no", "yes"],
            "positive_class": "yes", "threshold": 0.5, "onnx_sha256": hashlib.sha256(graph).hexdigest(), "format_version": 1,
        }
    ).encode()  # fmt: skip
    world.store.put(f"{result['bundle_uri']}/manifest.json", manifest)
    world.store.put(f"{result['bundle_uri']}/model.onnx", graph)
    result["bundle_sha256"] = hashlib.sha256(manifest).hexdigest()
    old = tracking.ensure_run("old", name="xgboost", tags={}).run_id
    earlier = world.registry.register(
        name, source="s", run_id=old, tags={"bundle_uri": "s3://artifacts/old", "bundle_sha256": "0" * 64}
    )
    world.registry.set_alias(name, "Production", earlier.version)
    upload_id = request["upload_id"]
    world.uploads.open(
        UploadRecord(upload_id=upload_id, bucket=world.env.data_bucket, key="incoming/x.csv", version="1")
    )
    world.uploads.advance(upload_id, "analysed")
    world.uploads.advance(upload_id, "training")
    app = load("conclude")
    return lambda: dict(app.handler(message, None))


def test_the_alias_index_follows_a_promotion(concluded: Concluded, world: AppContext) -> None:
    """After auto_promote moved `Production`, a request that names the alias gets the new version, and `newest` is known too."""
    answer = concluded()
    assert answer["challenger"]["version"] == "2"
    assert _published(world) == {"Production": "2", "newest": "2", "challenger": "2"}


def test_a_promotion_is_authenticated_in_the_history(concluded: Concluded, world: AppContext, tmp_path: Path) -> None:
    """The function that promotes by itself signs its entry with the key it is given, and the history verifies it."""
    assert history_mac.create(tmp_path / "history.key")
    world.env = replace(world.env, history_key=f"file:{tmp_path / 'history.key'}")
    concluded()
    history = rollback.shown(world.store, world.env.data_bucket, 10, world.history_key)
    assert [e["by"] for e in history["entries"]] == ["auto_promote"]
    checked = history["verified"]
    assert (checked["ok"], checked["keyed"], checked["unkeyed"]) == (True, 1, 0)


def test_a_conclusion_whose_aliases_cannot_be_published_is_tried_again(
    concluded: Concluded, world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails at the last write is an error for the workflow to retry; the retry leaves the index up to date."""
    with monkeypatch.context() as patched:

        def away(*_: object, **__: object) -> None:
            raise Unavailable("S3 is away", code="store_away")

        patched.setattr(AliasIndex, "publish", away)
        with pytest.raises(Unavailable):
            concluded()
    concluded()
    assert _published(world)["Production"] == "2"
