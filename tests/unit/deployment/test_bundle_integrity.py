"""Versions that somebody else's hand registered or changed: refused at activation, by every way in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dropforge.deployment import activate, publish_alias_index
from dropforge.deployment.active_model import ActivePointer
from dropforge.deployment.alias_index import AliasIndex
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.deployment.history import DeploymentHistory, Entry
from dropforge.errors import BundleRejected
from dropforge.uploads import upload_queries
from dropforge_cli import adopt_version


def _active(switching: Any) -> str:
    return ActivePointer(switching.store, "b").read()[0].version


def _two(switching: Any) -> None:
    """Version 1 is active; version 2 was registered in MLflow by hand, tags, alias, high score and all."""
    switching.version("forest", "Production")
    switching.set()
    switching.version("forest", "Staging", recorded=False)


@pytest.mark.parametrize("way", ["set_model", "canary", "shadow"])
def test_a_version_registered_by_hand_cannot_be_activated(switching: Any, way: str) -> None:
    """Whoever writes to MLflow and to the artifact bucket gets no model served: the error names the way to adopt it."""
    _two(switching)
    ways = {
        "set_model": lambda: switching.set("Staging"),
        "canary": lambda: switching.beside("Staging", 0.1),
        "shadow": lambda: switching.beside("Staging", shadow=True),
    }
    with pytest.raises(BundleRejected) as error:
        ways[way]()
    assert error.value.code == "model_not_recorded"
    assert "dropforge models adopt demo-forest/2" in error.value.fix
    assert _active(switching) == "1"


def test_changed_tags_are_refused(switching: Any) -> None:
    """The bundle's address and hash are tags in MLflow; another bundle under a recorded version is not activated."""
    switching.version("forest", "Production")
    switching.set()
    switching.version("forest", "Staging")
    switching.version("boost", "Other")
    staged, other = (switching.registry.resolve(alias)[0] for alias in ("Staging", "Other"))
    staged.tags.update({k: other.tags[k] for k in ("bundle_uri", "bundle_sha256")})
    with pytest.raises(BundleRejected) as error:
        switching.set("Staging")
    assert error.value.code == "model_altered"
    assert _active(switching) == "1"


def test_a_rollback_to_an_invented_entry_is_refused(switching: Any) -> None:
    """A writer of the history cannot bring in a bundle that was never concluded."""
    switching.version("forest", "Production")
    switching.set()

    def invented(active: Any, number: int) -> Entry:
        new = replace(active, number=number, version="9", bundle_uri="s3://artifacts/evil")
        return Entry(number, "now", "nobody", "set_model", "", None, activate.pointer_of(new) or {})

    DeploymentHistory(switching.store, "b").change(invented)
    switching.version("forest", "Production")
    switching.set()
    with pytest.raises(BundleRejected) as error:
        switching.back(2)
    assert error.value.code == "model_not_recorded"


def test_a_pickle_is_refused_unless_settings_declared_it(switching: Any) -> None:
    """A training worker that delivers a pickle for a model without `serve: python` gets it recorded, never loaded."""
    switching.pickled("boost", "Staging", serve="onnx")
    with pytest.raises(BundleRejected) as error:
        switching.set("Staging")
    assert error.value.code == "python_not_declared"
    assert "serve: python" in error.value.fix


def test_only_recorded_aliases_are_published(switching: Any) -> None:
    """Holders of an API key reach no version by its alias that they could not reach by activation."""
    _two(switching)
    publish_alias_index.publish_alias_index(
        settings=switching.settings, store=switching.store, registry=switching.registry, bucket="b"
    )
    result = AliasIndex(switching.store, "b").read_if_changed("")
    assert result is not None
    assert [(a.alias, a.version) for a in result[0]] == [("Production", "1")]
    listed = activate.models(
        settings=switching.settings, store=switching.store, registry=switching.registry, bucket="b"
    )
    assert {m["version"]: m["recorded"] for m in listed} == {"1": True, "2": False}


def test_a_record_is_written_once(switching: Any) -> None:
    """Recording the same again changes nothing; another bundle for the version is refused."""
    switching.version("forest", "Production")
    switching.set()
    active = ActivePointer(switching.store, "b").read()[0]
    records = ModelRecords(switching.store, "b")
    records.write(ModelRecord.of(active, serve="onnx", by="again"))
    assert records.require(active).recorded_by == "test"
    with pytest.raises(BundleRejected):
        records.write(ModelRecord.of(replace(active, bundle_sha256="1" * 64), serve="python", by="attacker"))


def test_health_tells_that_the_active_model_has_no_record(switching: Any) -> None:
    """A pointer changed past the API is seen by GET /health."""
    _two(switching)
    pointer = ActivePointer(switching.store, "b")
    active, etag = pointer.read()
    pointer.replace(replace(active, version="2", bundle_sha256="2" * 64), etag)
    with pytest.raises(BundleRejected):
        upload_queries._verified(switching.store, "b", pointer)


def _adopt(switching: Any) -> list[ModelRecord]:
    result = adopt_version.unrecorded(
        settings=switching.settings, store=switching.store, registry=switching.registry, bucket="b"
    )
    created = [
        adopt_version.proposal(v, settings=switching.settings, store=switching.store, by="arn:admin") for v in result
    ]
    return [ModelRecords(switching.store, "b").write(record) for record in created]


def test_an_adopted_version_can_be_activated(switching: Any) -> None:
    """The advice in the refusal works: after `models adopt` the same switch goes through, and the record names the administrator."""
    _two(switching)
    (record,) = _adopt(switching)
    assert (record.model, record.version, record.recorded_by) == ("demo-forest", "2", "arn:admin")
    assert switching.set("Staging")["model"]["version"] == "2"
    assert _adopt(switching) == []


@pytest.mark.parametrize("damage", ["altered", "pickle"])
def test_what_cannot_be_trusted_is_not_adopted(switching: Any, damage: str) -> None:
    """Files that do not fit their manifest are refused, and so is a pickle that settings.yaml does not declare."""
    if damage == "pickle":
        switching.pickled("boost", "Staging", serve="")
    else:
        switching.version("forest", "Staging", onnx=b"altered", recorded=False)
    with pytest.raises(BundleRejected) as error:
        _adopt(switching)
    assert error.value.code == {"altered": "bundle_altered", "pickle": "python_not_declared"}[damage]
