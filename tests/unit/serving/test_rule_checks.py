"""Requests are held to the rules that the model's data were held to."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from dropforge.batch import score_file
from dropforge.batch.batch_ports import BatchPorts
from dropforge.config import settings_store
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.inference.row_rules import RowRule, RuleColumn
from dropforge.ingest import quarantine
from dropforge.messages import UploadEvent
from dropforge.uploads.upload_repository import UploadRepository
from dropforge_local.memory import MemoryStore, MemoryWorkflow

AGE = RuleColumn("number")
ADULT = RowRule("adult", "quarantine", "age >= 18", [">=", ["column", "age", "number"], ["number", 18]], {"age": AGE})
LATE = RowRule(
    "members join late",
    "warn",
    "joined >= '2020-01-01' OR NOT member",
    [
        "or",
        [">=", ["column", "joined", "moment"], ["moment", 1577836800000000]],
        ["not", ["column", "member", "boolean"]],
    ],
    {"joined": RuleColumn("moment"), "member": RuleColumn("boolean")},
)
GOOD = {"age": 30, "job": "cook", "member": True, "joined": "2020-05-01"}
BAD = {"age": 17, "job": "cook", "member": True, "joined": "2019-05-01"}


@pytest.fixture
def activate(stored: tuple[MemoryStore, Callable[..., Active]], bundle: Any) -> Callable[[str], None]:
    """Serve the bundle with the two rules, under one of the three settings."""
    store, _ = stored

    def run(rules: str) -> None:
        text = dataclasses.replace(bundle.manifest, rules=(ADULT, LATE)).to_json()
        store.put("s3://artifacts/9/bundle/manifest.json", text)
        store.put("s3://artifacts/9/bundle/model.onnx", bundle.onnx)
        sha256 = hashlib.sha256(text).hexdigest()
        active = Active("demo-forest", "9", "Production", "r1", "s3://artifacts/9/bundle", sha256, rules=rules)
        ModelRecords(store, "bucket").write(ModelRecord.of(active, serve="onnx", by="test"))
        ActivePointer(store, "bucket").replace(active, "")

    return run


def test_a_row_that_violates_a_rule_is_answered_with_a_warning(activate: Any, ask: Any) -> None:
    """Naming the rule and the first row, once for all rows; a row that is fine has none."""
    activate("warn")
    status, body = ask("POST", "/predict", {"records": [GOOD, BAD, BAD]})
    warnings = {w["field"]: w for w in body["warnings"] if w["code"] == "rule_violated"}
    assert (status, len(body["predictions"])) == (200, 3)
    assert {name: (w["row"], w["rows"]) for name, w in warnings.items()} == {
        "adult": (1, 2),
        "members join late": (1, 2),
    }
    assert "age >= 18" in warnings["adult"]["message"]
    assert not [w for w in ask("POST", "/predict", {"records": [GOOD]})[1]["warnings"] if w["code"] == "rule_violated"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps({"records": [GOOD, BAD]}), "application/json"),
        ("age,job,member,joined\n17,cook,true,2021-01-01\n", "text/csv"),
    ],
)
def test_such_a_request_may_be_refused(activate: Any, ask: Any, body: str, kind: str) -> None:
    """JSON and CSV alike, naming row and rule."""
    activate("refuse")
    status, answer = ask("POST", "/predict", body, kind)
    assert (status, answer["code"]) == (422, "rule_violated")
    assert "adult" in answer["message"]
    assert ask("POST", "/predict", {"records": [GOOD]})[0] == 200


def test_rules_can_be_off_for_requests(activate: Any, ask: Any) -> None:
    """The model answers without looking."""
    activate("off")
    status, body = ask("POST", "/predict", {"records": [BAD]})
    assert status == 200
    assert not [w for w in body["warnings"] if w["code"] == "rule_violated"]


def test_a_missing_value_violates_no_rule(activate: Any, ask: Any) -> None:
    """As SQL's CHECK has it; not_null is a rule of its own."""
    activate("refuse")
    assert ask("POST", "/predict", {"records": [{**GOOD, "age": None, "joined": None}]})[0] == 200


@pytest.mark.parametrize(("mode", "used", "warnings"), [("warn", 300, 5), ("refuse", 295, 0), ("off", 300, 0)])
def test_a_batch_file_is_held_to_the_same_rules(
    activate: Any, stored: Any, bundle: Any, mode: str, used: int, warnings: int
) -> None:
    """Violations are counted in the summary, or their rows are quarantined with the rule; every other row is scored."""
    activate(mode)
    store = stored[0]
    settings_store.apply(store, "bucket", b"project: demo\ndata: {target: bought}\nmodels: [{name: m, class: a.b:C}]\n")
    ports = BatchPorts(store, UploadRepository(store, "bucket"), "bucket", logging.getLogger("test"), MemoryWorkflow())
    rows = bundle.rows.assign(joined="2021-05-05")
    rows.loc[1:5, "age"] = 7
    store.put("s3://bucket/batch/rows.csv", rows.to_csv(index=False).encode())
    version = store.get("s3://bucket/batch/rows.csv").version
    record = score_file.score(UploadEvent(bucket="bucket", key="batch/rows.csv", version=version), ports)
    assert (record.state, record.rows_used, record.rows_quarantined) == ("scored", used, 300 - used)
    summary = json.loads(store.get(f"s3://bucket/predictions/{record.upload_id}/summary.json").body)
    counted = {w["field"]: w["rows"] for w in summary["warnings"] if w["code"] == "rule_violated"}
    assert counted.get("adult", 0) == warnings
    if mode == "refuse":
        aside = quarantine.read(store, "bucket", record.upload_id)
        assert [(r.line, r.code) for r in aside.rows] == [(n, "rule_violated") for n in range(3, 8)]
        assert "adult (age >= 18)" in aside.rows[0].reason
