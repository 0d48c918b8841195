"""docs/aws.md leaves out nothing that the template has."""

from __future__ import annotations

import re
from pathlib import Path

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
