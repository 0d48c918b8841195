"""A burst of uploads is one training; every accepted row is in it."""

from __future__ import annotations

import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from dropforge import keys
from dropforge.clock import now
from dropforge.config import settings_store
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.dataset_store import DatasetStore, Entry
from dropforge.datasets.table_schema import Schema
from dropforge.errors import Conflict, Unavailable
from dropforge.messages import TrainingRequest
from dropforge.uploads import retrain_trigger
from dropforge.uploads.recovery import RecoveryPorts, recover
from dropforge.uploads.retrain_rounds import Rounds
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge_local.memory_function import MemoryEventQueue

QUIET = 10  # seconds


class AppContext:
    """Accepted uploads without their analysis: datasets in the history, records in state analysed."""

    def __init__(self, rule: str = "append", quiet: float = QUIET / 60, rows: int = 1) -> None:
        store, self.tracking = MemoryStore(), MemoryTracking()
        self.store, self.workflow = store, MemoryWorkflow()
        text = (
            f"project: demo\ndata: {{target: label, history: {rule}}}\nmodels: [{{name: forest, class: a.b:C}}]\n"
            f"training: {{trigger: {{quiet_minutes: {quiet}, min_new_rows: {rows}}}}}\n"
        )
        settings_store.apply(store, "data", text.encode())
        self.ports = Ports(
            store=store,
            workflow=self.workflow,
            book=UploadRepository(store, "data"),
            tracking=lambda _experiment: self.tracking,
            data_bucket="data",
            artifact_bucket="artifacts",
            log=logging.getLogger("test"),
        )
        self.book, self.datasets = self.ports.book, DatasetStore(store, "data")
        self.events = 0  # in the queue of uploads

    def accept(self, n: int, rows: int = 5) -> UploadRecord:
        """As the end of an analysis; again is harmless."""
        upload_id, dataset_id = f"{n:020x}", f"{n:016x}"
        self.book.open(UploadRecord(upload_id=upload_id, bucket="data", key=f"incoming/{n}.csv", version="1"))
        run = self.tracking.ensure_run(upload_id, name="analysis", tags={})
        part = Part(
            dataset_id=dataset_id, uri=f"s3://data/datasets/{dataset_id}/data.parquet", rows=rows, sha256="0" * 64
        )
        schema = Schema.model_validate({"columns": [{"name": "age", "kind": "integer"}], "target": ""})
        manifest = DatasetManifest(dataset_id=dataset_id, data_schema=schema, parts=(part,), source="s", created_at="t")
        self.store.put(keys.dataset_manifest(self.datasets._bucket, dataset_id), manifest.model_dump_json().encode())
        self.datasets.claim_reference(dataset_id)
        self.datasets.accept(Entry(dataset_id=dataset_id, upload_id=upload_id, accepted_at=now(), part=part))
        if self.book.get(upload_id).state != "received":
            return self.book.get(upload_id)
        facts: dict[str, Any] = {"dataset_id": dataset_id, "run_id": run.run_id, "rows_in": rows, "rows_used": rows}
        try:
            record = self.book.advance(upload_id, "analysed", **facts)
        except Conflict:  # another delivery of the same event was quicker
            return self.book.get(upload_id)
        settings, uri = settings_store.in_force(self.store, "data")
        return retrain_trigger.accepted(record, settings, uri, self.ports)

    def wait(self, seconds: float = 0) -> dict[int, int]:
        """What every execution that waits is answered `seconds` from now; one that is answered 0 has ended."""
        document = {}
        for name, status in dict(self.workflow.executions).items():
            if name.startswith("trigger-") and status == "RUNNING":
                number = json.loads(self.workflow.payloads[name])["round"]
                document[number] = self.due(number, seconds)
                if not document[number]:
                    self.workflow.executions[name] = "SUCCEEDED"
        return document

    def due(self, number: int, seconds: float = 0) -> int:
        later = lambda: datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: E731 - a clock
        return retrain_trigger.due(number, self.ports, events=lambda: self.events, clock=later)

    def trainings(self) -> list[list[str]]:
        """The datasets that each training reads, in the order the trainings started."""
        requests = [TrainingRequest.parse(p) for n, p in self.workflow.payloads.items() if n.startswith("upload-")]
        return [[p["dataset_id"] for p in json.loads(self.store.get(r.dataset_uri).body)["parts"]] for r in requests]

    def states(self, count: int) -> dict[str, int]:
        matches: dict[str, int] = {}
        for n in range(count):
            state = self.book.get(f"{n:020x}").state
            matches[state] = matches.get(state, 0) + 1
        return matches


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_files_of_a_burst_are_one_training(seed: int) -> None:
    """In any order, each delivered twice, two of them late: one training, which reads every accepted row once."""
    world = AppContext()
    numbers = list(range(100))
    random.Random(seed).shuffle(numbers)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(world.accept, numbers[:98] * 2))
    assert world.wait(QUIET / 2)[1] > 0
    for late in numbers[98:]:
        world.accept(late)
        assert world.wait()[1] > 0
    assert world.wait(QUIET + 1) == {1: 0}
    ((parts),) = world.trainings()
    assert sorted(parts) == [f"{n:016x}" for n in range(100)]
    assert world.states(100) == {"training": 1, "accepted": 99}
    leader = next(n for n in numbers if world.book.get(f"{n:020x}").state == "training")
    others = [world.book.get(f"{n:020x}") for n in range(100) if n != leader]
    assert {r.trained_by for r in others} == {f"{leader:020x}"}
    assert {world.tracking.runs[r.run_id].info.status for r in others} == {"FINISHED"}
    assert len([n for n in world.workflow.executions if n.startswith("trigger-")]) == 1


def test_files_after_the_training_started_are_the_next_one() -> None:
    """They wait for a quiet period of their own, and their training reads the whole history."""
    world = AppContext()
    for n in range(3):
        world.accept(n)
    world.wait(QUIET + 1)
    for n in (3, 4):
        world.accept(n)
    assert world.wait(QUIET + 1) == {2: 0}
    first, second = world.trainings()
    assert (len(first), len(second)) == (3, 5)
    assert world.states(5) == {"training": 2, "accepted": 3}


def test_an_upload_accepted_while_the_round_is_taken_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the old number; who takes the round sees its entry and starts the wait of the next one."""
    world = AppContext()
    world.accept(0)
    real = Rounds.replace

    def replace(rounds: Rounds, new: Any, etag: str) -> str:
        monkeypatch.undo()
        world.accept(1)  # between the list and the write
        return real(rounds, new, etag)

    monkeypatch.setattr(Rounds, "replace", replace)
    world.wait(QUIET + 1)
    assert world.states(2) == {"training": 1, "waiting": 1}
    world.wait(QUIET + 1)
    assert world.states(2) == {"training": 2}


@pytest.mark.parametrize("dies_at", ["start", "finish", "done"])
def test_a_round_is_completed_by_whoever_asks_next(monkeypatch: pytest.MonkeyPatch, dies_at: str) -> None:
    """The asker dies after it took the round, in the middle of starting, closing or noting it: once more gives one training."""
    world = AppContext()
    for n in range(4):
        world.accept(n)
    places: dict[str, tuple[Any, str]] = {
        "start": (world.workflow, "start"), "finish": (world.tracking, "finish"), "done": (world.store, "put"),
    }  # fmt: skip
    thing, name = places[dies_at]
    real = getattr(thing, name)

    def die(*arguments: Any, **how: Any) -> Any:
        if dies_at != "done" or ("round.json" in arguments[0] and b'"done": true' in arguments[1]):
            raise KeyboardInterrupt
        return real(*arguments, **how)

    with monkeypatch.context() as patch:
        patch.setattr(thing, name, die)
        with pytest.raises(KeyboardInterrupt):
            world.due(1, QUIET + 1)
    assert world.due(1, QUIET + 1) == 0
    assert [len(t) for t in world.trainings()] == [4]
    assert world.states(4) == {"training": 1, "accepted": 3}
    assert Rounds(world.store, "data").read()[0].done


def test_askers_at_the_same_moment_start_one_training() -> None:
    """Two executions, or one delivered twice, ask about the same round."""
    world = AppContext()
    for n in range(6):
        world.accept(n)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: world.due(1, QUIET + 1), range(6)))
    while world.due(1, QUIET + 1):
        pass
    assert [len(t) for t in world.trainings()] == [6]


def test_what_is_still_analysed_is_waited_for() -> None:
    """An upload that arrived and has no verdict yet belongs to the burst, however long ago the last one was accepted."""
    world = AppContext()
    world.accept(0)
    world.book.open(UploadRecord(upload_id="f" * 20, bucket="data", key="incoming/large.csv", version="1"))
    assert world.wait(10 * QUIET)[1] > 0
    assert world.wait(retrain_trigger.ARRIVING.total_seconds() + 1) == {1: 0}


def test_an_event_that_has_no_record_yet_is_waited_for() -> None:
    """Its function starts for longer than the quiet period: when it is analysed at last, the burst is one training."""
    world = AppContext()
    world.accept(0)
    world.events = 1
    assert world.wait(3 * QUIET)[1] > 0
    world.accept(1)
    world.events = 0
    assert world.wait(QUIET + 1) == {1: 0}
    assert [len(t) for t in world.trainings()] == [2]


def test_an_event_whose_upload_is_analysed_counts_once() -> None:
    """Its event stays in the queue until its function ends; an upload in trouble is waited for no longer for that."""
    world = AppContext()
    world.book.open(UploadRecord(upload_id="f" * 20, bucket="data", key="incoming/large.csv", version="1"))
    world.accept(0)
    world.events = 1
    late = retrain_trigger.ARRIVING.total_seconds() + 1
    settings, _ = settings_store.in_force(world.store, "data")
    waiting = [
        replace(w, since=w.since + timedelta(seconds=late)) for w in world.book.index.longest_open("waiting", 10)
    ]
    ask = partial(retrain_trigger._seconds_to_wait, waiting, settings.training.trigger, world.book)
    at = waiting[0].since + timedelta(seconds=QUIET + 1)
    assert ask(lambda: 1, at) == 0
    assert ask(lambda: 2, at) > 0


def test_an_event_that_always_fails_does_not_stop_trainings() -> None:
    """It is hidden in the queue for hours, its function died; the uploads beside it are trained on all the same."""
    world = AppContext()
    world.accept(0)
    world.events = 1
    assert world.wait(retrain_trigger.STARTING.total_seconds() + 1) == {1: 0}
    assert [len(t) for t in world.trainings()] == [1]


def test_a_stream_without_a_pause_is_trained_on_within_the_hour() -> None:
    """Something arrives all the time: the wait has an end."""
    world = AppContext(quiet=30)
    world.accept(0)
    assert world.wait(29 * 60)[1] > 0
    first = retrain_trigger._seconds_to_wait
    settings, _ = settings_store.in_force(world.store, "data")
    waiting = list(world.book.index.longest_open("waiting", 10))
    late = waiting[0].since + timedelta(hours=5, seconds=1)
    assert first(waiting, settings.training.trigger, world.book, lambda: 1, late) == 0


def test_too_few_new_rows_wait_for_the_next_upload() -> None:
    """They stay accepted and wait; the upload that fills the number trains all of them."""
    world = AppContext(rows=12)
    world.accept(0)
    assert world.wait(QUIET + 1) == {1: 0}
    assert world.states(1) == {"waiting": 1}
    assert world.trainings() == []
    world.accept(1)
    world.wait(QUIET + 1)
    assert world.states(2) == {"waiting": 2}
    world.accept(2)
    world.wait(QUIET + 1)
    assert world.states(3) == {"training": 1, "accepted": 2}
    assert [len(t) for t in world.trainings()] == [3]


def test_without_a_quiet_period_every_upload_trains_at_once() -> None:
    """quiet_minutes: 0: no wait, one training for each."""
    world = AppContext(quiet=0)
    assert [world.accept(n).state for n in range(3)] == ["training"] * 3
    assert [len(t) for t in world.trainings()] == [1, 2, 3]


@pytest.mark.parametrize(("rule", "parts"), [("replace", 3), ("window, window: 1", 4)])
def test_a_burst_is_one_upload_of_the_history_rule(rule: str, parts: int) -> None:
    """`replace` reads the whole burst and nothing before it; of a window it takes one place."""
    world = AppContext(rule)
    world.accept(0)
    world.wait(QUIET + 1)
    for n in (1, 2, 3):
        world.accept(n)
    world.wait(QUIET + 1)
    assert len(world.trainings()[1]) == parts


def test_a_wait_that_died_is_started_again_by_recovery() -> None:
    """The machine of its execution is gone; the next one asks, and the burst is trained."""
    world = AppContext()
    for n in range(2):
        world.accept(n)
    world.workflow.executions["trigger-1"] = "FAILED"
    nobody = MemoryEventQueue()
    output = recover(RecoveryPorts(world.ports, nobody, nobody), older_than=timedelta(0))
    assert "started again" in output["waiting"]
    world.wait(QUIET + 1)
    assert world.states(2) == {"training": 1, "accepted": 1}


def test_a_wait_that_dies_every_time_ends_with_a_reason() -> None:
    """After a few executions its uploads fail; what comes afterwards has a round of its own."""
    world = AppContext()
    world.accept(0)
    nobody = MemoryEventQueue()
    for _ in range(6):
        world.workflow.executions = dict.fromkeys(world.workflow.executions, "FAILED")
        recover(RecoveryPorts(world.ports, nobody, nobody), older_than=timedelta(0))
    ended = world.book.get(f"{0:020x}")
    assert (ended.state, ended.reason and ended.reason.code) == ("failed", "trigger_died")
    world.accept(1)
    world.wait(QUIET + 1)
    assert world.book.get(f"{1:020x}").state == "training"


def test_an_outage_is_the_callers_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is away: the workflow asks again later, nothing is lost."""
    world = AppContext()
    world.accept(0)
    with monkeypatch.context() as patch:

        def away(*_: Any) -> None:
            raise Unavailable("MLflow is away")

        patch.setattr(world.tracking, "put_artifacts", away)
        with pytest.raises(Unavailable):
            world.due(1, QUIET + 1)
    assert world.due(1, QUIET + 1) == 0
    assert world.states(1) == {"training": 1}


def test_a_leader_that_cannot_be_trained_lets_the_others_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its dataset is gone: it fails with its reason, and the rest of the burst is the next round."""
    world = AppContext()
    for n in range(3):
        world.accept(n)
    world.store.delete(keys.dataset_manifest(world.datasets._bucket, f"{2:016x}"))
    world.wait(QUIET + 1)
    assert world.states(3) == {"waiting": 2, "failed": 1}
    world.wait(QUIET + 1)
    assert world.states(3) == {"training": 1, "accepted": 1, "failed": 1}


def test_an_upload_revoked_while_it_waits_is_trained_by_nobody() -> None:
    """It ends with who revoked it; the others of its burst are trained without its rows."""
    world = AppContext()
    for n in range(3):
        world.accept(n)
    world.datasets.revoke(f"{2:016x}", "revoked by ann")
    world.wait(QUIET + 1)
    assert world.trainings() == [[f"{0:016x}", f"{1:016x}"]]
    ended = world.book.get(f"{2:020x}")
    assert (ended.state, ended.reason and ended.reason.code) == ("accepted", "revoked")
