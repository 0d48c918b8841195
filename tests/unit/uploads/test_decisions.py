"""A person decides about uploads and datasets: until then nothing is trained, and what is revoked is in no later training."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from dropforge import ids
from dropforge.config import settings_store
from dropforge.config.settings import load
from dropforge.errors import Conflict, NotFound
from dropforge.messages import TrainingRequest, UploadEvent
from dropforge.uploads import apply_decision, decisions
from dropforge.uploads.recovery import RecoveryPorts, recover
from dropforge.uploads.upload_repository import UploadRecord
from dropforge_local.memory_function import MemoryEventQueue

from .test_analyze_upload import SETTINGS, AppContext, _table

POISONED = _table(100).replace("Bern", "Nowhere")  # a category nobody has seen: warn


@pytest.fixture
def world() -> AppContext:
    """Uploads with a warning wait for approval; one clean file is accepted."""
    created = AppContext()
    _ask_for(created, "warn")
    assert created.drop("first.csv", _table(100)).state == "training"
    return created


def _ask_for(world: AppContext, *verdicts: str) -> None:
    text = SETTINGS.replace("{block_on:", f"{{approve_on: [{', '.join(verdicts)}], block_on:")
    settings_store.apply(world.store, "data", text.encode())


def _decide(world: AppContext, record: UploadRecord, action: Any) -> str:
    """What the API does, then what analyze does with the object's event."""
    decisions.decide_upload(
        record.upload_id,
        action,
        decisions.Author("arn:ann", "looked at it"),
        store=world.store,
        book=world.book,
        bucket="data",
    )
    return _carry_out(world, f"decisions/uploads/{record.upload_id}.json")


def _about(world: AppContext, dataset_id: str, action: Any) -> str:
    settings, _ = settings_store.in_force(world.store, "data")
    decisions.decide_dataset(
        dataset_id, action, decisions.Author("arn:ann", "poisoned"), store=world.store, settings=settings, bucket="data"
    )
    keys = [o.uri for o in world.store.list(f"s3://data/decisions/datasets/{dataset_id}/")]
    return _carry_out(world, keys[-1].removeprefix("s3://data/"))


def _carry_out(world: AppContext, key: str) -> str:
    return apply_decision.carry_out(UploadEvent(bucket="data", key=key, version="1"), world.ports)


def _history(world: AppContext) -> list[str]:
    return [e["dataset_id"] for e in json.loads(world.store.get("s3://data/datasets/history.json").body)]


def _trained_on(world: AppContext, upload_id: str) -> list[str]:
    """Datasets whose rows the upload's training reads."""
    request = TrainingRequest.parse(world.workflow.payloads[ids.execution_name(upload_id)])
    return [p["dataset_id"] for p in json.loads(world.store.get(request.dataset_uri).body)["parts"]]


def test_an_upload_that_nobody_approves_trains_nothing(world: AppContext) -> None:
    """Analysed and reported; no workflow, no history, and no recovery takes it further."""
    before = (_history(world), len(world.workflow.payloads))
    record = world.drop("poisoned.csv", POISONED)
    assert (record.state, record.verdict) == ("awaiting_approval", "warn")
    assert record.report_uri
    nobody = MemoryEventQueue()
    recover(RecoveryPorts(world.ports, nobody, nobody), older_than=timedelta(0))
    assert nobody.sent == []
    assert world.book.get(record.upload_id).state == "awaiting_approval"
    assert (_history(world), len(world.workflow.payloads)) == before


def test_an_approved_upload_goes_on(world: AppContext) -> None:
    """It is trained with what was there, and its record says who approved it and why; the same event again changes nothing."""
    record = world.drop("odd.csv", POISONED)
    assert _decide(world, record, "approve") == "training"
    stands = world.book.get(record.upload_id)
    assert "approved by arn:ann" in stands.approval
    assert "looked at it" in stands.approval
    assert len(_trained_on(world, record.upload_id)) == 2
    started = len(world.workflow.payloads)
    assert _carry_out(world, f"decisions/uploads/{record.upload_id}.json") == "training"
    assert len(world.workflow.payloads) == started


def test_a_rejected_upload_ends(world: AppContext) -> None:
    """Its end names the person; it cannot be approved afterwards, and the clean file is trained on alone."""
    record = world.drop("poisoned.csv", POISONED)
    assert _decide(world, record, "reject") == "rejected"
    stands = world.book.get(record.upload_id)
    assert stands.reason is not None
    assert (stands.reason.code, "arn:ann" in stands.reason.message) == ("not_approved", True)
    with pytest.raises(Conflict) as error:
        decisions.decide_upload(
            record.upload_id, "approve", decisions.Author("x"), store=world.store, book=world.book, bucket="data"
        )
    assert error.value.code == "decided_before"
    assert record.dataset_id not in _history(world)


def test_a_first_upload_may_have_to_be_approved() -> None:
    """With `reference` in approve_on the first file is compared with nothing and becomes no reference until it is approved."""
    world = AppContext()
    _ask_for(world, "reference", "warn")
    record = world.drop("first.csv", _table(100))
    assert record.state == "awaiting_approval"
    with pytest.raises(NotFound):
        world.store.get("s3://data/datasets/reference.json")
    assert _decide(world, record, "approve") == "training"
    assert json.loads(world.store.get("s3://data/datasets/reference.json").body)["dataset_id"] == record.dataset_id


def test_only_what_waits_can_be_decided(world: AppContext) -> None:
    """409 for an upload that trains, 404 for one that is not there."""
    record = world.drop("clean.csv", _table(60, 7))
    assert record.state == "training"
    with pytest.raises(Conflict) as error:
        decisions.decide_upload(
            record.upload_id, "reject", decisions.Author("x"), store=world.store, book=world.book, bucket="data"
        )
    assert error.value.code == "not_awaiting_approval"
    with pytest.raises(NotFound):
        decisions.decide_upload(
            "0" * 20, "reject", decisions.Author("x"), store=world.store, book=world.book, bucket="data"
        )


def test_a_revoked_dataset_is_absent_from_the_next_model(world: AppContext) -> None:
    """A retraining starts at once without its rows; a later upload does not read it either, and its file is not taken again."""
    bad = world.drop("bad.csv", _table(80, 3))
    assert bad.dataset_id in _trained_on(world, bad.upload_id)
    done = _about(world, bad.dataset_id, "revoke")
    retraining = done.rpartition(" ")[2]
    assert bad.dataset_id not in _trained_on(world, retraining)
    later = world.drop("later.csv", _table(60, 9))
    assert bad.dataset_id not in _trained_on(world, later.upload_id)
    again = world.drop("bad-again.csv", _table(80, 3))
    assert again.reason is not None
    assert (again.state, again.reason.code) == ("skipped", "revoked")


def test_a_revoked_dataset_can_be_restored(world: AppContext) -> None:
    """Nothing was deleted: restored, it is read again."""
    bad = world.drop("bad.csv", _table(80, 3))
    _about(world, bad.dataset_id, "revoke")
    done = _about(world, bad.dataset_id, "restore")
    assert bad.dataset_id in _trained_on(world, done.rpartition(" ")[2])


def test_the_reference_is_changed_on_purpose(world: AppContext) -> None:
    """It cannot be revoked; after set-reference the next upload is compared with the other one, and the old one can be."""
    second = world.drop("second.csv", _table(80, 3))
    first = second.reference_id
    settings = load(SETTINGS)
    with pytest.raises(Conflict) as error:
        decisions.decide_dataset(
            first, "revoke", decisions.Author("x"), store=world.store, settings=settings, bucket="data"
        )
    assert error.value.code == "dataset_is_reference"
    assert _about(world, second.dataset_id, "set_reference") == "reference changed"
    assert world.drop("third.csv", _table(60, 9)).reference_id == second.dataset_id
    assert _about(world, first, "revoke").startswith("revoked")


@pytest.mark.parametrize("dataset_id", ["0" * 16, "../../x", ""])
def test_an_unknown_dataset_is_told(world: AppContext, dataset_id: str) -> None:
    """404 with the command that lists them; nothing is written."""
    settings = load(SETTINGS)
    with pytest.raises(NotFound) as error:
        decisions.decide_dataset(
            dataset_id, "revoke", decisions.Author("x"), store=world.store, settings=settings, bucket="data"
        )
    assert "dropforge dataset list" in error.value.fix
    assert not list(world.store.list("s3://data/decisions/"))
