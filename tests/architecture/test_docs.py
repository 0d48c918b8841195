"""docs/aws.md leaves out nothing that the template has."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from dropforge.observability import METRICS
from dropforge_local.packaging import load_template

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "aws.md").read_text()


def test_every_resource_type_is_explained_with_its_idle_cost() -> None:
    """One line a type, with words and a cost; no line for a type that is gone."""
    types = {r["Type"] for r in load_template(ROOT / "template.yaml")["Resources"].values()}
    lines = re.findall(r"^\| (AWS::[\w:]+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert {kind for kind, _, _ in lines} == types
    assert len(lines) == len(types)
    assert all(len(words) > 10 and re.search(r"\d|hundreds", price) for _, words, price in lines)


def test_every_metric_is_named() -> None:
    """Whoever builds a dashboard finds every metric's name on the page."""
    assert set(re.findall(r"\b\w+\b", PAGE)) >= set(METRICS)


def test_every_rule_of_checkov_that_is_skipped_has_a_reason() -> None:
    """A skipped rule without a sentence is a finding."""
    skipped = re.findall(r"^  - CKV_\w+(.*)$", (ROOT / ".checkov.yaml").read_text(), re.MULTILINE)
    assert skipped
    assert all(len(reason.split("#", 1)[-1].split()) >= 8 for reason in skipped)


def test_workflows_call_what_there_is() -> None:
    """Every make target and every Dockerfile that a workflow names exists, and every workflow says what it may do."""
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | {".venv-sam/.ready"}
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        flow = yaml.safe_load(file.read_text())
        assert flow["permissions"]["contents"] == "read", file.name
        for job in flow["jobs"].values():
            assert job["timeout-minutes"] > 0
            for step in job["steps"]:
                for call in re.findall(r"make (?:PYTHON=\S+ )?((?:[\w./-]+ ?)+)", step.get("run", "")):
                    assert set(call.split()) <= targets, call
            for image in job.get("strategy", {}).get("matrix", {}).get("image", []):
                assert (ROOT / image / "Dockerfile").is_file()
