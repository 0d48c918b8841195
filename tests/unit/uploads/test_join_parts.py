"""A folder of parts is one upload, in whatever order, how often and how late its events come."""

from __future__ import annotations

import io
import json
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropforge import ids, keys
from dropforge.config import settings_store
from dropforge.config.settings import PartsSettings
from dropforge.messages import UploadEvent
from dropforge.uploads import folder_parts, join_parts
from dropforge.uploads.recovery import RecoveryPorts, recover
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge_local.memory_function import MemoryEventQueue

SETTINGS = """\
project: demo
data: {target: label}
models: [{name: forest, class: a.b:C}]
training: {trigger: {quiet_minutes: 0}}
"""
HOUR = timedelta(hours=1)


def _part(number: int, rows: int = 12) -> bytes:
    """Every part has a row of its own width and one with a label."""
    lines = (f"{number * rows + i},{('Bern', 'Oslo')[i % 2]},{('no', 'yes', 'no')[i % 3]}" for i in range(rows))
    return ("\n".join(["age,city,label", *lines]) + "\n").encode()


class Cloud:
    """Bucket, workflow and analyze in memory; its clock moves when an execution waits."""

    def __init__(self, settings: str = SETTINGS) -> None:
        self.at = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.store = MemoryStore(clock=lambda: self.at)
        self.workflow, self.tracking = MemoryWorkflow(), MemoryTracking()
        self.ports = Ports(
            store=self.store,
            workflow=self.workflow,
            book=UploadRepository(self.store, "data"),
            tracking=lambda _experiment: self.tracking,
            data_bucket="data",
            artifact_bucket="artifacts",
            log=logging.getLogger("test"),
        )
        settings_store.apply(self.store, "data", settings.encode())

    def put(self, key: str, body: bytes) -> UploadEvent:
        """An object under incoming/; its event is not delivered yet."""
        uri = f"s3://data/incoming/{key}"
        self.store.put(uri, body)
        return UploadEvent(bucket="data", key=f"incoming/{key}", version=self.store.get(uri).version)

    def deliver(self, *events: UploadEvent) -> list[str]:
        return [join_parts.receive(event, self.ports) for event in events]

    def wait(self, limit: timedelta = timedelta(days=2)) -> None:
        """Let the executions that wait for folders wait and ask, for `limit` at most."""
        end = self.at + limit
        waiting = {n: json.loads(p) for n, p in self.workflow.payloads.items() if self._is_waiting(n)}
        left = {name: payload["wait_seconds"] for name, payload in waiting.items()}
        while left:
            name = min(left, key=lambda n: left[n])
            pause = timedelta(seconds=left[name])
            if self.at + pause > end:
                self.at = end
                return
            self.at += pause
            left = {n: seconds - pause.total_seconds() for n, seconds in left.items()}
            left[name] = join_parts.due(waiting[name]["round"]["folder"], self.ports, clock=lambda: self.at)
            if not left[name]:
                del left[name]
                self.workflow.executions[name] = "SUCCEEDED"
                self._deliver_joined()
                started = {n: json.loads(p) for n, p in self.workflow.payloads.items() if self._is_waiting(n)}
                left |= {n: p["wait_seconds"] for n, p in started.items() if n not in waiting}
                waiting = started

    def _is_waiting(self, name: str) -> bool:
        return name.startswith("parts-") and self.workflow.executions[name] == "RUNNING"

    def _deliver_joined(self) -> None:
        for stat in self.store.versions(keys.uri("data", keys.JOINED)):
            event = UploadEvent(bucket="data", key=stat.uri.removeprefix("s3://data/"), version=stat.version)
            assert join_parts.receive(event, self.ports) != "part"

    def uploads(self) -> list[UploadRecord]:
        ids_ = {stat.uri for stat in self.store.list("s3://data/uploads/") if stat.uri.count("/") == 4}
        records = [
            self.store.get(uri).body for uri in ids_ if uri.endswith(".json") and len(uri.rpartition("/")[2]) == 25
        ]
        return [UploadRecord.model_validate_json(r) for r in records]

    def trainings(self) -> list[str]:
        return [n for n in self.workflow.executions if n.startswith("upload-")]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_a_hundred_parts_in_any_order_replayed_and_late_are_one_upload(cloud: Cloud) -> None:
    """Two of them come an hour after the others, every event five times and shuffled: one upload, one training, no row lost."""
    rng = random.Random(3)
    numbers = rng.sample(range(100), 100)
    events = [cloud.put(f"sales/part-{n:05d}.csv", _part(n)) for n in numbers[:98]]
    events[0] = cloud.put(f"sales/part-{numbers[0]:05d}.csv", _part(numbers[0]) + b"7,Bern,no,surplus\n")
    cloud.deliver(*rng.sample(events * 2, 196))
    cloud.wait(HOUR)
    assert cloud.uploads() == []
    events += [cloud.put(f"sales/part-{n:05d}.csv", _part(n)) for n in numbers[98:]]
    events.append(cloud.put("sales/_SUCCESS", b""))
    assert set(cloud.deliver(*rng.sample(events * 3, len(events) * 3))) == {"part"}
    cloud.wait()
    (upload,) = cloud.uploads()
    assert (upload.state, upload.rows_in, upload.rows_used, upload.rows_quarantined) == ("training", 1201, 1200, 1)
    assert cloud.trainings() == [ids.execution_name(upload.upload_id)]
    cloud.deliver(*rng.sample(events * 5, len(events) * 5))  # and all over again, days later
    cloud.wait()
    assert cloud.uploads() == [upload]
    assert len(cloud.trainings()) == 1


def test_the_record_says_which_lines_are_whose(cloud: Cloud) -> None:
    """A quarantined row is named by the line of the joined file; the folder's record leads to the part."""
    events = [cloud.put(f"sales/part-{n}.csv", _part(n, 10)) for n in range(3)]
    cloud.deliver(*events, cloud.put("sales/_SUCCESS", b""))
    cloud.wait()
    record = json.loads(cloud.store.get(keys.parts_of_folder("data", "incoming/sales/")).body)
    assert {k: (p["first"], p["last"]) for k, p in record["parts"].items()} == {
        f"incoming/sales/part-{n}.csv": (2 + 10 * n, 11 + 10 * n) for n in range(3)
    }


@pytest.mark.parametrize("minutes", [5, 200])
def test_without_a_success_the_folder_is_complete_after_a_quiet_time(minutes: int) -> None:
    """As many minutes after the last part as the settings say; a part in between begins the wait anew."""
    cloud = Cloud(SETTINGS.replace("target: label", f"target: label, parts: {{quiet_minutes: {minutes}}}"))
    cloud.deliver(cloud.put("sales/part-0.csv", _part(0)))
    cloud.wait(timedelta(minutes=minutes - 1))
    cloud.deliver(cloud.put("sales/part-1.csv", _part(1)))
    cloud.wait(timedelta(minutes=minutes - 1))
    assert cloud.uploads() == []
    cloud.wait()
    assert [u.rows_in for u in cloud.uploads()] == [24]


def test_parts_after_the_end_are_an_upload_of_their_own_rows(cloud: Cloud) -> None:
    """Nothing is lost and nothing is read twice: only what no round has read."""
    cloud.deliver(*[cloud.put(f"sales/part-{n}.csv", _part(n)) for n in range(5)], cloud.put("sales/_SUCCESS", b""))
    cloud.wait()
    cloud.at += HOUR
    cloud.deliver(cloud.put("sales/part-9.csv", _part(9)), cloud.put("sales/part-1-copy.csv", _part(1)))
    cloud.wait()
    assert sorted(u.rows_in for u in cloud.uploads()) == [12, 60]


def test_events_that_never_came_lose_no_part(cloud: Cloud) -> None:
    """One event of a hundred is enough: the bucket is listed. Without any, recovery finds the objects."""
    for n in range(100):
        event = cloud.put(f"sales/part-{n}.csv", _part(n, 3))
        cloud.put(f"other/part-{n}.csv", _part(n, 4))
    cloud.put("sales/_SUCCESS", b"")
    cloud.deliver(event)
    cloud.at += 2 * HOUR
    queues = [MemoryEventQueue(), MemoryEventQueue()]
    recover(RecoveryPorts(cloud.ports, *queues), clock=lambda: cloud.at)
    assert [q.depth() for q in queues] == [0, 0]
    cloud.wait()
    assert sorted(u.rows_in for u in cloud.uploads()) == [300, 400]


def test_an_execution_that_died_is_started_again_and_at_last_given_up(cloud: Cloud) -> None:
    """By recovery; a folder that kills its joining every time ends as a failed upload that says so."""
    cloud.deliver(cloud.put("sales/part-0.csv", _part(0)))
    ports = RecoveryPorts(cloud.ports, MemoryEventQueue(), MemoryEventQueue())
    for _ in range(6):
        for name in cloud.workflow.executions:
            cloud.workflow.executions[name] = "FAILED"
        cloud.at += 2 * HOUR
        recover(ports, clock=lambda: cloud.at)
    assert [u.reason.code for u in cloud.uploads() if u.reason] == ["parts_died"]
    cloud.deliver(cloud.put("sales/part-1.csv", _part(1)))
    cloud.wait()
    assert sorted(u.rows_in for u in cloud.uploads()) == [0, 24]


def test_parts_that_are_no_one_table_are_rejected_until_they_are(cloud: Cloud) -> None:
    """The rejection names the part; the corrected one brings the others along."""
    events = [cloud.put("sales/part-0.csv", _part(0)), cloud.put("sales/part-1.csv", b"a,b\n1,2\n")]
    cloud.deliver(*events, cloud.put("sales/_SUCCESS", b""))
    cloud.wait()
    (rejected,) = cloud.uploads()
    assert rejected.state == "rejected"
    assert rejected.reason is not None
    assert (rejected.key, rejected.reason.code) == ("incoming/sales/", "parts_differ")
    assert "part-1.csv" in rejected.reason.message
    cloud.deliver(*events)
    cloud.wait()
    assert cloud.uploads() == [rejected]
    cloud.deliver(cloud.put("sales/part-1.csv", _part(1)), cloud.put("sales/_SUCCESS", b""))
    cloud.wait()
    assert sorted((u.state, u.rows_in) for u in cloud.uploads()) == [("rejected", 0), ("training", 24)]


def test_hive_partitions_are_columns(cloud: Cloud) -> None:
    """Of Parquet, as Spark writes them: the folder is the table, day=… a column."""
    events = []
    for day in (1, 2):
        for n in range(2):
            out = io.BytesIO()
            table: dict[str, Any] = {"age": list(range(n * 10, n * 10 + 10)), "label": ["no", "yes"] * 5}
            pq.write_table(pa.table(table), out)
            events.append(cloud.put(f"eu/sales/day=2024-01-0{day}/{n}.parquet", out.getvalue()))
    cloud.deliver(*events, cloud.put("eu/sales/_SUCCESS", b""))
    cloud.wait()
    (upload,) = cloud.uploads()
    assert (upload.rows_in, upload.state) == (40, "training")
    manifest = json.loads(cloud.store.get(f"s3://data/datasets/{upload.dataset_id}/manifest.json").body)
    assert {c["name"]: c["kind"] for c in manifest["data_schema"]["columns"]}["day"] == "datetime"


@pytest.mark.parametrize(
    ("key", "folders", "folder"),
    [
        ("incoming/part-00000-abc.c000.snappy.parquet", "auto", ""),
        ("incoming/sales/part-00000-abc.c000.snappy.parquet", "auto", "incoming/sales/"),
        ("incoming/sales/part.0.parquet", "auto", "incoming/sales/"),
        ("incoming/sales/000000_0", "auto", "incoming/sales/"),
        ("incoming/sales/_SUCCESS", "auto", "incoming/sales/"),
        ("incoming/a/b/year=2024/month=1/x.parquet", "auto", "incoming/a/b/"),
        ("incoming/sales/_temporary/0/part-0.csv", "auto", "incoming/sales/"),
        ("incoming/sales/march.csv", "auto", ""),
        ("incoming/sales/march.csv", "all", "incoming/sales/"),
        ("incoming/sales/part-0.csv", "none", ""),
        ("incoming/part-3/march.csv", "auto", ""),
        ("incoming/day=1/x.parquet", "auto", ""),
        ("incoming/2024/05/01/0123456789ab/part-0.csv", "auto", ""),
        ("incoming/2024/05/01/0123456789ab/x.csv", "all", ""),
        ("incoming/joined/0123456789abcdef0123/sales.csv", "all", ""),
        ("incoming/replayed/0123456789abcdef0123/rows.csv", "all", ""),
    ],
)
def test_which_objects_are_parts(key: str, folders: Any, folder: str) -> None:
    """By the names that writers give; what the API and the system itself put there are uploads of their own."""
    assert folder_parts.folder_of(key, PartsSettings(folders=folders)) == folder
