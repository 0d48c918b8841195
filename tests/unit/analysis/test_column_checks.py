"""Findings about contents, and the remedies that follow from them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dropforge.analysis import other_tools_rules
from dropforge.analysis.report import html_report
from dropforge.analysis.report_model import Finding, Report
from dropforge.config import settings

Compare = Callable[..., Report]


def _of(report: Report, kind: str) -> list[Finding]:
    return [f for f in report.findings if f.kind == kind]


def test_outliers_are_told_with_a_range_to_clip(compared: Compare, table: Any) -> None:
    """Fifteen absurd ages in a thousand rows: counted, with the range of the reference; and louder when the reference had none."""
    rows = table(1000, 1)
    for i in range(15):
        rows[i]["age"] = 900 + i
    alone = _of(compared(None, rows), "outliers")
    assert [f.columns for f in alone] == [("age",)]
    assert alone[0].severity == "info"
    louder = _of(compared(table(1000, 2), rows), "outliers")
    assert louder[0].severity == "warn"
    assert louder[0].processing is not None
    assert 60 < louder[0].processing["clip"]["high"] < 200


def test_mixed_types_are_told(compared: Compare, table: Any) -> None:
    """A column of numbers with `n/a` in a tenth of the rows is no category: the text that means missing is suggested."""
    rows = [{**r, "score": "n/a" if i % 10 == 0 else i % 37} for i, r in enumerate(table(600, 1))]
    result = _of(compared(None, rows), "mixed_types")
    assert [f.columns for f in result] == [("score",)]
    assert result[0].processing == {"missing": {"column": "score", "markers": ["n/a"]}}


def test_contradicting_rows_are_counted(compared: Compare, table: Any) -> None:
    """The same features with another label: the rarer labels are the contradiction."""
    rows = table(400, 1)
    twins = [{**r, "label": "yes" if r["label"] == "no" else "no"} for r in rows[:30]]
    report = compared(None, [*rows, *rows[:30], *twins])
    assert report.conflicts == 30
    assert _of(report, "conflicting_labels")[0].severity == "warn"


def test_old_rows_sent_again_are_told(compared: Compare, table: Any) -> None:
    """Two thirds of the upload are rows of the reference."""
    reference = table(2000, 1)
    report = compared(reference, [*reference[:600], *table(300, 9)])
    assert report.shared_with_reference == pytest.approx(0.67, abs=0.07)
    assert _of(report, "shared_rows")[0].severity == "warn"
    assert not _of(compared(reference, table(900, 10)), "shared_rows")


def test_rare_and_variant_categories_have_a_merge(compared: Compare, table: Any) -> None:
    """A misspelling goes into what it misspells; a lone rare category into its neighbour or (other)."""
    rows = table(3000, 1)
    for i in range(5):
        rows[i]["city"] = "oslo"
    report = compared(None, rows)
    variant = _of(report, "category_variants")[0]
    assert variant.processing == {"merge": {"column": "city", "values": ["oslo"], "into": "Oslo"}}
    assert "'oslo' into 'Oslo'" in variant.suggestion


def test_the_processing_block_can_be_pasted(compared: Compare, table: Any) -> None:
    """The block is valid settings: every step parses, nothing is both dropped and changed, and what is there is not repeated."""
    rows = table(3000, 1)
    for i, r in enumerate(rows):
        r["id"] = f"k{i}"
        r["twin"] = r["city"]
        if i < 5:
            r["city"] = "OSLO: it's #1"
    block = compared(None, rows).processing
    value = yaml.safe_load(block)["processing"]
    base = {"project": "demo", "data": {"target": "label"}, "models": [{"name": "m", "class": "a.b:C"}]}
    parsed = settings.load(json.dumps({**base, "processing": value}))
    dropped = {c for s in parsed.processing if s.name == "drop" for c in s.columns}
    assert dropped >= {"id"}
    assert not dropped & {c for s in parsed.processing if s.name != "drop" for c in s.columns}
    assert len(dropped & {"city", "twin"}) == 1


def test_relations_have_the_usual_coefficients(compared: Compare) -> None:
    """Pearson and Spearman near the truth of a linear pair; the correlation ratio of a number that tells the class."""
    rng = random.Random(3)
    rows = []
    for _ in range(4000):
        x = rng.gauss(0, 1)
        rows.append(
            {"x": x, "y": 0.8 * x + 0.6 * rng.gauss(0, 1), "label": "yes" if x + rng.gauss(0, 0.5) > 0 else "no"}
        )
    ties = {frozenset((a.first, a.second)): a for a in compared(None, rows).associations}
    pair = ties[frozenset(("x", "y"))]
    assert pair.pearson == pytest.approx(0.8, abs=0.03)
    assert pair.spearman == pytest.approx(0.78, abs=0.06)
    tie = ties[frozenset(("x", "label"))]
    assert tie.pearson is not None
    assert tie.ratio == pytest.approx(abs(tie.pearson), abs=1e-9)
    assert tie.ratio == pytest.approx(math.sqrt(2 / math.pi) / math.sqrt(1.25), abs=0.05)


def test_drift_is_ranked_by_what_the_model_relies_on(compared: Compare, table: Any) -> None:
    """Effect times share of importance; a column the model ignores matters nothing."""
    moved = [{**r, "age": r["age"] + 8, "hours": r["hours"] + 15} for r in table(1000, 2)]
    report = compared(table(3000, 1), moved, importance={"age": 0.03, "city": 0.01, "hours": -0.001})
    facts = {c.name: c for c in report.columns}
    assert facts["age"].importance == pytest.approx(0.75)
    assert facts["age"].matters == pytest.approx(0.75 * facts["age"].effect_corrected)
    assert facts["hours"].matters == 0
    assert facts["label"].matters is None
    assert "Importance-weighted drift:" in html_report.html(report)


def test_other_tools_rules_are_shown_beside_ours(compared: Compare, table: Any) -> None:
    """Fifty rows without drift: a fixed distance cries wolf, ours does not; a large shift is drift for all."""
    report = compared(table(3000, 1), table(50, 2))
    assert any(c.others.get("Evidently") for c in report.columns)
    assert not report.drifted
    shifted = compared(table(3000, 1), [{**r, "age": r["age"] + 30} for r in table(1000, 3)])
    assert all(next(c for c in shifted.columns if c.name == "age").others.values())
    assert "Evidently flags" in html_report.html(report)


def test_jensen_shannon_is_scipys() -> None:
    """The distance, not the divergence, in the base asked for."""
    from scipy.spatial.distance import jensenshannon

    a, b = [5, 30, 0, 65], [10, 20, 40, 30]
    assert other_tools_rules.jensen_shannon(a, b, 2.0) == pytest.approx(jensenshannon(a, b, 2.0))
    assert other_tools_rules.jensen_shannon(a, b, math.e) == pytest.approx(jensenshannon(a, b))


def test_pictures_are_files_too(compared: Compare, table: Any) -> None:
    """One SVG for each column and one of the associations; each stands alone and names nothing it is not."""
    files = html_report.plots(compared(None, [{**r, "<b>": 1 + r["hours"]} for r in table(300, 1)]))
    assert "plots/associations.svg" in files
    assert len(files) == 7
    for body in files.values():
        assert body.startswith(b'<svg xmlns="http://www.w3.org/2000/svg"')
        assert b"<b>" not in body
