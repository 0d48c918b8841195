"""What the report says of tables whose truth is known."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from dropforge.analysis.report import html_report
from dropforge.analysis.report_model import Report
from dropforge.errors import RejectedUpload

from ...conftest import repeats

Compare = Callable[..., Report]


def _kinds(report: Report) -> dict[str, str]:
    return {f"{f.kind}:{','.join(f.columns)}": f.suggestion for f in report.findings}


def _outcome(report: Report, column: str) -> str:
    return next(c.outcome for c in report.columns if c.name == column)


def test_the_first_upload_is_described_and_becomes_the_reference(compared: Compare, table: Any) -> None:
    """Nothing is compared; the verdict says what it is."""
    report = compared(None, table(300, 1))
    assert report.verdict.word == "reference"
    assert {c.outcome for c in report.columns} == {"not_compared"}
    assert report.rows_reference is None


@pytest.mark.repeated
@pytest.mark.parametrize(
    "rows", [pytest.param(50, marks=pytest.mark.campaign), 200, pytest.param(1000, marks=pytest.mark.campaign)]
)
def test_chance_is_not_drift(compared: Compare, table: Any, rows: int) -> None:
    """Samples of one distribution: of thirty at most two reports flag any column, at every size."""
    reference, samples = table(3000, 1), repeats(8, 30)
    flagged = sum(bool(compared(reference, table(rows, 100 + i)).drifted) for i in range(samples))
    assert flagged <= samples // 15 + (samples % 15 > 0)


@pytest.mark.repeated
def test_a_shift_of_half_a_deviation_is_found(compared: Compare, table: Any) -> None:
    """In at least nineteen of twenty uploads of 500 rows, and in that column only."""
    reference, result, uploads = table(3000, 1), 0, repeats(5, 20)
    for i in range(uploads):
        rows = [{**r, "age": r["age"] + 6} for r in table(500, 200 + i)]
        report = compared(reference, rows)
        result += _outcome(report, "age") == "drift"
        assert _outcome(report, "city") != "drift"
    assert result >= uploads - uploads // 20


def test_fifty_rows_cannot_show_a_moderate_change(compared: Compare, table: Any) -> None:
    """Without a rejection the outcome is "too few rows", never "no drift"."""
    report = compared(table(3000, 1), table(50, 2))
    assert _outcome(report, "age") == "insufficient_data"
    assert next(c for c in report.columns if c.name == "age").smallest_detectable > 0.25


def test_a_trifle_in_many_rows_is_not_drift(compared: Compare, table: Any) -> None:
    """A shift of a thirtieth of a deviation in 20,000 rows may be significant; its effect is below the threshold."""
    rows = [{**r, "age": r["age"] + 0.4} for r in table(20_000, 3)]
    assert _outcome(compared(table(20_000, 1), rows), "age") == "no_drift"


def test_every_defect_of_a_bad_upload_is_told(compared: Compare, table: Any) -> None:
    """Shift, new category, missing values, spelling, range, copies: each with a suggestion, the weightiest first."""
    rng = random.Random(5)
    rows = table(2000, 9)
    for r in rows:
        r["age"] = float(r["age"]) + 8
        r["city"] = "Atlantis" if rng.random() < 0.05 else "bern" if rng.random() < 0.05 else r["city"]
        r["job"] = None if rng.random() < 0.12 else r["job"]
    rows[0]["hours"] = 900
    rows += rows[:30]
    report = compared(table(3000, 1), rows)
    kinds = _kinds(report)
    for kind in (
        "drift:age",
        "new_category:city",
        "missing_increase:job",
        "category_variants:city",
        "out_of_range:hours",
        "duplicates:",
    ):
        assert kinds.get(kind), (kind, list(kinds))
    assert report.verdict.word == "warn"
    first = {f.kind for f in report.top_actions}
    assert {"drift", "new_category", "missing_increase"} <= first
    assert [f.severity for f in report.findings] == sorted(
        (f.severity for f in report.findings), key=["critical", "warn", "info"].index
    )


def test_a_missing_column_blocks(compared: Compare, table: Any) -> None:
    """Removed, or renamed: the likely new name is told."""
    rows = [{"ages" if k == "age" else k: v for k, v in r.items()} for r in table(300, 2)]
    report = compared(table(3000, 1), rows)
    kinds = _kinds(report)
    assert report.verdict.word == "block"
    assert {"column_removed:age", "column_renamed:age,ages", "column_added:ages"} <= set(kinds)
    assert "Rename ages back to age" in kinds["column_renamed:age,ages"]


def test_settings_decide_what_blocks(compared: Compare, table: Any) -> None:
    """With an empty block list the same upload is only warned about."""
    rows = [{k: v for k, v in r.items() if k != "age"} for r in table(300, 2)]
    assert compared(table(3000, 1), rows, block_on=[], warn_on=["column_removed"]).verdict.word == "warn"


def test_a_drifted_target_is_critical(compared: Compare, table: Any) -> None:
    """Twice as many positives: target drift, severe enough to block."""
    rows = [{**r, "label": "yes" if i % 3 else r["label"]} for i, r in enumerate(table(2000, 2))]
    report = compared(table(3000, 1), rows)
    assert report.verdict.word == "block"
    assert report.top_actions[0].kind == "target_drift_severe"


def test_constants_and_identifiers_are_noticed(compared: Compare, table: Any) -> None:
    """One value in nearly all rows, and a value of its own in each."""
    rows = [{"id": f"k{i}", "same": "x" if i else "y", **r} for i, r in enumerate(table(500, 1))]
    kinds = _kinds(compared(None, rows))
    assert "near_constant:same" in kinds
    assert "data.ignore" in kinds["identifier:id"]


class _Parser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_the_page_is_one_file_with_one_script_of_its_own(compared: Compare, table: Any) -> None:
    """No address elsewhere, small; every column has its picture; the content policy allows that script and no other."""
    page = html_report.html(compared(table(3000, 1), table(500, 2)))
    parser = _Parser()
    parser.feed(page)
    assert parser.tags.count("script") == 1
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert not re.findall(r"(?:src|href)=\"?(?!#)\w+:", page)
    assert parser.tags.count("svg") == 6  # five columns and the associations
    assert len(page) < 400_000


def test_each_finding_leads_to_the_chart_of_its_column(compared: Compare, table: Any) -> None:
    """Every link inside the page has its place there; a finding's columns are linked to their charts."""
    page = html_report.html(compared(table(3000, 1), [{**r, "age": r["age"] + 9} for r in table(500, 2)]))
    places = set(re.findall(r'id="(column-\d+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= places
    assert len(places) == 5
    chart = re.search(r'id="(column-\d+)"[^>]*><h3>age<', page)
    assert chart
    findings = page[page.index("All findings") :]
    assert f'<td><a href="#{chart[1]}">age</a></td>' in findings


def test_hostile_values_are_text(compared: Compare, table: Any) -> None:
    """Markup in categories, column names and file names is shown, not run."""
    rows = [
        {**{k if k != "job" else "<b>job": v for k, v in r.items()}, "city": "<script>alert(1)</script>"}
        for r in table(200, 1)
    ]
    rows[0]["city"] = "fine"
    page = html_report.html(compared(None, rows))
    assert "<script>alert" not in page
    assert "<b>job" not in page
    assert "&lt;script&gt;" in page
    rejected = html_report.rejection("<script>x</script>", RejectedUpload("<img src=x>", fix="none"))
    assert "<script>" not in rejected
    assert "<img" not in rejected


def test_the_json_is_the_same_report(compared: Compare, table: Any) -> None:
    """What is stored as report.json reads back as the same value."""
    report = compared(table(3000, 1), table(500, 2))
    assert Report.model_validate_json(report.model_dump_json()) == report
