"""The end of the line for one upload."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from dropforge.analysis.report import training_section
from dropforge.config import settings
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import Unavailable
from dropforge.messages import ConcludeRequest, Conclusion, JobOutcome, JobResult, TrainingRequest
from dropforge.uploads.conclude_upload import ConcludeContext, conclude
from dropforge.uploads.upload_repository import State, UploadRecord, UploadRepository
from dropforge_local.memory import MemoryRegistry, MemoryStore, MemoryTracking

ID = "a" * 20
SETTINGS = settings.load(
    "project: demo\ndata: {target: y}\nmodels: [{name: forest, class: a.b:C}, {name: boost, class: a.b:D}]\n"
)


class Stage:
    """The world of one upload in state training."""

    def __init__(self, state: State = "training") -> None:
        store = MemoryStore()
        self.store = store
        self.book = UploadRepository(store, "bucket")
        self.tracking = MemoryTracking()
        self.registry = MemoryRegistry(self.tracking)
        self.parent = self.tracking.ensure_run(ID, name="analysis", tags={}).run_id
        self.open(ID, state)

    def open(self, upload_id: str, state: State = "training") -> None:
        """Another upload of this world."""
        self.book.open(UploadRecord(upload_id=upload_id, bucket="bucket", key="incoming/x.csv", version="1"))
        self.book.advance(upload_id, "analysed")
        if state != "analysed":
            self.book.advance(upload_id, "training")

    def result(self, model: str, auc: float, upload_id: str = ID) -> JobOutcome:
        run = self.tracking.ensure_run(f"{upload_id}-{model}", name=model, tags={})
        result = JobResult(
            model=model,
            run_id=run.run_id,
            model_source=f"runs:/{run.run_id}/model",
            bundle_uri=f"s3://a/{model}/bundle",
            bundle_sha256="0" * 64,
            predictions_uri=f"s3://a/{model}/p",
            comparison_uri=f"s3://a/{model}/comparison.json",
            metrics={"roc_auc": auc},
        )
        return JobOutcome(model=model, result=result)

    def serve(self, run_id: str = "old") -> None:
        active = Active("demo-forest", "1", "Production", run_id, "s3://a/old/bundle", "0" * 64)
        ActivePointer(self.store, "bucket").replace(active, "")

    def compared(self, model: str, gain: float, spread: float = 0.001, run_id: str = "old") -> None:
        """What the training job of this model found against the served one."""
        sure = {"low": gain - spread, "high": gain + spread, "at_least": gain - spread, "at_most": gain + spread}
        everything = {"slice": "all", "rows": 900, "candidate": 0.8 + gain, "served": 0.8, "gain": gain, **sure}
        everything["p_value"] = 0.001 if gain > spread else 0.4
        document = {"metric": "roc_auc", "minimum_gain": 0.0, "served": {"run_id": run_id}, "reason": ""}
        document |= {"slices": [everything], "sketch": [1, 2, 3]}
        self.store.put(f"s3://a/{model}/comparison.json", json.dumps(document).encode())

    def run(self, *outcomes: JobOutcome, error: str = "", upload_id: str = ID) -> Conclusion:
        request = TrainingRequest(
            upload_id=upload_id,
            dataset_id="d" * 16,
            dataset_uri="s3://b/d",
            settings_uri="s3://b/s",
            parent_run_id=self.parent,
            jobs=(),
        )
        message = ConcludeRequest(request=request, outcomes=outcomes, error=error, cause="because" if error else "")
        return conclude(
            message,
            ConcludeContext(
                settings=SETTINGS,
                registry=self.registry,
                tracking=self.tracking,
                book=self.book,
                store=self.store,
                bucket="bucket",
                log=logging.getLogger("test"),
            ),
        )


def test_every_candidate_is_registered_and_the_best_is_challenger() -> None:
    """`newest` on each model, `challenger` on the best one, and the record says so."""
    stage = Stage()
    stage.run(stage.result("forest", 0.8), stage.result("boost", 0.9))
    assert {v.name: v.aliases for v in stage.registry.versions()} == {
        "demo-boost": ("challenger", "newest"),
        "demo-forest": ("newest",),
    }
    record = stage.book.get(ID)
    assert (record.state, record.challenger) == ("concluded", "demo-boost/1")
    assert stage.registry.versions(["demo-boost"])[0].tags["bundle_uri"] == "s3://a/boost/bundle"


def test_a_repeated_conclusion_registers_nothing_twice() -> None:
    """The same message again gives the same versions."""
    stage = Stage()
    outcomes = (stage.result("forest", 0.8), stage.result("boost", 0.9))
    first, second = stage.run(*outcomes), stage.run(*outcomes)
    assert [v.version for v in first.registered] == [v.version for v in second.registered] == ["1", "1"]
    assert len(stage.registry.versions()) == 2


def test_one_failed_candidate_does_not_stop_the_other() -> None:
    """The upload concludes; the failure and its cause stand in the record."""
    stage = Stage()
    stage.run(stage.result("forest", 0.8), JobOutcome(model="boost", error="JobFailed", cause="no memory"))
    record = stage.book.get(ID)
    assert record.state == "concluded"
    assert {"model": "boost", "error": "JobFailed: no memory"} in record.models


@pytest.mark.parametrize("error", ["", "States.Timeout"])
def test_an_upload_without_any_model_fails_with_a_reason(error: str) -> None:
    """All candidates failed, or the workflow itself: state failed, the run closed as failed."""
    stage = Stage()
    stage.run(JobOutcome(model="boost", error="JobFailed", cause="no memory"), error=error)
    record = stage.book.get(ID)
    assert record.state == "failed"
    assert record.reason is not None
    assert "boost: JobFailed: no memory" in record.reason.message
    assert error in record.reason.message
    assert stage.tracking.runs[stage.parent].info.status == "FAILED"


def test_a_workflow_quicker_than_its_record_is_caught_up() -> None:
    """When training ends before the analysis recorded its start, the upload still concludes."""
    stage = Stage("analysed")
    stage.run(stage.result("forest", 0.8))
    assert [s.state for s in stage.book.get(ID).history] == ["received", "analysed", "training", "concluded"]


def test_keeping_the_served_model_is_a_valid_end() -> None:
    """No candidate is surely better: registered and `newest`, no challenger, concluded, and the reasons stand everywhere."""
    stage = Stage()
    stage.serve()
    stage.compared("forest", -0.01)
    stage.compared("boost", 0.0005)
    conclusion = stage.run(stage.result("forest", 0.79), stage.result("boost", 0.8005))
    assert conclusion.challenger is None
    assert [v.aliases for v in stage.registry.versions()] == [("newest",), ("newest",)]
    record = stage.book.get(ID)
    assert (record.state, record.challenger) == ("concluded", "")
    assert "the served model stays" in record.gate["reasons"][0]
    assert {c["verdict"] for c in record.gate["candidates"]} == {"not_better"}
    assert "the served model stays" in stage.tracking.runs[stage.parent].info.tags["dropforge.gate"]
    assert stage.registry.versions(["demo-boost"])[0].tags["gate"] == "not_better"
    assert "+0.0005" in stage.registry.versions(["demo-boost"])[0].tags["gate.reason"]
    assert json.loads(stage.tracking.runs[stage.parent].artifacts["gate.json"]) == record.gate


def test_a_surely_better_candidate_becomes_challenger() -> None:
    """The gain's lower bound is above the minimum: alias set, verdict on the version, the other candidate's reason kept."""
    stage = Stage()
    stage.serve()
    stage.compared("forest", -0.01)
    stage.compared("boost", 0.02)
    conclusion = stage.run(stage.result("forest", 0.79), stage.result("boost", 0.82))
    assert conclusion.challenger is not None
    assert conclusion.challenger.name == "demo-boost"
    assert stage.registry.versions(["demo-boost"])[0].tags["gate"] == "better"
    assert stage.registry.versions(["demo-forest"])[0].tags["gate"] == "not_better"


def test_there_is_one_challenger_a_project() -> None:
    """The alias comes off another family's older version."""
    stage = Stage()
    stage.run(stage.result("forest", 0.9), stage.result("boost", 0.8))
    assert "challenger" in stage.registry.versions(["demo-forest"])[0].aliases
    second = "b" * 20
    stage.open(second)
    stage.run(stage.result("forest", 0.7, second), stage.result("boost", 0.8, second), upload_id=second)
    assert "challenger" not in stage.registry.versions(["demo-forest"])[0].aliases
    assert "challenger" in stage.registry.versions(["demo-boost"])[0].aliases


def test_a_model_switched_while_training_ran_is_not_replaced() -> None:
    """The comparison was made with another model than the one that answers now: no challenger, and the reason says why."""
    stage = Stage()
    stage.serve("newer")
    stage.compared("boost", 0.02, run_id="old")
    conclusion = stage.run(stage.result("boost", 0.82))
    assert conclusion.challenger is None
    assert "changed after this comparison" in conclusion.reasons[1]


REPORT = "s3://artifacts/reports/x/report.html"


def _reported(stage: Stage) -> None:
    stage.store.put(REPORT, f"<h1>x</h1>{training_section.BEGIN}{training_section.END}<h2>Columns</h2>".encode())
    stage.book.update(ID, report_uri=REPORT)


def test_the_report_tells_how_the_training_ended() -> None:
    """Verdict, score and reason of every candidate, and what failed, as text; a repeat of the call changes nothing."""
    stage = Stage()
    stage.serve()
    stage.compared("forest", -0.02)
    _reported(stage)
    failed = JobOutcome(model="boost", error="JobFailed", cause="<b>out of memory</b>")
    forest = stage.result("forest", 0.78)
    stage.run(forest, failed)
    stored = stage.store.get(REPORT)
    text = stored.body.decode()
    assert text.startswith("<h1>x</h1>")
    assert text.endswith("<h2>Columns</h2>")
    assert "The served model stays." in text
    assert "demo-forest/1" in text
    assert "not better" in text
    assert "0.7800" in text
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in text
    assert "<b>out" not in text
    stage.run(forest, failed)
    assert stage.store.get(REPORT).version == stored.version


def test_a_deleted_report_does_not_stop_the_conclusion() -> None:
    """The decision stands in the record and in gate.json."""
    stage = Stage()
    stage.book.update(ID, report_uri=REPORT)
    stage.run(stage.result("forest", 0.8))
    assert stage.book.get(ID).state == "concluded"


def test_the_place_for_the_outcome_is_in_every_report_once() -> None:
    """The template has it, and no other text can hold it: everything else is escaped."""
    template = (Path(training_section.__file__).parent / "templates" / "report.html").read_text()
    assert template.count(training_section.BEGIN) == template.count(training_section.END) == 1
    assert (
        training_section.with_decision("<h1>a report of an older day</h1>", {}, {})
        == "<h1>a report of an older day</h1>"
    )


def test_a_repeated_conclusion_is_the_closed_decision() -> None:
    """The winner is served by now, a newer version has the aliases: the repeat changes neither record nor alias nor answer."""
    stage = Stage()
    outcomes = (stage.result("forest", 0.8), stage.result("boost", 0.9))
    first = stage.run(*outcomes)
    closed = stage.book.get(ID)
    winner = outcomes[1].result
    assert winner is not None
    stage.serve(winner.run_id)
    newer = stage.registry.register("demo-boost", source="s", run_id="newer", tags={})
    for alias in ("newest", "challenger"):
        stage.registry.set_alias("demo-boost", alias, newer.version)
    assert stage.run(*outcomes) == first
    assert stage.book.get(ID) == closed
    assert stage.registry.versions(["demo-boost"])[0].aliases == ("challenger", "newest")
    assert json.loads(stage.tracking.runs[stage.parent].artifacts["gate.json"]) == closed.gate


def test_a_repeat_completes_what_the_first_call_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call closes the record and dies at MLflow; the next one writes gate.json and closes the run."""
    stage = Stage()
    outcome_ = stage.result("forest", 0.8)

    def away(*_: object) -> None:
        raise Unavailable("MLflow is away")

    with monkeypatch.context() as patch:
        patch.setattr(stage.tracking, "put_artifacts", away)
        with pytest.raises(Unavailable):
            stage.run(outcome_)
    assert stage.book.get(ID).state == "concluded"
    stage.run(outcome_)
    assert "gate.json" in stage.tracking.runs[stage.parent].artifacts
    assert stage.tracking.runs[stage.parent].info.status == "FINISHED"


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"model": 1}', b"\xff", b'{"candidate": "x"}'])
def test_a_broken_pointer_does_not_fail_the_conclusion(body: bytes) -> None:
    """The models are registered, none becomes challenger, and the reason says what cannot be read."""
    stage = Stage()
    stage.store.put("s3://bucket/serving/active.json", body)
    conclusion = stage.run(stage.result("forest", 0.8))
    assert (stage.book.get(ID).state, conclusion.challenger) == ("concluded", None)
    assert "serving/active.json cannot be read" in conclusion.reasons[1]
