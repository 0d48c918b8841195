"""Switching the active model."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from dropforge.deployment import activate
from dropforge.deployment.active_model import ActivePointer
from dropforge.errors import BundleRejected, Conflict, InvalidRequest, NotFound


def test_the_alias_is_resolved_and_loaded(switching: Any) -> None:
    """The answer names model, version and run, and what was active before; the settings' alias is the default."""
    switching.version("forest", "Production")
    first = switching.set()
    assert (first["model"]["name"], first["model"]["version"], first["previous"]) == ("demo-forest", "1", None)
    switching.version("forest", "Production")
    assert switching.set("Production")["previous"]["version"] == "1"
    info = activate.model_info(store=switching.store, bucket="b")
    assert (info["model"]["version"], info["target"], info["classes"]) == ("2", "y", ["no", "yes"])


def test_every_change_is_kept(switching: Any) -> None:
    """The history has one record a switch: who, when, from, to."""
    for _ in range(3):
        switching.version("forest", "Production")
        switching.set()
    records = [json.loads(switching.store.get(o.uri).body) for o in switching.store.list("s3://b/serving/history/")]
    assert [(r["number"], r["by"], r["to"]["version"]) for r in records] == [
        (1, "tester", "1"),
        (2, "tester", "2"),
        (3, "tester", "3"),
    ]
    assert records[2]["from"]["version"] == "2"


def test_an_unknown_alias_or_model_is_not_found(switching: Any) -> None:
    """404 with how to label, or with the models there are."""
    switching.version("forest")
    with pytest.raises(NotFound) as caught:
        switching.set("Production")
    assert "dropforge alias" in caught.value.fix
    with pytest.raises(NotFound) as caught:
        switching.set("Production", "../../etc")
    assert "demo-forest" in caught.value.fix


def test_an_alias_on_two_models_must_be_told_apart(switching: Any) -> None:
    """Without a model the answer names both; with one, by either of its names, it works."""
    switching.version("forest", "Production")
    switching.version("boost", "Production")
    with pytest.raises(InvalidRequest) as caught:
        switching.set("Production")
    assert "demo-boost" in caught.value.message
    assert "demo-forest" in caught.value.message
    assert switching.set("Production", "boost")["model"]["name"] == "demo-boost"
    assert switching.set("Production", "demo-forest")["model"]["name"] == "demo-forest"


@pytest.mark.parametrize("damage", ["altered", "gone", "untagged", "unhashed"])
def test_a_bundle_that_is_not_what_was_registered_never_becomes_active(switching: Any, damage: str) -> None:
    """Altered, gone, or never described: refused, and the old model stays."""
    switching.version("forest", "Production")
    switching.set()
    tags = {
        "untagged": {},
        "unhashed": {"bundle_uri": "s3://artifacts/x/bundle"},
        "gone": {"bundle_uri": "s3://artifacts/x", "bundle_sha256": "0"},
    }.get(damage)
    switching.version("forest", "Production", onnx=b"altered" if damage == "altered" else b"graph", tags=tags)
    with pytest.raises(BundleRejected):
        switching.set()
    assert ActivePointer(switching.store, "b").read()[0].version == "1"


def test_a_model_that_nobody_can_run_never_becomes_active(switching: Any) -> None:
    """Without a function for Python models a version without a graph is refused with what to deploy; with one it is set."""
    switching.version("forest", "Production")
    switching.set()
    switching.pickled("boost", "Staging")
    with pytest.raises(BundleRejected) as caught:
        switching.set("Staging", python=False)
    assert caught.value.code == "python_not_served"
    assert "TrainingImageUri" in caught.value.fix
    assert ActivePointer(switching.store, "b").read()[0].model == "demo-forest"
    assert switching.set("Staging")["model"]["name"] == "demo-boost"


def test_of_switches_at_the_same_time_each_either_wins_or_is_told(switching: Any) -> None:
    """Twenty at once: the winners are in the history one after the other, the others got Conflict, the pointer is the last winner."""
    switching.version("forest", "Production")
    switching.set()
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            switching.set()
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    records = list(switching.store.list("s3://b/serving/history/"))
    assert len(outcomes) == 20
    assert len(records) == 1 + outcomes.count("won")
    assert ActivePointer(switching.store, "b").read()[0].number == len(records)


def test_models_are_listed_with_scores_and_aliases(switching: Any) -> None:
    """Newest first within a model; the held-out score comes from the version's tags."""
    switching.version("forest", "Production")
    switching.version("forest", tags={"heldout.roc_auc": "0.91"})
    listed = activate.models(
        settings=switching.settings, store=switching.store, registry=switching.registry, bucket="b"
    )
    assert [(m["version"], m["aliases"], m["heldout"]) for m in listed] == [
        ("2", [], {"roc_auc": 0.91}),
        ("1", ["Production"], {}),
    ]
