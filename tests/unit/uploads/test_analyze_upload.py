"""One upload from bytes to verdict, over fakes of the world."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from dropforge import ids
from dropforge.config import settings_store
from dropforge.config.settings import load
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import Unavailable
from dropforge.messages import TrainingRequest, UploadEvent
from dropforge.uploads import analyze_upload as step
from dropforge.uploads import publish_report, report_summaries
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow

SETTINGS = """\
project: demo
data: {target: label}
analysis: {block_on: [column_removed]}
models: [{name: forest, class: a.b:C}, {name: boost, class: a.b:D}]
training: {trigger: {quiet_minutes: 0}}
"""


def _table(count: int, first: int = 0) -> str:
    return "age,city,label\n" + "".join(
        f"{20 + (first + i) % 50},{('Bern', 'Oslo')[i % 2]},{('no', 'yes', 'no')[i % 3]}\n" for i in range(count)
    )


class AppContext:
    """A bucket, a workflow and an MLflow in memory."""

    def __init__(self) -> None:
        self.store, self.workflow, self.tracking = MemoryStore(), MemoryWorkflow(), MemoryTracking()
        self.book = UploadRepository(self.store, "data")
        self.ports = step.Ports(
            store=self.store,
            workflow=self.workflow,
            book=self.book,
            tracking=lambda _experiment: self.tracking,
            data_bucket="data",
            artifact_bucket="artifacts",
            log=logging.getLogger("test"),
        )
        settings_store.apply(self.store, "data", SETTINGS.encode())

    def put(self, name: str, body: str | bytes) -> UploadEvent:
        uri = f"s3://data/incoming/{name}"
        self.store.put(uri, body.encode() if isinstance(body, str) else body)
        return UploadEvent(bucket="data", key=f"incoming/{name}", version=self.store.get(uri).version)

    def drop(self, name: str, body: str | bytes) -> UploadRecord:
        return step.analyze(self.put(name, body), self.ports)

    def request(self, record: UploadRecord) -> TrainingRequest:
        """What the upload's training was asked to do."""
        return TrainingRequest.parse(self.workflow.payloads[ids.execution_name(record.upload_id)])


@pytest.fixture
def world() -> AppContext:
    return AppContext()


def test_the_first_upload_becomes_the_reference_and_trains(world: AppContext) -> None:
    """Snapshot, manifest, profile, report and run are there; the workflow was started with a job for every model."""
    record = world.drop("a.csv", _table(100))
    assert (record.state, record.verdict, record.reference_id) == ("training", "reference", record.dataset_id)
    for uri in (
        f"s3://data/datasets/{record.dataset_id}/{n}" for n in ("data.parquet", "manifest.json", "profile.json")
    ):
        assert world.store.stat(uri) is not None
    assert world.store.get(record.report_uri).body.startswith(b"<!doctype html>")
    run = world.tracking.runs[record.run_id]
    assert {"report.html", "report.json", "profile.json"} <= set(run.artifacts)
    snapshot = world.store.get(f"s3://data/datasets/{record.dataset_id}/data.parquet").body
    assert run.artifacts["data/data.parquet"] == snapshot
    assert run.artifacts["data/training.json"] == world.store.get(world.request(record).dataset_uri).body
    assert run.metrics["rows_used"] == 100
    request = TrainingRequest.parse(world.workflow.payloads[ids.execution_name(record.upload_id)])
    assert [j.model for j in request.jobs] == ["forest", "boost"]
    assert settings_store.read(world.store, request.settings_uri) == load(SETTINGS)


def test_a_later_upload_is_compared_and_trains_on_both(world: AppContext) -> None:
    """Its training manifest has the reference's part first, then its own."""
    first, second = world.drop("a.csv", _table(100)), world.drop("b.csv", _table(60, 7))
    assert second.reference_id == first.dataset_id
    manifest = json.loads(world.store.get(world.request(second).dataset_uri).body)
    assert [p["dataset_id"] for p in manifest["parts"]] == [first.dataset_id, second.dataset_id]
    assert json.loads(world.store.get(second.report_json_uri).body)["rows_reference"] == 100


def test_a_report_says_what_changed_since_the_last_one(world: AppContext) -> None:
    """Beside the upload before it, never beside itself; the first report has none. No value of a row is stored."""
    shifted = _table(400).replace("Bern", "Rome")
    first, second, third = (
        world.drop(n, b) for n, b in (("a.csv", _table(400)), ("b.csv", shifted), ("c.csv", _table(300, 1)))
    )
    pages = [world.store.get(r.report_uri).body.decode() for r in (first, second, third)]
    assert "Changes since the last report" not in pages[0]
    assert all("Changes since the last report" in page for page in pages[1:])
    assert "Drift began: city" in pages[1]
    assert "Drift ended: city" in pages[2]
    assert json.loads(world.store.get(third.report_json_uri).body)["previous"]["upload_id"] == second.upload_id
    stored = world.store.get("s3://data/datasets/last_reports.json").body.decode()
    assert [s["upload_id"] for s in json.loads(stored)] == [second.upload_id, third.upload_id]
    assert "Rome" not in stored
    ours = report_summaries.previous(world.store, "data", third.upload_id)
    assert ours is not None
    assert ours.upload_id == second.upload_id


def test_an_event_delivered_again_changes_nothing(world: AppContext) -> None:
    """Five deliveries: one execution, one run, one history entry."""
    event = world.put("a.csv", _table(100))
    records = [step.analyze(event, world.ports) for _ in range(5)]
    assert len({r.model_dump_json() for r in records}) == 1
    assert len(world.workflow.executions) == len(world.tracking.runs) == 1


def test_the_same_rows_again_are_skipped(world: AppContext) -> None:
    """Another file name, other line ends: nothing is trained, and the reason names the upload that holds the rows."""
    first = world.drop("a.csv", _table(100))
    again = world.drop("b.csv", _table(100).replace("\n", "\r\n"))
    assert (again.state, again.reason and again.reason.code) == ("skipped", "duplicate")
    assert again.reason is not None
    assert first.upload_id in again.reason.message
    assert len(world.workflow.executions) == 1


def test_rows_whose_training_failed_may_come_again(world: AppContext) -> None:
    """A duplicate of a failed upload is trained."""
    first = world.drop("a.csv", _table(100))
    world.book.advance(first.upload_id, "failed")
    assert world.drop("again.csv", _table(100)).state == "training"
    assert len(world.workflow.executions) == 2


def test_a_bad_file_is_rejected_with_a_page(world: AppContext) -> None:
    """Reason in the record, page in the artifact bucket, nothing started."""
    record = world.drop("bad.csv", b"")
    assert (record.state, record.reason and record.reason.code) == ("rejected", "empty_file")
    assert b"0 bytes" in world.store.get(record.report_uri).body
    assert not world.workflow.executions


def test_rows_set_aside_are_kept(world: AppContext) -> None:
    """rows.csv and reasons.json under the upload's id, and the counts in the record."""
    world.drop("a.csv", _table(100))
    record = world.drop("b.csv", _table(60, 3) + "1,2,3,4\n")
    assert (record.rows_in, record.rows_used, record.rows_quarantined) == (61, 60, 1)
    reasons = json.loads(world.store.get(f"{record.quarantine_uri}/reasons.json").body)
    assert (reasons["first"][0]["line"], reasons["reasons"]) == (62, {"too_many_fields": 1})
    assert b"1,2,3,4" in world.store.get(f"{record.quarantine_uri}/rows.csv").body


def test_a_blocking_verdict_stops_before_training(world: AppContext) -> None:
    """The report is there; no execution was started; the rows are not in the history."""
    world.drop("a.csv", _table(100))
    record = world.drop("b.csv", "\n".join(line.partition(",")[2] for line in _table(60).splitlines()))
    assert (record.state, record.verdict) == ("blocked", "block")
    assert record.report_uri
    assert len(world.workflow.executions) == 1
    assert len(json.loads(world.store.get("s3://data/datasets/history.json").body)) == 1


def test_a_deleted_object_ends_skipped(world: AppContext) -> None:
    """An event whose object is gone leaves a terminal record."""
    record = step.analyze(UploadEvent(bucket="data", key="incoming/gone.csv", version="9"), world.ports)
    assert (record.state, record.reason and record.reason.code) == ("skipped", "deleted")


def test_missing_settings_fail_with_the_command_to_run(world: AppContext) -> None:
    """A stack without settings fails the upload at once: trying again cannot help."""
    world.ports = step.Ports(
        **{**{f: getattr(world.ports, f) for f in world.ports.__dataclass_fields__}, "data_bucket": "other"}
    )
    record = world.drop("a.csv", _table(10))
    assert record.state == "failed"
    assert record.reason is not None
    assert "dropforge apply" in record.reason.fix


def _broken(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: Any, **__: Any) -> Any:
        raise error

    return raise_it


def test_an_outage_is_tried_again(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow away: the error goes to the platform, nothing is terminal; once it is back, the same event goes on."""
    event = world.put("a.csv", _table(100))
    with monkeypatch.context() as patch:
        patch.setattr(world.tracking, "ensure_run", _broken(Unavailable("MLflow is away")))
        with pytest.raises(Unavailable):
            step.analyze(event, world.ports)
    assert world.book.newest().state == "received"  # type: ignore[union-attr]
    assert step.analyze(event, world.ports).state == "training"


def test_a_defect_fails_the_upload_on_its_last_delivery(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deliveries raise, so that the platform tries again; the third leaves a terminal state with the reason."""
    event = world.put("a.csv", _table(100))
    monkeypatch.setattr(publish_report.build_report, "profile_of", _broken(ZeroDivisionError("a defect")))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            step.analyze(event, world.ports)
    record = step.analyze(event, world.ports)
    assert record.state == "failed"
    assert record.reason is not None
    assert "a defect" in record.reason.message


def test_a_workflow_quicker_than_the_record_is_no_error(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the execution has concluded before the analysis recorded its start, the record stays concluded."""
    event = world.put("a.csv", _table(100))
    upload_id = ids.upload_id(event.bucket, event.key, event.version)

    def start(_name: str, _payload: str) -> bool:
        world.book.advance(upload_id, "training")
        world.book.advance(upload_id, "concluded")
        return True

    monkeypatch.setattr(world.workflow, "start", start)
    assert step.analyze(event, world.ports).state == "concluded"


def test_mended_rows_may_be_of_one_class(world: AppContext) -> None:
    """A row that comes back from the quarantine is trained on; the same row as an upload of its own is only stored."""
    world.drop("first.csv", _table(300))
    row = "age,city,label\n33,Bern,yes\n"
    assert world.drop("alone.csv", row).reason.code == "untrained"  # type: ignore[union-attr]
    mended = world.drop("replayed/0123456789abcdef0123/alone-1.csv", row.replace("33", "34"))
    assert (mended.state, mended.rows_used) == ("training", 1)


@pytest.mark.parametrize(
    "rows", ["age,city,label\n33,Bern,yes\n35,Oslo,yes\n", "age,city,label\n33,Bern,\n", "age,city\n33,Bern\n"]
)
def test_rows_that_teach_nothing_alone_are_stored_for_later_trainings(world: AppContext, rows: str) -> None:
    """Compared, reported, accepted into the history, and read by the next training; no training of their own."""
    world.drop("first.csv", _table(300))
    stored = world.drop("day.csv", rows)
    assert (stored.state, stored.reason and stored.reason.code) == ("stored", "untrained")
    assert world.store.stat(stored.report_uri) is not None
    assert len(world.workflow.executions) == 1
    later = world.drop("next.csv", _table(60, 7))
    assert stored.dataset_id in _parts(world, later)


def test_a_file_over_the_limit_is_refused_before_its_download(
    world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket knows the size."""
    limited = SETTINGS.replace("label}", "label, limits: {max_bytes: 100}}")
    settings_store.apply(world.store, "data", limited.encode())
    monkeypatch.setattr(world.store, "download", lambda *_: pytest.fail("downloaded"))
    record = world.drop("big.csv", _table(300))
    assert (record.state, record.reason and record.reason.code) == ("rejected", "over_byte_budget")


def _parts(world: AppContext, record: UploadRecord) -> list[str]:
    body = world.store.get(world.request(record).dataset_uri).body
    return [p["dataset_id"] for p in json.loads(body)["parts"]]


def test_mended_rows_are_trained_on_with_the_upload_they_mend(world: AppContext) -> None:
    """Under `replace` a mend reads the upload it completes, its earlier mends and itself; never a single row alone."""
    settings_store.apply(world.store, "data", SETTINGS.replace("label}", "label, history: replace}").encode())
    world.drop("old.csv", _table(100))
    main = world.drop("new.csv", _table(200, 7))
    one = world.drop(f"replayed/{main.upload_id}/new-1.csv", "age,city,label\n33,Bern,yes\n")
    two = world.drop(f"replayed/{main.upload_id}/new-2.csv", "age,city,label\n34,Bern,no\n")
    again = world.drop(f"replayed/{two.upload_id}/new-3.csv", "age,city,label\n35,Oslo,no\n")
    assert _parts(world, main) == [main.dataset_id]
    assert _parts(world, one) == [main.dataset_id, one.dataset_id]
    assert _parts(world, two) == [main.dataset_id, one.dataset_id, two.dataset_id]
    assert _parts(world, again) == [main.dataset_id, one.dataset_id, two.dataset_id, again.dataset_id]


def test_a_mend_takes_no_place_of_a_window(world: AppContext) -> None:
    """Window of two: the reference, the mended upload, and two uploads besides it, the mend one of them."""
    settings_store.apply(world.store, "data", SETTINGS.replace("label}", "label, history: window, window: 2}").encode())
    first, second, third = (world.drop(f"{i}.csv", _table(100 + i, 7 * i)) for i in range(3))
    mend = world.drop(f"replayed/{second.upload_id}/1-1.csv", "age,city,label\n33,Bern,yes\n")
    assert _parts(world, mend) == [first.dataset_id, second.dataset_id, third.dataset_id, mend.dataset_id]


@pytest.mark.parametrize("place", ["profile.json", "report.html"])
def test_a_first_upload_that_fails_leaves_the_reference_to_the_next(
    world: AppContext, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It dies before its profile or its report is there: nothing is claimed, and the next upload is the reference."""
    real = world.store.put

    def put(uri: str, body: bytes, **how: Any) -> str:
        if uri.endswith(place):
            raise ZeroDivisionError("a defect of this file")
        return real(uri, body, **how)

    event = world.put("first.csv", _table(100))
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "put", put)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                step.analyze(event, world.ports)
        assert step.analyze(event, world.ports).state == "failed"
    second, third = world.drop("second.csv", _table(90, 3)), world.drop("third.csv", _table(80, 5))
    assert (second.state, second.verdict) == ("training", "reference")
    assert (third.state, third.reference_id) == ("training", second.dataset_id)


def test_a_reference_without_a_profile_is_counted_again(world: AppContext) -> None:
    """A dataset that settings name, or that an older version claimed too early: its rows are there, so is its profile soon."""
    first = world.drop("first.csv", _table(100))
    world.store.delete(f"s3://data/datasets/{first.dataset_id}/profile.json")
    second = world.drop("second.csv", _table(60, 7))
    assert (second.state, second.reference_id) == ("training", first.dataset_id)
    assert json.loads(world.store.get(second.report_json_uri).body)["rows_reference"] == 100


def test_of_two_first_uploads_the_slower_one_is_compared_with_the_quicker(
    world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quicker one claims the reference while the slower one writes its report."""
    event, quicker = world.put("slow.csv", _table(100)), world.put("quick.csv", _table(90, 3))
    real = DatasetStore.claim_reference

    def claim(datasets: DatasetStore, dataset_id: str) -> str:
        monkeypatch.undo()
        assert step.analyze(quicker, world.ports).verdict == "reference"
        return real(datasets, dataset_id)

    monkeypatch.setattr(DatasetStore, "claim_reference", claim)
    slow = step.analyze(event, world.ports)
    quick = world.book.get(ids.upload_id(quicker.bucket, quicker.key, quicker.version))
    assert (slow.state, slow.reference_id) == ("training", quick.dataset_id)
    assert json.loads(world.store.get(slow.report_json_uri).body)["rows_reference"] == 90


def test_an_upload_reads_no_more_for_a_longer_history(world: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training manifest comes from the history itself: the seventh upload makes as many requests as the fourth."""
    calls: list[str] = []
    real = world.store.get

    def get(uri: str, version: str = "") -> Any:
        calls.append(uri)
        return real(uri, version)

    monkeypatch.setattr(world.store, "get", get)
    counts = []
    for n in range(7):
        calls.clear()
        world.drop(f"{n}.csv", _table(40 + n, n))
        counts.append(len(calls))
    assert counts[3] == counts[6]


# --- rules of the settings -------------------------------------------------------------------------------------------------
def _ruled(world: AppContext, action: str) -> None:
    rule = f"{{name: grown, expect: 'age < 60', action: {action}}}"
    text = SETTINGS.replace("{target: label}", f"{{target: label, rules: [{rule}]}}")
    settings_store.apply(world.store, "data", text.encode())


def test_a_rule_that_blocks_does_so_from_the_first_upload_on(world: AppContext) -> None:
    """Nothing is trained and no reference is claimed; a file that is well becomes it."""
    _ruled(world, "block")
    bad = world.drop("a.csv", _table(100))
    assert (bad.state, bad.verdict) == ("blocked", "block")
    assert "grown" in (bad.reason.message if bad.reason else "")
    good = world.drop("b.csv", "".join(f"{line}\n" for line in _table(100).splitlines() if not line.startswith("6")))
    assert (good.state, good.verdict) == ("training", "reference")


def test_a_report_shows_pass_rates_over_uploads_and_which_rule_moved(world: AppContext) -> None:
    """Each upload's share beside those before; one that is far off is a finding."""
    _ruled(world, "warn")
    for name, first in (("a.csv", 0), ("b.csv", 200), ("c.csv", 400)):
        world.drop(name, _table(200, first))
    moved = world.drop(
        "d.csv", "age,city,label\n" + "".join(f"{59 + i % 9},Bern,{('no', 'yes')[i % 2]}\n" for i in range(200))
    )
    report = json.loads(world.store.get(moved.report_json_uri).body)
    rule = report["intake"]["rules"][0]
    assert (rule["name"], rule["rows"], rule["violations"]) == ("grown", 200, 177)
    assert rule["before"] == pytest.approx([0.8])  # a and b and c have equal rows: one upload, two duplicates
    assert "rule_moved" in {f["kind"] for f in report["findings"]}
    assert moved.verdict == "warn"


def test_bundles_get_the_rules_that_the_newest_rows_were_held_to(world: AppContext) -> None:
    """The training's manifest has them parsed, so that no worker needs a parser."""
    _ruled(world, "quarantine")
    record = world.drop("a.csv", _table(400).replace("60,", "50,").replace("6", "5"))
    manifest = json.loads(world.store.get(world.request(record).dataset_uri).body)
    assert [r["expression"] for r in manifest["rules"]] == [["<", ["column", "age", "number"], ["number", 60.0]]]
