"""The report in a browser: find and filter columns, from a finding to its chart, copy, print, and without its script."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dropforge.analysis.report import html_report
from dropforge.analysis.report_model import Bars, ColumnReport, Finding, Intake, Provenance, Report, Verdict

pytestmark = pytest.mark.e2e


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Of a report with three columns, one of which drifted."""
    bars = Bars(labels=("1", "2", "3"), reference=(0.5, 0.3, 0.2), new=(0.2, 0.3, 0.5))
    columns = [
        ColumnReport(
            name=name, kind=kind, role="feature", rows=90, missing_share=0.0, distinct=3, outcome=outcome, bars=bars,
            effect=0.1, effect_expected=0.0, effect_corrected=0.1, p_value=0.5, psi=0.1,
        )
        for name, kind, outcome in (("age", "number", "drift"), ("city", "category", "no_drift"), ("wage", "number", "no_drift"))
    ]  # fmt: skip
    finding = Finding(
        kind="drift", severity="warn", columns=("age",), title="age drifted", evidence="e", suggestion="s"
    )
    report = Report(
        project="p", verdict=Verdict(word="warn", reasons=("age drifted",)), provenance=Provenance(), rows_reference=90,
        intake=Intake(key="k.csv", format="csv", rows_in=90, rows_used=90, rows_quarantined=0),
        columns=tuple(columns), findings=(finding,), processing="processing:\n  - clip: {column: age, high: 3}\n",
    )  # fmt: skip
    file = tmp_path / "report.html"
    file.write_text(html_report.html(report), encoding="utf-8")
    return file.as_uri()


def test_columns_are_found_and_filtered(address: str, browser: Browser) -> None:
    """By name, outcome and kind, in the table and among the charts; a link to a chart shows it again."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.get_by_label("Find a column").fill("AGE")
    expect(page.locator(".cards .card:visible h3")).to_have_text(["age", "wage"])
    expect(page.get_by_role("status")).to_have_text("2 of 3 columns")
    page.get_by_label("Find a column").fill("")
    page.get_by_label("Outcome").select_option("no_drift")
    page.get_by_label("Kind").select_option("number")
    expect(page.locator("tbody tr[data-column]:visible")).to_have_count(1)
    page.locator(".todo a", has_text="age").click()
    expect(page.locator(".card:target h3")).to_have_text("age")
    expect(page.locator(".cards .card:visible")).to_have_count(3)
    assert errors == []


def test_the_settings_block_is_copied(address: str, browser: Browser) -> None:
    """One press; the button says so."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()


def test_paper_has_no_controls_and_is_light(address: str, browser: Browser) -> None:
    """Printed from a dark screen: no search field, no button, dark letters on white, all columns in its width."""
    page = browser.new_context(color_scheme="dark", viewport={"width": 794, "height": 1123}).new_page()
    page.goto(address)
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator("button.copy")).to_be_hidden()
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert colours == ["rgb(29, 33, 38)", "rgb(255, 255, 255)"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 794


def test_without_its_script_the_report_is_whole(address: str, browser: Browser) -> None:
    """Where scripts are forbidden there are no dead controls; links and charts stay."""
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator("button.copy")).to_be_hidden()
    expect(page.locator(".cards svg")).to_have_count(3)
