"""No upload is forgotten, and none stands in the way of the others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dropforge import ids as identity
from dropforge import retry_limits
from dropforge.config import settings_store
from dropforge.errors import Unavailable
from dropforge.messages import UploadEvent
from dropforge.uploads.analyze_upload import analyze
from dropforge.uploads.recovery import RecoveryPorts, recover, stuck_minutes
from dropforge.uploads.retrain import resume
from dropforge.uploads.s3_events import uploads_in
from dropforge.uploads.upload_attempt import Invocation
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import RETRAIN, UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge_local.memory_function import MemoryEventQueue

SETTINGS = (
    b"project: demo\ndata: {target: label}\nmodels: [{name: forest, class: a.b:C}]\n"
    b"training: {trigger: {quiet_minutes: 0}}\n"
)
AT_ONCE = timedelta(0)


class Died(BaseException):
    """The process is gone: no handler of ours sees it."""


class AppContext:
    """A bucket whose `analyze` is the real step; a key named `poison` kills the process that works on it."""

    def __init__(self) -> None:
        store, tracking = MemoryStore(), MemoryTracking()
        settings_store.apply(store, "data", SETTINGS)
        self.store, self.workflow = store, MemoryWorkflow()
        self.steps = Ports(
            store=store,
            workflow=self.workflow,
            book=UploadRepository(store, "data"),
            tracking=lambda _experiment: tracking,
            data_bucket="data",
            artifact_bucket="artifacts",
            log=logging.getLogger("test"),
        )
        self.book = self.steps.book
        self.uploads, self.files = MemoryEventQueue(self._handle), MemoryEventQueue()
        self.ports = RecoveryPorts(self.steps, self.uploads, self.files)
        self.worked: list[str] = []

    def _handle(self, event: Any) -> Any:
        if "retrain" in event:
            return resume(self.book.get(event["retrain"]["upload_id"]), self.steps).state
        return [self.deliver(e).state for e in uploads_in(event)]

    def deliver(self, event: UploadEvent) -> UploadRecord:
        self.worked.append(event.key)
        if "poison" in event.key:
            self._die_at_work(event)
        return analyze(event, self.steps)

    def _die_at_work(self, event: UploadEvent) -> None:
        real = self.store.download

        def die(uri: str, *rest: Any) -> Any:
            raise Died

        self.store.download = die  # type: ignore[method-assign]
        try:
            analyze(event, self.steps)
        except Died:
            raise RuntimeError("Worker process died") from None  # what the platform says to the caller
        finally:
            self.store.download = real  # type: ignore[method-assign]

    def put(self, name: str, number: int = 0) -> UploadEvent:
        uri = f"s3://data/incoming/{name}"
        lines = (f"{20 + i % 40}.{number + 1:04d},{'yes' if i % 2 else 'no'}\n" for i in range(60))
        self.store.put(uri, ("age,label\n" + "".join(lines)).encode())
        return UploadEvent(bucket="data", key=f"incoming/{name}", version=self.store.get(uri).version)

    def record(self, event: UploadEvent) -> UploadRecord:
        return self.book.get(identity.upload_id(event.bucket, event.key, event.version))

    def recover(self, older_than: timedelta = AT_ONCE) -> dict[str, str]:
        done = recover(self.ports, older_than=older_than)
        self.uploads.deliver()
        return done


@pytest.fixture
def world() -> AppContext:
    return AppContext()


def test_an_upload_that_kills_every_process_fails_and_the_younger_ones_finish(world: AppContext) -> None:
    """Recovery sends its event again until its attempts are used up; the uploads behind it end with the first recovery."""
    poison = world.put("poison.csv")
    with pytest.raises(RuntimeError):
        world.deliver(poison)
    younger = [world.put(f"{n}.csv", n) for n in range(3)]
    world.recover()
    assert [world.record(e).state for e in younger] == ["training"] * 3
    for _ in range(retry_limits.ATTEMPTS):
        world.recover()
    ended = world.record(poison)
    assert ended.state == "failed"
    assert ended.reason is not None
    assert (ended.reason.code, ended.attempts) == ("out_of_memory_or_time", retry_limits.ATTEMPTS)
    assert f"{retry_limits.ATTEMPTS} attempts ran out of memory or time" in ended.reason.message
    assert world.worked.count(poison.key) == retry_limits.ATTEMPTS
    assert world.recover() == {}


def test_recovery_does_none_of_the_work(world: AppContext) -> None:
    """Until the function gets what was sent, the upload is where it was; the event is one that the function understands."""
    event = world.put("a.csv")
    done = recover(world.ports, older_than=AT_ONCE)
    assert list(done.values()) == ["event sent again"]
    assert world.record(event).state == "received"
    assert world.worked == []
    (sent,) = world.uploads.sent
    (upload,) = uploads_in(json.loads(sent))
    assert (upload.bucket, upload.key, upload.version) == (event.bucket, event.key, event.version)


def test_a_file_to_be_scored_is_sent_to_its_own_function(world: AppContext) -> None:
    """By the folder it lies in."""
    world.store.put("s3://data/batch/a.csv", b"x")
    recover(world.ports, older_than=AT_ONCE)
    assert (len(world.uploads.sent), len(world.files.sent)) == (0, 1)


def test_recovery_adds_nothing_to_a_queue_that_is_full(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a burst its own event most likely still waits; the upload is on record, and its turn comes when the queue has room."""
    monkeypatch.setattr(retry_limits, "RECOVERED_AT_ONCE", 2)
    uploads = [world.put(f"{n}.csv", n) for n in range(4)]
    for _ in range(3):
        recover(world.ports, older_than=AT_ONCE)
        assert len(world.uploads.sent) == 2
    for _ in range(3):
        world.recover()
    assert {world.record(e).state for e in uploads} == {"training"}


def test_a_lost_event_of_recovery_is_sent_by_the_next(world: AppContext) -> None:
    """The upload is on record before its event is sent: that nobody got it changes nothing."""
    event = world.put("a.csv")
    recover(world.ports, older_than=AT_ONCE)
    world.uploads.sent.clear()
    assert world.recover()
    assert world.record(event).state == "training"


def test_a_training_whose_execution_died_is_started_again(world: AppContext) -> None:
    """Under a new name and with the same request; a recovery right afterwards leaves it alone."""
    record = world.deliver(world.put("a.csv"))
    first, second = (identity.execution_name(record.upload_id, n) for n in (1, 2))
    world.workflow.executions[first] = "FAILED"
    assert record.upload_id in world.recover()
    assert world.workflow.executions == {first: "FAILED", second: "RUNNING"}
    assert world.workflow.payloads[second] == world.workflow.payloads[first]
    assert world.recover() == {}


def test_a_training_that_dies_every_time_ends_failed(world: AppContext) -> None:
    """After a few executions, with the reason."""
    record = world.deliver(world.put("a.csv"))
    for _ in range(retry_limits.EXECUTIONS):
        world.workflow.executions = dict.fromkeys(world.workflow.executions, "FAILED")
        world.recover()
    ended = world.book.get(record.upload_id)
    assert (ended.state, ended.reason and ended.reason.code) == ("failed", "workflow_died")
    assert len(world.workflow.executions) == retry_limits.EXECUTIONS


def test_an_outage_is_not_held_against_the_upload(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is away for more attempts than a deadly upload would get; after it is back the upload trains."""
    event = world.put("a.csv")
    tracking: Any = world.steps.tracking("")
    with monkeypatch.context() as patch:

        def away(*_: Any, **__: Any) -> Any:
            raise Unavailable("MLflow is away")

        patch.setattr(tracking, "ensure_run", away)
        for _ in range(2 * retry_limits.ATTEMPTS):
            with pytest.raises(Unavailable):
                world.deliver(event)
    assert world.record(event).outages == 2 * retry_limits.ATTEMPTS
    world.recover()
    assert world.record(event).state == "training"


def test_an_outage_that_never_ends_fails_the_upload(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries have a bound of their own; the reason names the part that did not answer."""
    event = world.put("a.csv")
    monkeypatch.setattr(retry_limits, "OUTAGES", 4)
    tracking: Any = world.steps.tracking("")

    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("MLflow is away")

    monkeypatch.setattr(tracking, "ensure_run", away)
    for _ in range(6):
        world.recover()
    ended = world.record(event)
    assert (ended.state, ended.reason and ended.reason.code) == ("failed", "outages")
    assert ended.reason is not None
    assert "MLflow is away" in ended.reason.message


def test_what_is_young_running_or_ended_is_left_alone(world: AppContext) -> None:
    """A running execution, a fresh record, an upload in work, a terminal one: nothing is done."""
    record = world.deliver(world.put("a.csv"))
    assert world.recover() == {}
    world.workflow.executions[identity.execution_name(record.upload_id)] = "FAILED"
    assert world.recover(timedelta(hours=1)) == {}
    world.book.advance(record.upload_id, "concluded")
    assert world.recover() == {}


def test_a_delivery_beside_the_one_at_work_does_nothing(world: AppContext) -> None:
    """A doubled event is not analysed twice at once, and is no attempt; the same request again is Lambda's retry of a dead one."""
    event = world.put("a.csv")
    opened = world.book.open(UploadRecord(upload_id=identity.upload_id("data", event.key, event.version), bucket="data",
                                          key=event.key, version=event.version))  # fmt: skip
    world.book.begin(opened.upload_id, "first")
    assert analyze(event, world.steps, Invocation("second")).state == "received"
    assert world.record(event).attempts == 1
    assert analyze(event, world.steps, Invocation("first")).state == "training"
    assert world.record(event).attempts == 2


def test_one_upload_that_cannot_be_helped_does_not_stop_the_others(
    world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trouble is told; the next one is recovered."""
    good, bad = (world.deliver(world.put(f"{n}.csv", n)) for n in range(2))
    world.workflow.executions = dict.fromkeys(world.workflow.executions, "FAILED")
    real = world.workflow.status

    def status(name: str) -> str:
        if bad.upload_id in name:
            raise Unavailable("no answer")
        return real(name)

    monkeypatch.setattr(world.workflow, "status", status)
    done = world.recover()
    assert done[bad.upload_id] == "recovery failed: no answer"
    assert "started again" in done[good.upload_id]


def test_a_retraining_that_stopped_halfway_comes_to_its_workflow(world: AppContext) -> None:
    """One that had only its record is gone on with, and not taken for a file it has not."""
    upload = world.deliver(world.put("a.csv"))
    record = UploadRecord(
        upload_id="c" * 20, bucket="data", key=f"{RETRAIN}2026-06-01", version="v", dataset_id=upload.dataset_id
    )
    world.book.open(record)
    assert world.recover()["c" * 20] == "retraining sent again"
    assert world.book.get("c" * 20).state == "training"


def test_a_recovery_reads_the_open_uploads_only(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many have ended: no record of theirs is read, and their versions are looked at once."""
    for n in range(12):
        record = world.deliver(world.put(f"{n}.csv", n))
        world.book.advance(record.upload_id, "concluded")
    world.recover()
    ended = {world.book.uri(u) for u in world.book.index.newest(20).upload_ids}
    reads: list[str] = []
    real: Callable[[str], Any] = world.book._read

    def read(upload_id: str) -> Any:
        reads.append(world.book.uri(upload_id))
        return real(upload_id)

    monkeypatch.setattr(world.book, "_read", read)
    open_one = world.put("open.csv", 99)
    world.recover()
    assert world.record(open_one).state == "training"
    assert len(ended) == 12
    assert not ended & set(reads)


def test_a_search_for_lost_events_goes_on_where_it_stopped(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket with more versions than one recovery looks at: all are found in several, each once."""
    monkeypatch.setattr(retry_limits, "SCANNED_AT_ONCE", 4)
    events = [world.put(f"{n:02}.csv", n) for n in range(10)]
    matches: list[str] = []
    for _ in range(4):
        matches += [i for i, done in recover(world.ports, older_than=AT_ONCE).items() if done == "event sent again"]
        world.uploads.deliver()
    assert sorted(matches) == sorted(identity.upload_id(e.bucket, e.key, e.version) for e in events)


def test_records_of_older_versions_come_into_the_lists(world: AppContext) -> None:
    """Records that were written when there was no index are listed, and recovered, after the first recovery."""
    ids = [f"{digit}{'0' * 19}" for digit in "05bf"]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for n, upload_id in enumerate(ids):
        record = UploadRecord.model_validate(
            {"upload_id": upload_id, "bucket": "data", "key": f"incoming/{n}.csv", "version": "1", "state": "skipped",
             "history": [{"state": "received", "at": (at + timedelta(hours=n)).isoformat(timespec="milliseconds")}]}
        )  # fmt: skip
        world.store.put(f"s3://data/uploads/{upload_id}.json", record.model_dump_json().encode())
    assert world.book.newest() is None
    world.recover()
    assert list(world.book.index.newest(10).upload_ids) == ids[::-1]
    newest = world.book.newest()
    assert newest is not None
    assert newest.upload_id == ids[-1]


def test_an_entry_left_by_a_dead_writer_is_cleared_away(world: AppContext) -> None:
    """An entry of an upload without a record, and one that its record has moved on from."""
    record = world.deliver(world.put("a.csv"))
    stale = world.book.index.open(record.upload_id, "analysis", "2026-01-01T00:00:00+00:00")
    orphan = world.book.index.open("e" * 20, "training", "2026-01-01T00:00:00+00:00")
    for uri in (stale, orphan):
        world.store.put(uri, b"")
    world.recover()
    assert world.store.stat(stale) is None
    assert world.store.stat(orphan) is None


def test_the_longest_wait_is_told_without_reading_records(world: AppContext) -> None:
    """Minutes since the oldest open upload entered its stage; 0 when all have ended."""
    assert stuck_minutes(world.book) == 0
    record = world.deliver(world.put("a.csv"))
    later = datetime.now(UTC) + timedelta(minutes=90)
    assert 89 <= stuck_minutes(world.book, lambda: later) <= 91
    world.book.advance(record.upload_id, "concluded")
    assert stuck_minutes(world.book, lambda: later) == 0
