"""Training anew on a schedule."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dropforge import identity, settings, settings_store
from dropforge.adapters.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge.cost import training_limit
from dropforge.errors import Unavailable
from dropforge.messages import TrainingRequest, UploadEvent
from dropforge.steps.analyze import analyze
from dropforge.steps.reporting import Ports
from dropforge.steps.retrain import PREFIX, retrain
from dropforge.steps.sweep import sweep
from dropforge.uploads import UploadBook, UploadRecord

SETTINGS = b"project: demo\ndata: {target: label}\nmodels: [{name: forest, class: a.b:C}]\n"
TABLE = b"age,label\n" + b"".join(b"%d,%s\n" % (20 + i % 40, b"yes" if i % 2 else b"no") for i in range(60))
MONDAY = datetime(2026, 6, 1, 4, tzinfo=UTC)


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


def _accepted(ports: Ports) -> UploadRecord:
    ports.store.put("s3://data/incoming/a.csv", TABLE)
    version = ports.store.get("s3://data/incoming/a.csv").version
    return analyze(UploadEvent(bucket="data", key="incoming/a.csv", version=version), ports)


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
    (record,) = ports.book.list()
    expected = training_limit(settings.load(SETTINGS))
    assert record.state == "analysed"
    assert record.cost["training_at_most"] == pytest.approx(expected, abs=1e-6)
    assert (list(record.cost["models"]), record.cost["currency"]) == (["forest"], "USD")
    assert [r.cost for r in caplog.records if r.message == "training may cost"] == [record.cost]  # type: ignore[attr-defined]


def test_without_data_there_is_nothing_to_do(ports: Ports) -> None:
    """A schedule that fires before the first upload is no failure and starts nothing."""
    assert retrain(ports) is None
    assert _payloads(ports) == {}
    assert ports.book.list() == []


def test_the_newest_data_are_trained_on_with_the_settings_in_force(ports: Ports) -> None:
    """New jobs under a new identity, on the accepted dataset, with the models that settings.yaml names now."""
    upload = _accepted(ports)
    settings_store.apply(ports.store, "data", SETTINGS.replace(b"name: forest", b"name: boosted"))
    record = retrain(ports, clock=lambda: MONDAY)
    assert record is not None
    assert (record.state, record.dataset_id, record.key) == ("training", upload.dataset_id, f"{PREFIX}2026-06-01")
    assert record.upload_id != upload.upload_id
    request = TrainingRequest.parse(_payloads(ports)[identity.execution_name(record.upload_id)])
    assert [j.model for j in request.jobs] == ["boosted"]
    assert {j.job_id for j in request.jobs} == {identity.job_id(record.upload_id, "boosted")}
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


def test_a_retraining_that_stopped_halfway_is_swept_up(ports: Ports) -> None:
    """One that had only its record comes to its workflow by the sweep, and not to an analysis of a file it has not."""
    upload = _accepted(ports)
    record = UploadRecord(
        upload_id="c" * 20, bucket="data", key=f"{PREFIX}2026-06-01", version="v", dataset_id=upload.dataset_id
    )
    ports.book.open(record)
    assert "retraining" in sweep(ports, older_than=timedelta(0))["c" * 20]
    assert ports.book.get("c" * 20).state == "training"
