"""Switching the active model."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from dataclasses import replace
from typing import Any

import pytest

from dropforge import settings
from dropforge.adapters.memory import MemoryRegistry, MemoryStore
from dropforge.errors import BundleRejected, Conflict, InvalidRequest, NotFound
from dropforge.serving.manifest import BundleManifest, Feature, GraphInput
from dropforge.serving.pointer import ActivePointer
from dropforge.steps import switch

SETTINGS = settings.load(
    "project: demo\ndata: {target: y}\nmodels: [{name: forest, class: a.b:C}, {name: boost, class: a.b:D}]\n"
)
ONNX = b"graph"
MANIFEST = BundleManifest(
    project="demo",
    model="forest",
    run_id="r",
    dataset_id="d",
    created_at="now",
    target="y",
    features=(Feature("a", "number"),),
    inputs=(GraphInput("numbers", "float32", ("a",)),),
    probabilities_output="p",
    classes=("no", "yes"),
    positive_class="yes",
    threshold=0.5,
    onnx_sha256=hashlib.sha256(ONNX).hexdigest(),
)


class World:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.registry = MemoryRegistry()

    def version(self, model: str, alias: str = "", *, onnx: bytes = ONNX, tags: dict[str, str] | None = None) -> str:
        run = self.registry.tracking.ensure_run(f"{model}{len(self.registry.versions())}", name="m", tags={}).run_id
        uri = f"s3://artifacts/{run}/bundle"
        manifest = replace(MANIFEST, run_id=run).to_json()
        self.store.put(f"{uri}/manifest.json", manifest)
        self.store.put(f"{uri}/model.onnx", onnx)
        known = {"bundle_uri": uri, "bundle_sha256": hashlib.sha256(manifest).hexdigest()} if tags is None else tags
        made = self.registry.register(f"demo-{model}", source="s", run_id=run, tags=known)
        if alias:
            self.registry.set_alias(made.name, alias, made.version)
        return made.version

    def set(self, alias: str = "", model: str = "") -> dict[str, Any]:
        return switch.set_model(
            alias,
            model,
            settings=SETTINGS,
            store=self.store,
            registry=self.registry,
            bucket="b",
            by="tester",
            log=logging.getLogger("test"),
        )


@pytest.fixture
def world() -> World:
    return World()


def test_the_alias_is_resolved_and_loaded(world: World) -> None:
    """The answer names model, version and run, and what was active before; the settings' alias is the default."""
    world.version("forest", "Production")
    first = world.set()
    assert (first["model"]["name"], first["model"]["version"], first["previous"]) == ("demo-forest", "1", None)
    world.version("forest", "Production")
    assert world.set("Production")["previous"]["version"] == "1"
    info = switch.model_info(store=world.store, bucket="b", mlflow_url="http://mlflow")
    assert (info["model"]["version"], info["target"], info["classes"]) == ("2", "y", ["no", "yes"])


def test_every_change_is_kept(world: World) -> None:
    """The history has one record a switch: who, when, from, to."""
    for _ in range(3):
        world.version("forest", "Production")
        world.set()
    records = [json.loads(world.store.get(o.uri).body) for o in world.store.list("s3://b/serving/history/")]
    assert [(r["number"], r["by"], r["to"]["version"]) for r in records] == [
        (1, "tester", "1"),
        (2, "tester", "2"),
        (3, "tester", "3"),
    ]
    assert records[2]["from"]["version"] == "2"


def test_an_unknown_alias_or_model_is_not_found(world: World) -> None:
    """404 with how to label, or with the models there are."""
    world.version("forest")
    with pytest.raises(NotFound) as caught:
        world.set("Production")
    assert "dropforge label" in caught.value.fix
    with pytest.raises(NotFound) as caught:
        world.set("Production", "../../etc")
    assert "demo-forest" in caught.value.fix


def test_an_alias_on_two_models_must_be_told_apart(world: World) -> None:
    """Without a model the answer names both; with one, by either of its names, it works."""
    world.version("forest", "Production")
    world.version("boost", "Production")
    with pytest.raises(InvalidRequest) as caught:
        world.set("Production")
    assert "demo-boost" in caught.value.message
    assert "demo-forest" in caught.value.message
    assert world.set("Production", "boost")["model"]["name"] == "demo-boost"
    assert world.set("Production", "demo-forest")["model"]["name"] == "demo-forest"


@pytest.mark.parametrize("damage", ["altered", "gone", "untagged", "unhashed"])
def test_a_bundle_that_is_not_what_was_registered_never_becomes_active(world: World, damage: str) -> None:
    """Altered, gone, or never described: refused, and the old model stays."""
    world.version("forest", "Production")
    world.set()
    tags = {
        "untagged": {},
        "unhashed": {"bundle_uri": "s3://artifacts/x/bundle"},
        "gone": {"bundle_uri": "s3://artifacts/x", "bundle_sha256": "0"},
    }.get(damage)
    world.version("forest", "Production", onnx=b"altered" if damage == "altered" else ONNX, tags=tags)
    with pytest.raises(BundleRejected):
        world.set()
    assert ActivePointer(world.store, "b").read()[0].version == "1"


def test_of_switches_at_the_same_time_each_either_wins_or_is_told(world: World) -> None:
    """Twenty at once: the winners are in the history one after the other, the others got Conflict, the pointer is the last winner."""
    world.version("forest", "Production")
    world.set()
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            world.set()
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    records = list(world.store.list("s3://b/serving/history/"))
    assert len(outcomes) == 20
    assert len(records) == 1 + outcomes.count("won")
    assert ActivePointer(world.store, "b").read()[0].number == len(records)


def test_models_are_listed_with_scores_and_aliases(world: World) -> None:
    """Newest first within a model; the held-out score comes from the version's tags."""
    world.version("forest", "Production")
    world.version("forest", tags={"heldout.roc_auc": "0.91"})
    listed = switch.models(settings=SETTINGS, registry=world.registry)
    assert [(m["version"], m["aliases"], m["heldout"]) for m in listed] == [
        ("2", [], {"roc_auc": 0.91}),
        ("1", ["Production"], {}),
    ]
