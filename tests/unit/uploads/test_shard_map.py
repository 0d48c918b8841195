"""A large upload, its shards read by calls of their own, ends as it does when it is read at once."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import pytest
import yaml
from tests.conftest import repeats
from tests.unit.ingest.test_shards import TABLES

from dropforge.config import settings_store
from dropforge.errors import RejectedUpload, Unavailable
from dropforge.ingest import shard_reading
from dropforge.messages import UploadEvent
from dropforge.uploads import analyze_upload as step
from dropforge.uploads.shard_tasks import read_shard
from dropforge.uploads.upload_attempt import Invocation
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow

from ...differences import differences

TABLE = "age,city,label\n" + "".join(
    f"{20 + i % 50},{('Bern', 'Oslo')[i % 2]},{('no', 'yes', 'no')[i % 3]}\n" for i in range(200)
)


class Killed(BaseException):
    """A process that ends without a word."""


class Deadly:
    """A store that ends the process at the n-th object that is written."""

    def __init__(self, store: MemoryStore, writes: int) -> None:
        self._store, self._left = store, writes

    def __getattr__(self, name: str) -> Any:
        if name in {"put", "upload"}:
            self._left -= 1
            if self._left < 0:
                raise Killed
        return getattr(self._store, name)


class System:
    """A bucket, an MLflow, and a workflow whose maps are run by `run_maps`."""

    def __init__(self, data: dict[str, Any], seed: int = 0, *, deadly: bool = False) -> None:
        self.deadly = deadly
        self.store, self.workflow, self.tracking = MemoryStore(), MemoryWorkflow(), MemoryTracking()
        self.book, self.rng, self.maps = UploadRepository(self.store, "data"), random.Random(seed), 0
        self.ports = step.Ports(
            store=self.store,
            workflow=self.workflow,
            book=self.book,
            tracking=lambda _experiment: self.tracking,
            data_bucket="data",
            artifact_bucket="artifacts",
            log=logging.getLogger("test"),
        )
        settings = {"project": "demo", "data": {"target": "label", **data}, "models": [{"name": "m", "class": "a.b:C"}]}
        settings_store.apply(self.store, "data", yaml.safe_dump(settings).encode())

    def event(self, name: str, body: bytes) -> UploadEvent:
        uri = f"s3://data/incoming/{name}"
        self.store.put(uri, body)
        return UploadEvent(bucket="data", key=f"incoming/{name}", version=self.store.get(uri).version)

    def drop(self, name: str, body: bytes) -> UploadRecord:
        """The upload's record when no map is left to run."""
        record = step.analyze(self.event(name, body), self.ports)
        while any(name.startswith("shards-") and s == "RUNNING" for name, s in self.workflow.executions.items()):
            self.run_map(
                next(n for n, s in self.workflow.executions.items() if s == "RUNNING" and n.startswith("shards-"))
            )
        return self.book.get(record.upload_id)

    def run_map(self, name: str) -> None:
        """As the state machine does: each shard is read, in any order, again when its function dies; then the upload goes on."""
        self.maps += 1
        given = json.loads(self.workflow.payloads[name])
        for number in self.rng.sample(given["shards"], len(given["shards"])):
            self.read(given, number)
        step.shards_read(given["upload_id"], given["stage"], self.ports, Invocation())
        self.workflow.executions[name] = "SUCCEEDED"

    def read(self, given: dict[str, Any], number: int) -> None:
        """Killed at any object it writes, also twice in a row; calls that come behind one that ended well read nothing."""
        while self.deadly and self.rng.random() < 0.3:
            store: Any = Deadly(self.store, self.rng.randrange(8))
            try:
                read_shard(given["upload_id"], given["stage"], number, store, "data")
            except Killed:
                continue
        for _ in range(2):
            read_shard(given["upload_id"], given["stage"], number, self.store, "data")

    def documents(self, record: UploadRecord) -> dict[str, Any]:
        """What an upload leaves, without times and addresses."""
        report = json.loads(self.store.get(record.report_json_uri).body)
        profile = self.store.get(f"s3://data/datasets/{record.dataset_id}/profile.json").body
        rows = self.store.get(f"{record.quarantine_uri}/rows.csv").body if record.quarantine_uri else b""
        ends = (
            record.state,
            record.verdict,
            record.dataset_id,
            record.rows_in,
            record.rows_used,
            record.rows_quarantined,
        )
        return {
            "report": {k: v for k, v in report.items() if k not in {"provenance", "previous"}},
            "profile": json.loads(profile),
            "quarantined": rows.decode(),
            "ends": ends,
        }


def _limited(table: str, **limits: Any) -> dict[str, Any]:
    given = TABLES[table][1]
    return {**given, "limits": {**given.get("limits", {}), **limits}}


# (table, shards, files one after the other, whether functions are killed). In `make test` each way a file is read by: text with
# quotes, text whose number format all of it decides, Parquet. A later file is a map or two more, each shard a connection of its own.
CASES = [("quoted", 3, 2, True), ("german", 2, 1, False), ("parquet", 2, 1, False)]
CASES += [(table, shards, 2, True) for table in TABLES for shards in (1, 7, 100)] * repeats(0, 1)


@pytest.mark.repeated
@pytest.mark.timeout(3600)  # a hundred shards are read some thousand times, killed ones again
@pytest.mark.parametrize(("table", "shards", "files", "deadly"), CASES)
def test_a_report_of_a_map_is_that_of_the_file(table: str, shards: int, files: int, deadly: bool) -> None:
    """Of a first and of a later file, whatever the order of the shards and wherever their functions are killed: nothing is lost,
    nothing counted twice, and report, profile, quarantine, dataset id and state are those of the file read at once.
    """
    text = TABLES[table][0]
    name = "t.parquet" if table == "parquet" else "t.csv"
    whole = System(_limited(table))
    # A file of one shard is below the limit as it is read: recoded, or unpacked.
    shard_bytes = max(1, len(text(1)) // shards) if shards > 1 else 10**9
    cut = System(_limited(table, shard_bytes=shard_bytes), seed=shards, deadly=deadly)
    for seed in range(1, files + 1):
        records = [one.drop(f"{seed}{name}", text(seed)) for one in (whole, cut)]
        assert not differences(*(one.documents(r) for one, r in zip((whole, cut), records, strict=True)))
        assert records[1].rows_in == records[1].rows_used + records[1].rows_quarantined
        assert records[1].attempts == 1
    assert (whole.maps, cut.maps >= 2 * files) == (0, shards > 1)


def test_an_attempt_that_waits_for_a_map_is_not_counted_and_starts_it_once() -> None:
    """The same event again, while the map runs, changes nothing: no second execution, no attempt, no lease."""
    system = System({"limits": {"shard_bytes": 500}})
    event = system.event("a.csv", TABLE.encode())
    for _ in range(5):
        record = step.analyze(event, system.ports)
        assert (record.state, record.attempts, record.lease) == ("received", 0, None)
    assert len(system.workflow.executions) == 1


def test_an_execution_that_died_is_followed_by_another_for_what_is_missing() -> None:
    """Shards that were read before it died are not read again."""
    system = System({"limits": {"shard_bytes": 500}})
    event = system.event("a.csv", TABLE.encode())
    step.analyze(event, system.ports)
    (name,) = system.workflow.executions
    given = json.loads(system.workflow.payloads[name])
    read_shard(given["upload_id"], given["stage"], 2, system.store, "data")
    system.workflow.executions[name] = "ABORTED"
    step.analyze(event, system.ports)
    again = json.loads(system.workflow.payloads[f"{name}-2"])
    assert again["shards"] == [n for n in given["shards"] if n != 2]


def test_a_shard_that_fails_for_good_ends_the_upload_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is failed, and says which bytes and lines could not be read and why."""
    system = System({"limits": {"shard_bytes": 500}})
    record = step.analyze(system.event("a.csv", TABLE.encode()), system.ports)
    (name,) = system.workflow.executions
    given = json.loads(system.workflow.payloads[name])
    for number in given["shards"][:2]:
        read_shard(given["upload_id"], given["stage"], number, system.store, "data")

    def fails(*_args: Any, **_kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(shard_reading, "survey", fails)
    for number in given["shards"][2:]:
        with pytest.raises(MemoryError):
            read_shard(given["upload_id"], given["stage"], number, system.store, "data")
    step.shards_read(given["upload_id"], given["stage"], system.ports, Invocation())
    ended = system.book.get(record.upload_id)
    assert (ended.state, ended.reason.code if ended.reason else "") == ("failed", "shard_failed")
    assert ended.reason is not None
    start = TABLE.encode().index(b"\n", TABLE.encode().index(b"\n", 15 + 500) + 500) + 1
    assert f"bytes {start:,} to " in ended.reason.message
    assert f"from line {TABLE[:start].count(chr(10)) + 1}: MemoryError" in ended.reason.message


def test_a_shard_that_refuses_the_file_ends_the_upload_as_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason, code and advice are those of the upload."""
    system = System({"limits": {"shard_bytes": 500}})

    def refuses(*_args: Any, **_kwargs: Any) -> None:
        raise RejectedUpload("rows were lost", code="rows_lost", fix="keep the file")

    monkeypatch.setattr(shard_reading, "survey", refuses)
    record = system.drop("a.csv", TABLE.encode())
    assert record.reason is not None
    assert (record.state, record.reason.code, record.reason.fix) == ("rejected", "rows_lost", "keep the file")


def test_the_workflow_asks_again_while_another_invocation_works_on_the_upload() -> None:
    """Otherwise nobody would go on with it when that invocation dies."""
    system = System({"limits": {"shard_bytes": 500}})
    record = step.analyze(system.event("a.csv", TABLE.encode()), system.ports)
    (name,) = system.workflow.executions
    system.book.begin(record.upload_id, "another")
    with pytest.raises(Unavailable):
        step.shards_read(record.upload_id, name[-16:], system.ports, Invocation())
