"""No upload is forgotten."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from dropforge import identity, settings_store
from dropforge.adapters.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge.errors import Unavailable
from dropforge.messages import UploadEvent
from dropforge.steps.analyze import Ports, analyze
from dropforge.steps.sweep import ATTEMPTS, sweep
from dropforge.uploads import UploadBook, UploadRecord

SETTINGS = b"project: demo\ndata: {target: label}\nmodels: [{name: forest, class: a.b:C}]\n"
TABLE = b"age,label\n" + b"".join(b"%d,%s\n" % (20 + i % 40, b"yes" if i % 2 else b"no") for i in range(60))
AT_ONCE = timedelta(0)


@pytest.fixture
def ports() -> Ports:
    store, tracking = MemoryStore(), MemoryTracking()
    settings_store.apply(store, "data", SETTINGS)
    return Ports(
        store=store,
        workflow=MemoryWorkflow(),
        book=UploadBook(store, "data"),
        tracking=lambda _experiment: tracking,
        data_bucket="data",
        artifact_bucket="artifacts",
        log=logging.getLogger("test"),
    )


def _drop(ports: Ports) -> UploadRecord:
    return analyze(_put(ports), ports)


def _put(ports: Ports) -> UploadEvent:
    ports.store.put("s3://data/incoming/a.csv", TABLE)
    return UploadEvent(bucket="data", key="incoming/a.csv", version=ports.store.get("s3://data/incoming/a.csv").version)


def _executions(ports: Ports) -> dict[str, str]:
    workflow: Any = ports.workflow
    return dict(workflow.executions)


def test_a_training_whose_execution_died_is_started_again(ports: Ports) -> None:
    """Under a new name and with the same request; a sweep right afterwards leaves it alone."""
    record = _drop(ports)
    first = identity.execution_name(record.upload_id)
    workflow: Any = ports.workflow
    workflow.executions[first] = "FAILED"
    assert record.upload_id in sweep(ports, older_than=AT_ONCE)
    second = identity.execution_name(record.upload_id, 2)
    assert _executions(ports) == {first: "FAILED", second: "RUNNING"}
    assert workflow.payloads[second] == workflow.payloads[first]
    assert sweep(ports, older_than=AT_ONCE) == {}


def test_a_training_that_dies_every_time_ends_failed(ports: Ports) -> None:
    """After a few attempts, with the reason."""
    record = _drop(ports)
    workflow: Any = ports.workflow
    for _ in range(ATTEMPTS):
        for name in workflow.executions:
            workflow.executions[name] = "FAILED"
        sweep(ports, older_than=AT_ONCE)
    ended = ports.book.get(record.upload_id)
    assert ended.state == "failed"
    assert ended.reason is not None
    assert ended.reason.code == "workflow_died"
    assert len(_executions(ports)) == ATTEMPTS


def test_an_upload_whose_deliveries_are_used_up_is_analysed_again(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow was away for all deliveries; after it is back the sweep brings the upload on."""
    event = _put(ports)
    with monkeypatch.context() as patch:

        def away(_experiment: str) -> Any:
            raise Unavailable("MLflow is away")

        for _ in range(3):
            with pytest.raises(Unavailable):
                analyze(
                    event, Ports(**{**{f: getattr(ports, f) for f in ports.__dataclass_fields__}, "tracking": away})
                )
        patch.undo()
    assert ports.book.list()[0].state == "received"
    assert len(sweep(ports, older_than=AT_ONCE)) == 1
    assert ports.book.list()[0].state == "training"


def test_what_is_young_running_or_ended_is_left_alone(ports: Ports) -> None:
    """A running execution, a fresh record, a terminal one: nothing is done."""
    record = _drop(ports)
    assert sweep(ports, older_than=AT_ONCE) == {}
    workflow: Any = ports.workflow
    workflow.executions[identity.execution_name(record.upload_id)] = "FAILED"
    assert sweep(ports, older_than=timedelta(hours=1)) == {}
    ports.book.advance(record.upload_id, "concluded")
    assert sweep(ports, older_than=AT_ONCE) == {}


def test_one_upload_that_cannot_be_helped_does_not_stop_the_others(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trouble is told; the next one is swept."""
    good = _drop(ports)
    workflow: Any = ports.workflow
    workflow.executions[identity.execution_name(good.upload_id)] = "FAILED"
    ports.book.open(UploadRecord(upload_id="b" * 20, bucket="data", key="incoming/x.csv", version="1"))
    real = ports.store.stat

    def away(uri: str, *rest: Any) -> Any:
        if uri.endswith("x.csv"):
            raise Unavailable("the store is away")
        return real(uri, *rest)

    monkeypatch.setattr(ports.store, "stat", away)
    told = sweep(ports, older_than=AT_ONCE)
    assert told["b" * 20] == "not helped: the store is away"
    assert "started again" in told[good.upload_id]
