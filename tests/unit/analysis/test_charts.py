"""The report's pictures: what each shows of two distributions."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from dropforge.analysis.report import axes, charts, html_report, report_changes
from dropforge.analysis.report_model import Bars, ColumnReport, FindingKey, Matrix, Report, ReportSummary


def _column(kind: str, bars: Bars) -> ColumnReport:
    return ColumnReport(name="c", kind=kind, role="feature", rows=9, missing_share=0.0, distinct=4, bars=bars)


def _texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_numbers_are_two_outlines_and_their_difference() -> None:
    """A path for each distribution; below, a bar up where the upload has more and down where it has less, and none where equal."""
    bars = Bars(labels=("1", "2", "3 – 4"), reference=(0.5, 0.3, 0.2), new=(0.3, 0.3, 0.4))
    svg = charts.chart(_column("number", bars))
    assert len(re.findall(r'class="step (?:ref|new line)"', svg)) == 2
    heights = {
        css: float(h) for css, h in re.findall(r'class="(ref|new) solid" d="M[\d.]+ [\d.]+h[\d.]+v(-?[\d.]+)', svg)
    }
    assert heights["new"] < 0 < heights["ref"]
    assert len(heights) == 2
    assert "difference, up to 20.0 points" in _texts(svg)


def test_without_a_reference_there_is_one_outline_and_no_difference() -> None:
    """A first upload is described, not compared."""
    svg = charts.chart(_column("integer", Bars(labels=("1", "2"), new=(0.4, 0.6))))
    assert len(re.findall(r'class="step', svg)) == 1
    assert not any("difference" in t for t in _texts(svg))


def test_categories_are_sorted_by_their_contribution_to_the_drift() -> None:
    """The category whose fraction changed most is first, whatever its size; what is not shown is summed up."""
    names = ("big", "up", *(f"small {i}" for i in range(8)), "down")
    reference = (0.5, 0.02, *[0.02] * 8, 0.32)
    new = (0.5, 0.13, *[0.02] * 7, 0.03, 0.20)
    texts = _texts(charts.chart(_column("category", Bars(labels=names, reference=reference, new=new))))
    shown = [t for t in texts if t in names]
    assert shown[:3] == ["down", "up", "small 7"]
    assert texts[texts.index("down") + 2] == "-12.0 points"
    assert any(t.startswith("and 3 more") for t in texts)


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    """-0.0 points would say that a fraction fell."""
    bars = Bars(labels=("a", "b"), reference=(0.5001, 0.4999), new=(0.5, 0.5))
    assert [t for t in _texts(charts.chart(_column("category", bars))) if t.endswith("points")] == ["0.0 points"] * 2


def test_a_p_value_too_small_for_a_double_is_said_to_be_small() -> None:
    """Two digits otherwise; never 0."""
    assert [html_report.chance(p) for p in (0.0, 4.2e-156, 0.256, None)] == ["< 1e-300", "4.2e-156", "0.26", "–"]


def test_the_same_distribution_has_no_difference_to_draw() -> None:
    """No division by zero, no bar."""
    svg = charts.chart(_column("number", Bars(labels=("1", "2"), reference=(0.5, 0.5), new=(0.5, 0.5))))
    assert 'solid"' not in svg


def test_changes_since_a_report_name_what_came_and_what_went(compared, table) -> None:  # type: ignore[no-untyped-def] # fixtures
    """Drift and findings that began and ended, a verdict that changed; one sentence when nothing did."""
    report = compared(table(3000, 1), [{**r, "age": r["age"] + 9} for r in table(600, 2)])
    same = report_changes.summary(report)
    assert report_changes.since(same, report) == ("The same findings, drifted columns and verdict as the last report.",)
    before = ReportSummary(
        upload_id="b",
        key="k",
        verdict="pass",
        rows=600,
        drifted=("hours",),
        findings=(FindingKey(kind="outliers", columns=("job",)),),
    )
    text = " ".join(report_changes.since(before, report))
    assert "Verdict: warn, was pass." in text
    assert "Drift began: age." in text
    assert "Drift ended: hours." in text
    assert "Resolved: outliers (job)." in text


def test_labels_of_a_narrow_range_differ(compared: Callable[..., Report], table: Any) -> None:
    """Three digits would make 9.58 of every place of the axis, and `9.58 → 9.58` of a change."""
    rng = random.Random(4)
    reference, new = ([{**r, "ratio": f"{rng.gauss(at, 4e-4):.6f}"} for r in table(400, 3)] for at in (9.5831, 9.5841))
    report = compared(reference, new)
    bars = next(c for c in report.columns if c.name == "ratio").bars
    assert len(set(bars.labels)) == len(bars.labels) == axes.BARS
    assert all(re.fullmatch(r"9\.58\d{1,4}( – 9\.58\d{1,4})?", label) for label in bars.labels)
    evidence = next(f.evidence for f in report.findings if f.kind == "drift" and f.columns == ("ratio",))
    assert re.match(r"mean 9\.583\d* → 9\.584\d*; ", evidence)


def test_a_summary_tells_two_means_apart_that_differ(compared: Callable[..., Report], table: Any) -> None:
    """`mean 2017 (was 2017)` says nothing."""
    rng = random.Random(4)
    reference, new = (
        [{**r, "year": f"{rng.uniform(at, at + 0.4):.4f}"} for r in table(400, 3)] for at in (2016.8, 2017.1)
    )
    page = html_report.html(compared(reference, new))
    summary = next(s for s in re.findall(r"<p class=\"soft\">(mean .*?)</p>", page) if "2017." in s)
    pairs = re.findall(r"(\S+) <span>\(was (\S+)\)", summary)
    assert len(pairs) >= 3
    assert all(now != before for now, before in pairs)


def test_counts_with_a_long_tail_have_no_gaps_between_whole_numbers(
    compared: Callable[..., Report], table: Any
) -> None:
    """Where the axis is logarithmic, a bin between 1 and 2 would be empty, and drawn as if no row could be there."""
    rng = random.Random(5)
    rows = [
        {**r, "nights": str(int(rng.expovariate(0.25)) if rng.random() < 0.995 else rng.randrange(40, 200))}
        for r in table(3000, 3)
    ]
    report = compared(rows[:2000], rows[2000:])
    bars = next(c for c in report.columns if c.name == "nights").bars
    assert len(bars.labels) > 8
    assert min(bars.reference[:6]) > 0.01
    assert sum(bars.reference) == pytest.approx(1)


def test_names_over_a_heat_map_end_inside_the_picture() -> None:
    """The last one leans to the right."""
    names = tuple(f"{i}_of_twenty_letters" for i in range(12))
    svg = charts.heatmap(Matrix(columns=names, strengths=tuple(tuple(0.5 for _ in names) for _ in names)))
    starts = [float(x) for x in re.findall(r"translate\(([\d.]+)", svg)]
    width = 6.2 * 20 * 0.574  # letters of 11 px, at 55 degrees
    assert max(starts) + width <= 1000


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((12_300.0, 45_600.0), ["12.3k", "45.6k"]),
        ((2_800_000.0, 2_800_100.0), ["2.8M", "2.8001M"]),
        ((1234.1, 1234.4), ["1234.1", "1234.4"]),
        ((0.00012, 0.00012), ["0.00012", "0.00012"]),
        ((1.74e-9, 1.75e-9), ["1.74·10^-9", "1.75·10^-9"]),
        ((1.0, 1.0 + 1e-15), ["1", "1"]),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(values: tuple[float, ...], texts: list[str]) -> None:
    """No more of them; those that twelve digits do not tell apart look alike."""
    assert axes.apart(values) == texts
