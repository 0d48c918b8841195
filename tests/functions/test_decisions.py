"""Decisions from the API's request to what analyze does with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from dropforge import ids
from dropforge.app_context import AppContext
from dropforge.datasets.dataset_store import DatasetStore, Entry
from dropforge.uploads import apply_decision
from dropforge.uploads.upload_repository import UploadRecord

ID = "0123456789abcdef0123"
Load = Callable[[str], ModuleType]


@pytest.fixture
def waiting(world: AppContext) -> AppContext:
    """An upload that was analysed and waits for approval."""
    bucket = world.env.data_bucket
    world.uploads.open(UploadRecord(upload_id=ID, bucket=bucket, key="incoming/x.csv", version="1"))
    world.uploads.advance(ID, "analysed")
    world.uploads.advance(ID, "awaiting_approval")
    return world


def _call(load: Load, event: dict[str, Any], **body: str) -> tuple[int, Any]:
    answer = load("control").handler({**event, "body": json.dumps(body)} if body else event, None)
    return answer["statusCode"], json.loads(answer["body"])


def _event(event: Any, world: AppContext, key: str) -> dict[str, Any]:
    created = event("s3_put")
    created["Records"][0]["s3"]["object"] |= {"key": key, "versionId": "1"}
    created["Records"][0]["s3"]["bucket"]["name"] = world.env.data_bucket
    return dict(created)


@pytest.mark.parametrize("field", ["reason", "why"])
def test_a_rejection_reaches_the_upload(load: Load, event: Any, waiting: AppContext, field: str) -> None:
    """POST /uploads/{id} records it, the object's event ends the upload; a second request gets 409. A client of an earlier release
    names the reason `why`.
    """
    signed = event("decide_upload")
    signed["requestContext"]["identity"]["userArn"] = "arn:aws:iam::000000000000:user/ann"
    status, output = _call(load, signed, action="reject", **{field: "fraud"})
    assert (status, output["by"]) == (200, "arn:aws:iam::000000000000:user/ann")
    app = load("analyze")
    assert app.handler(_event(event, waiting, f"decisions/uploads/{ID}.json"), None) == {"uploads": {}}
    record = waiting.uploads.get(ID)
    assert record.state == "rejected"
    assert record.reason is not None
    assert "fraud" in record.reason.message
    assert _call(load, event("decide_upload"), action="approve")[1]["code"] == "decided_before"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [({"action": "delete"}, 422, "malformed_request"), ({"action": ""}, 422, "malformed_request")],
)
def test_another_action_is_refused(
    load: Load, event: Any, waiting: AppContext, body: dict[str, str], status: int, code: str
) -> None:
    """422 with the actions there are, for uploads and for datasets."""
    for name in ("decide_upload", "decide_dataset"):
        got, output = _call(load, event(name), **body)
        assert (got, output["code"]) == (status, code)


def test_a_revoked_dataset_is_shown_as_such(load: Load, event: Any, world: AppContext, monkeypatch: Any) -> None:
    """GET /datasets afterwards; 404 for one that is not there. The retraining that follows is tested with the steps."""
    monkeypatch.setattr(apply_decision, "retrain", lambda *_arguments, **_named: None)
    datasets = DatasetStore(world.store, world.env.data_bucket)
    for dataset_id in ("0" * 15 + "1", "0123456789abcdef"):
        datasets.accept(Entry(dataset_id=dataset_id, upload_id=ids.upload_id("b", dataset_id, "1"), accepted_at="x"))
    datasets.claim_reference("0" * 15 + "1")
    status, output = _call(load, event("decide_dataset"), action="revoke", reason="poisoned")
    assert (status, output["action"], output["subject"]) == (200, "revoke", "0123456789abcdef")
    root = f"s3://{world.env.data_bucket}/"
    key = next(o.uri for o in world.store.list(f"{root}decisions/datasets/")).removeprefix(root)
    load("analyze").handler(_event(event, world, key), None)
    listed = _call(load, event("datasets"))[1]["datasets"]
    assert [(d["dataset_id"], bool(d["revoked"]), d["reference"]) for d in listed] == [
        ("0123456789abcdef", True, False), ("0" * 15 + "1", False, True),
    ]  # fmt: skip
    missing = event("decide_dataset")
    missing["pathParameters"] = {"dataset_id": "f" * 16}
    assert _call(load, missing, action="revoke")[0] == 404
