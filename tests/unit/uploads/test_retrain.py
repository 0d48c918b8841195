"""Training anew on a schedule."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dropforge import ids
from dropforge.config import settings, settings_store
from dropforge.config.cost_estimate import training_limit
from dropforge.errors import Unavailable
from dropforge.messages import TrainingRequest, UploadEvent
from dropforge.uploads.analyze_upload import analyze
from dropforge.uploads.retrain import retrain
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import RETRAIN, UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow

SETTINGS = b"project: demo\ndata: {target: label}\nmodels: [{name: forest, class: a.b:C}]\ntraining: {trigger: {quiet_minutes: 0}}\n"
TABLE = b"age,label\n" + b"".join(b"%d,%s\n" % (20 + i % 40, b"yes" if i % 2 else b"no") for i in range(60))
MONDAY = datetime(2026, 6, 1, 4, tzinfo=UTC)


@pytest.fixture
def ports() -> Ports:
    store, tracking = MemoryStore(), MemoryTracking()
    settings_store.apply(store, "data", SETTINGS)
    return Ports(
        store=store,
        workflow=MemoryWorkflow(),
        book=UploadRepository(store, "data"),
        tracking=lambda _experiment: tracking,
        data_bucket="data",
        artifact_bucket="artifacts",
        log=logging.getLogger("test"),
    )


def _table(rows: int) -> bytes:
    return b"age,label\n" + b"".join(b"%d,%s\n" % (20 + i % 40, b"yes" if i % 2 else b"no") for i in range(rows))


def _accepted(ports: Ports, name: str = "a.csv", body: bytes = TABLE) -> UploadRecord:
    uri = f"s3://data/incoming/{name}"
    ports.store.put(uri, body)
    version = ports.store.get(uri).version
    return analyze(UploadEvent(bucket="data", key=f"incoming/{name}", version=version), ports)


def _payloads(ports: Ports) -> dict[str, str]:
    workflow: Any = ports.workflow
    return dict(workflow.payloads)


def test_the_cost_is_told_before_the_jobs_are_sent(ports: Ports, caplog: pytest.LogCaptureFixture) -> None:
    """When the workflow cannot be started, the record and the log hold what the training could have cost at most."""

    def refuse(_name: str, _payload: str) -> bool:
        raise Unavailable("the workflow does not answer", code="aws_unavailable", fix="try again")

    caplog.set_level(logging.INFO)
    ports.workflow.start = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        _accepted(ports)
    record = ports.book.newest()
    assert record is not None
    expected = training_limit(settings.load(SETTINGS))
    assert record.state == "analysed"
    assert record.cost["training_at_most"] == pytest.approx(expected, abs=1e-6)
    assert (list(record.cost["models"]), record.cost["currency"]) == (["forest"], "USD")
    assert [r.cost for r in caplog.records if r.message == "training may cost"] == [record.cost]  # type: ignore[attr-defined]


def test_without_data_there_is_nothing_to_do(ports: Ports) -> None:
    """A schedule that fires before the first upload is no failure and starts nothing."""
    assert retrain(ports) is None
    assert _payloads(ports) == {}
    assert ports.book.newest() is None


def test_the_newest_data_are_trained_on_with_the_settings_in_force(ports: Ports) -> None:
    """New jobs under a new identity, on the accepted dataset, with the models that settings.yaml names now."""
    upload = _accepted(ports)
    settings_store.apply(ports.store, "data", SETTINGS.replace(b"name: forest", b"name: boosted"))
    record = retrain(ports, clock=lambda: MONDAY)
    assert record is not None
    assert (record.state, record.dataset_id, record.key) == ("training", upload.dataset_id, f"{RETRAIN}2026-06-01")
    assert record.upload_id != upload.upload_id
    request = TrainingRequest.parse(_payloads(ports)[ids.execution_name(record.upload_id)])
    assert [j.model for j in request.jobs] == ["boosted"]
    assert {j.job_id for j in request.jobs} == {ids.job_id(record.upload_id, "boosted")}
    assert request.dataset_uri.startswith(f"s3://data/datasets/{upload.dataset_id}/")
    assert request.parent_run_id


def test_the_same_day_is_once(ports: Ports) -> None:
    """A schedule that fires twice starts one workflow; the next day starts another."""
    _accepted(ports)
    first = retrain(ports, clock=lambda: MONDAY)
    assert retrain(ports, clock=lambda: MONDAY + timedelta(hours=3)) == first
    assert len(_payloads(ports)) == 2
    retrain(ports, clock=lambda: MONDAY + timedelta(days=1))
    assert len(_payloads(ports)) == 3


def test_a_retraining_of_the_day_honours_changed_settings(ports: Ports) -> None:
    """Another history rule, window or reference is another training on other parts; the same settings again are none."""
    first, second, third = (_accepted(ports, f"{i}.csv", _table(100 + i)) for i in range(3))
    retrain(ports, clock=lambda: MONDAY)
    for rule, expected in (
        ("history: replace", [third]),
        ("history: window, window: 1", [first, third]),
        (f"history: window, window: 1, reference: {second.dataset_id}", [second, third]),
        ("history: append", [first, second, third]),
    ):
        text = SETTINGS.replace(b"target: label", f"target: label, {rule}".encode())
        settings_store.apply(ports.store, "data", text)
        record = retrain(ports, clock=lambda: MONDAY)
        assert record is not None
        assert retrain(ports, clock=lambda: MONDAY) == record
        request = TrainingRequest.parse(_payloads(ports)[ids.execution_name(record.upload_id)])
        parts = json.loads(ports.store.get(request.dataset_uri).body)["parts"]
        assert [p["dataset_id"] for p in parts] == [r.dataset_id for r in expected], rule


@pytest.mark.parametrize("text", [b"project: [", b"project: demo\nnew_key: 1\n"])
def test_settings_that_cannot_be_read_end_the_retraining(ports: Ports, text: bytes) -> None:
    """The record fails at once with the line that is wrong; nothing is started and nothing waits for ever."""
    _accepted(ports)
    ports.store.put("s3://data/config/settings.yaml", text)
    record = retrain(ports, clock=lambda: MONDAY)
    assert record is not None
    assert (record.state, record.reason and record.reason.stage) == ("failed", "retraining")
    assert record.reason is not None
    assert "settings.yaml" in record.reason.message
