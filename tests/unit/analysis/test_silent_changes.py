"""Changes that pass every check of form are reported with the fraction of rows; chance is not."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dropforge.analysis.report import build_report, html_report
from dropforge.analysis.report_model import Finding, Report
from dropforge.config import settings

Compare = Callable[..., Report]
Row = dict[str, object]
_CITIES = ["Zürich", "Bern", "Köln", "Oslo"]
_START = datetime(2024, 3, 1)  # noqa: DTZ001 - a file's timestamps have no zone


def _orders(count: int, seed: int) -> list[Row]:
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        moment = _START + timedelta(days=rng.randrange(60), hours=rng.gauss(13, 3))
        rows.append(
            {
                "ordered": f"{moment:%Y-%m-%d %H:%M:%S}",
                "delivered": f"{moment + timedelta(minutes=rng.gammavariate(3, 30)):%Y-%m-%d %H:%M:%S}",
                "surname": f"N{int(rng.paretovariate(0.5)) % 3000}",
                "city": rng.choices(_CITIES, [4, 3, 2, 1])[0],
                "amount": round(rng.lognormvariate(3, 0.8), 2),
                "label": rng.choice(["no", "no", "yes"]),
            }
        )
    return rows


@pytest.fixture(scope="module")
def orders() -> tuple[list[Row], list[Row]]:
    """Reference and new rows of one population."""
    return _orders(3000, 1), _orders(2000, 2)


def _of(report: Report, kind: str, column: str = "") -> Finding:
    matches = [f for f in report.findings if f.kind == kind and (not column or column in f.columns)]
    assert matches, (kind, [(f.kind, f.columns) for f in report.findings])
    return matches[0]


def _some(rows: list[Row], share: float) -> list[int]:
    return random.Random(9).sample(range(len(rows)), round(share * len(rows)))


def _with(rows: list[Row], share: float, **values: Callable[[Row], object]) -> list[Row]:
    """A copy of the rows, some of them changed."""
    chosen = set(_some(rows, share))
    return [{**r, **{c: of(r) for c, of in values.items()}} if i in chosen else r for i, r in enumerate(rows)]


def test_two_samples_of_one_population_have_no_issues(compared: Compare, orders: Any) -> None:
    """Timestamps, 3,000 surnames and a long tail: nothing is reported, and the headline says so."""
    report = compared(*orders)
    assert not [f.title for f in report.findings if f.change]
    assert report.verdict.headline == "No issues found"
    assert report.verdict.word == "pass"


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.campaign) for n in range(1, 4))])
def test_many_valued_categories_of_one_population_do_not_drift(compared: Compare, seed: int) -> None:
    """700 equally frequent codes: each file names other ones most often, which is chance."""
    rng = random.Random(seed)
    reference, new = (
        [{"code": f"k{rng.randrange(700)}", "x": rng.random(), "label": rng.choice("ab")} for _ in range(n)]
        for n in (2500, 2000)
    )
    report = compared(reference, new)
    assert not report.drifted
    assert not [f.title for f in report.findings if f.change]


def test_other_values_of_a_many_valued_category_are_drift(compared: Compare, orders: Any) -> None:
    """Every second surname comes from elsewhere: drift, and the fraction of rows the reference cannot know."""
    reference, new = orders
    report = compared(reference, _with(new, 0.5, surname=lambda r: f"M{r['surname']}"))
    assert [c.name for c in report.drifted] == ["surname"]
    output = re.match(r"([\d.]+)% of the rows", _of(report, "new_category", "surname").evidence)
    assert output
    assert 40 < float(output[1]) < 75  # half of the rows, and surnames that occur once


def test_one_new_value_among_many_is_reported(compared: Compare, orders: Any) -> None:
    """A twentieth of a column of 3,000 values is `unknown` now: named, with its fraction."""
    reference, new = orders
    result = _of(compared(reference, _with(new, 0.05, surname=lambda _: "unknown")), "frequent_value", "surname")
    assert "'unknown' became more frequent" in result.title
    assert "5.0%" in result.evidence


def test_identifiers_take_no_part_in_the_verdict(compared: Compare, table: Any) -> None:
    """A running number and a key of all different texts have other values in every file: no drift, no range, no new category."""
    first = [{"customer_id": i, "key": f"a{i}", **r} for i, r in enumerate(table(400, 1))]
    second = [{"customer_id": 400 + i, "key": f"b{i}", **r} for i, r in enumerate(table(300, 2))]
    report = compared(first, second)
    assert not [f.title for f in report.findings if f.change]
    assert {c.name: c.outcome for c in report.columns}["customer_id"] == "not_compared"


@pytest.mark.parametrize("column", ["ordered", "surname", "city", "amount"])
def test_a_column_that_is_empty_now_is_a_problem(compared: Compare, orders: Any, column: str) -> None:
    """Full in the reference and without a value here, of whatever kind: drift, with both fractions, and the verdict warns."""
    reference, new = orders
    report = compared(reference[:500], _with(new[:400], 1.0, **{column: lambda _: None}))
    result = _of(report, "missing_increase", column)
    assert result.severity == "critical"
    assert f"100.0% of {column} is missing, 0.0% in the reference" in result.evidence
    assert report.verdict.word == "warn"
    assert column in [c.name for c in report.drifted]
    assert report.verdict.headline.startswith("1 problem")


def test_a_column_missing_in_both_files_is_no_change(compared: Compare, table: Any) -> None:
    """Neither file has a value of it: nothing to report."""
    first, second = ([{**r, "note": None} for r in table(300, s)] for s in (1, 2))
    assert not [f for f in compared(first, second).findings if f.change]


def test_values_outside_the_range_are_counted(compared: Compare, orders: Any) -> None:
    """Five per cent of the amounts are zero, below everything in the reference: a warning with their fraction."""
    reference, new = orders
    result = _of(compared(reference, _with(new, 0.05, amount=lambda _: 0)), "out_of_range", "amount")
    assert result.severity == "warn"
    assert "5.0% of the rows" in result.title


def test_a_default_within_the_range_is_reported(compared: Compare, orders: Any) -> None:
    """One value in the middle gains five per cent."""
    reference, new = orders
    result = _of(compared(reference, _with(new, 0.05, amount=lambda _: 20.0)), "frequent_value", "amount")
    assert result.title == "20 became more frequent in amount"
    assert "of 2,000 values (5." in result.evidence


def test_a_default_that_was_the_most_frequent_value_is_reported(compared: Compare, orders: Any) -> None:
    """Half of the amounts are 20 and an eighth of all become 20: what the thousand rare amounts may do does not hide it."""
    reference, new = (_with(part, 0.5, amount=lambda _: 20.0) for part in orders)
    more = [{**r, "amount": 20.0} if i % 8 == 0 else r for i, r in enumerate(new)]
    result = _of(compared(reference, more), "frequent_value", "amount")
    assert result.title == "20 became more frequent in amount"
    assert "50.0% at most in the reference" in result.evidence


def test_a_default_that_the_reference_does_not_name_is_reported(compared: Compare, orders: Any) -> None:
    """Nearly every amount is different, and one of them is now in five of a hundred rows: it pays for its own rows only."""
    reference, new = (part[:400] for part in orders)
    default = sorted(float(r["amount"]) for r in reference)[200]
    report = compared(reference, _with(new, 0.05, amount=lambda _: default))
    assert _of(report, "frequent_value", "amount").title.endswith("became more frequent in amount")


def test_a_unit_error_in_two_per_cent_is_reported(compared: Compare, orders: Any) -> None:
    """Cents instead of francs: more values far from the rest, with the fraction of now and before."""
    reference, new = orders
    result = _of(compared(reference, _with(new, 0.02, amount=lambda r: r["amount"] * 100)), "outliers", "amount")  # type: ignore[operator] # a number
    assert result.severity == "warn"
    assert "in the reference" in result.evidence


def test_fractions_in_a_column_of_whole_numbers_are_named_with_their_share(compared: Compare) -> None:
    """A twentieth of a column of codes was divided by ten: too few to move its distribution, but no code has a fraction."""
    rng = random.Random(6)
    rows = [{"code": 11 + 10 * rng.randrange(300), "label": rng.choice("ab")} for _ in range(1000)]
    result = _of(compared(rows[:600], _with(rows[600:], 0.05, code=lambda r: r["code"] / 10)), "widened", "code")  # type: ignore[operator] # a number
    assert result.evidence == "20 cells (5.0% of the rows)"


def test_hours_moved_by_five_are_reported_as_such(compared: Compare, orders: Any) -> None:
    """One timestamp lost its offset: the hours of the day fit when moved back, and the time between the two changed."""
    reference, new = orders
    later = lambda r: f"{datetime.fromisoformat(str(r['delivered'])) + timedelta(hours=5)}"  # noqa: E731 - one use
    report = compared(reference, _with(new, 1.0, delivered=later))
    assert "moved by +5 h" in _of(report, "time_of_day", "delivered").evidence
    assert "6 h 3" in _of(report, "time_gap").evidence or "6 h 2" in _of(report, "time_gap").evidence


def test_a_later_period_is_no_drift(compared: Compare, orders: Any) -> None:
    """The next month's file has later dates: information with dates, not seconds; the verdict passes."""
    reference, new = orders
    next_month = {
        c: (lambda r, c=c: f"{datetime.fromisoformat(str(r[c])) + timedelta(days=90)}")
        for c in ("ordered", "delivered")
    }
    report = compared(reference, _with(new, 1.0, **next_month))
    result = _of(report, "later_period", "ordered")
    assert result.severity == "info"
    assert "2024-0" in result.evidence
    assert not report.drifted
    assert report.verdict.word == "pass"


def test_damaged_encoding_is_named(compared: Compare, orders: Any) -> None:
    """UTF-8 read as a single-byte encoding, and letters that became question marks: the texts and what they were."""
    reference, new = orders
    garbled = _with(new, 0.03, city=lambda r: str(r["city"]).encode().decode("latin-1"))
    result = _of(compared(reference, garbled), "encoding_damage", "city")
    assert "'Zürich'" in result.evidence
    lost = _with(new, 0.05, city=lambda r: str(r["city"]).encode("ascii", "replace").decode())
    assert "'Z?rich' for 'Zürich'" in _of(compared(reference, lost), "encoding_damage", "city").evidence


def test_more_duplicates_than_the_reference_has_are_reported(compared: Compare, orders: Any) -> None:
    """A join that doubled a quarter of the rows; a table of few different rows repeats itself without any mistake."""
    reference, new = orders
    result = _of(compared(reference, [*new, *new[:500]]), "duplicates")
    assert result.severity == "warn"
    assert "20.00% of the rows" in result.evidence
    rng = random.Random(3)
    few = [
        [{"a": rng.randrange(9), "b": rng.randrange(9), "label": rng.choice("xy")} for _ in range(900)] for _ in "12"
    ]
    assert not [f for f in compared(*few).findings if f.change]


def test_missingness_that_tells_the_class_is_reported(compared: Compare, orders: Any) -> None:
    """A column filled for one class alone leaks whatever the reference; one that is missing more in one class is information."""
    reference, new = orders
    leak = [{**r, "closed": i % 50 if r["label"] == "yes" else None} for i, r in enumerate(new)]
    assert "missing gives label away" in _of(compared(None, leak), "leakage", "closed").title
    more = [{**r, "amount": None if r["label"] == "yes" and i % 3 == 0 else r["amount"]} for i, r in enumerate(new)]
    result = _of(compared(reference, more), "informative_missing", "amount")
    assert "missing in 3" in result.evidence


def test_a_new_column_that_gives_the_target_away_is_leakage(compared: Compare, table: Any) -> None:
    """It is not in the data set, and still its association with the target is looked at; an unrelated one is only new."""
    new = [{**r, "outcome": f"o{r['label']}", "noise": i % 7} for i, r in enumerate(table(600, 2))]
    report = compared(table(900, 1), new)
    (leak,) = [f for f in report.findings if f.kind == "leakage"]
    assert leak.columns == ("outcome",)
    assert "tells the class in 100.0% of the rows" in leak.evidence
    added = {f.columns[0]: f.evidence for f in report.findings if f.kind == "column_added"}
    assert "Cramér's V 0.0" in added["noise"]


def test_lost_positives_are_information_before_they_are_drift(compared: Compare, table: Any) -> None:
    """Twelve per cent of one class are gone from 12,000 rows: below the threshold, and reported with both fractions."""
    rng = random.Random(4)
    new = [r for r in table(12_000, 2) if r["label"] != "yes" or rng.random() > 0.12]
    report = compared(table(12_000, 1), new)
    result = _of(report, "shift", "label")
    assert result.severity == "info"
    assert result.evidence.startswith("'no' 66.6% → 68.9%")
    assert report.verdict.headline != "No issues found"


def test_new_categories_are_compared_with_what_rare_values_let_expect(compared: Compare) -> None:
    """A long tail always brings unseen values: no warning; the same number in a closed list of values warns."""
    rng = random.Random(8)

    def rows(count: int, tail: float) -> list[Row]:
        return [
            {
                "x": rng.random(),
                "code": f"c{int(rng.paretovariate(tail))}" if tail else rng.choice("abc"),
                "label": rng.choice("yn"),
            }
            for _ in range(count)
        ]

    assert not [f for f in compared(rows(1500, 1.2), rows(1500, 1.2)).findings if f.kind == "new_category"]
    closed = [{**r, "code": "d"} if i < 20 else r for i, r in enumerate(rows(1500, 0))]
    result = _of(compared(rows(1500, 0), closed), "new_category", "code")
    assert "1.3%" in result.evidence
    assert "0.0% expected" in result.evidence


@pytest.mark.parametrize(("name", "asked"), [("Hauptstrasse", True), ("Nebenweg", False)])
def test_a_category_under_another_name_is_named_with_the_old_one(compared: Compare, name: str, asked: bool) -> None:
    """A value that has the rows of one that is gone may be its new name; one that takes half of them from each is a new category."""
    rng = random.Random(9)

    def rows() -> list[Row]:
        return [
            {"x": rng.random(), "street": rng.choice(["A1", "A1", "B2", "C3", "C3", "C3"]), "label": rng.choice("yn")}
            for _ in range(1200)
        ]

    new = [
        {**r, "street": name if r["street"] == "A1" and (asked or i % 2) else r["street"]} for i, r in enumerate(rows())
    ]
    suggestion = _of(compared(rows(), new), "new_category", "street").suggestion
    assert (f"Is '{name}' a new name of 'A1'" in suggestion) == asked
    assert "retrain to learn it" in suggestion.lower()


def test_thirty_rows_are_insufficient_data(compared: Compare, table: Any) -> None:
    """No column could show a moderate change: the headline says so instead of `No issues found`."""
    report = compared(table(600, 1), table(30, 2))
    assert report.verdict.headline.startswith("Insufficient data")
    page = html_report.html(report)
    assert "Insufficient data" in page
    assert "No issues found" not in page


def test_the_headline_counts_what_the_page_lists(compared: Compare, orders: Any) -> None:
    """Warnings that the verdict's rule does not name are counted all the same."""
    reference, new = orders
    report = compared(reference, _with(new, 0.05, amount=lambda _: 0), warn_on=[], block_on=[])
    warnings = sum(f.severity == "warn" for f in report.findings)
    assert report.verdict.word == "pass"
    assert f"{warnings} warning" in report.verdict.headline
    assert report.verdict.headline in html_report.html(report)


def test_personal_data_is_flagged_once(compared: Compare, table: Any) -> None:
    """A warning in the first file; information where the reference has it, or where the column is ignored."""
    rows = [{**r, "contact": f"p{i}@mail.example"} for i, r in enumerate(table(300, 1))]
    result = _of(compared(None, rows), "personal_data", "contact")
    assert (result.severity, "e-mail" in result.title) == ("warn", True)
    assert _of(compared(rows, rows[:200]), "personal_data", "contact").severity == "info"


@pytest.mark.parametrize(("share", "word"), [(1.0, "target_drift"), (0.95, "target_drift_severe")])
def test_rows_of_one_class_do_not_block(tmp_path: Path, share: float, word: str) -> None:
    """A piece of a sorted file is compared and stored; a mix of classes that went over is blocked as before."""
    reference, new = tmp_path / "reference.csv", tmp_path / "new.csv"
    reference.write_text("x,y\n" + "".join(f"{i % 9},{'ab'[i % 2]}\n" for i in range(400)))
    new.write_text("x,y\n" + "".join(f"{i % 9},{'a' if i < 200 * share else 'b'}\n" for i in range(200)))
    parsed = settings.load(
        b"project: demo\ndata: {target: y}\nmodels: [{name: forest, class: a.b:C}]\n", "settings.yaml"
    )
    report = build_report.compare_files(reference, new, parsed)
    assert word in {f.kind for f in report.findings}
    assert (report.verdict.word == "block") == (word == "target_drift_severe")


def _small(seed: int) -> list[Row]:
    """150 rows of 20 skewed positive columns, all different, and a class that half of them depend on."""
    rng, rows = random.Random(seed), []
    for _ in range(150):
        hidden = rng.gauss(0, 1)
        own = {f"x{k:02d}": f"{math.exp(0.5 * (hidden * (k < 10) + 0.5 * rng.gauss(0, 1))):.5f}" for k in range(20)}
        rows.append({**own, "label": "yes" if hidden + 0.1 * rng.gauss(0, 1) > 0 else "no"})
    return rows


@pytest.fixture(scope="module")
def small() -> tuple[list[Row], list[Row]]:
    """Reference and new rows of one small table: few changes can stand out from what so few rows vary by."""
    return _small(1), _small(2)


_FEW_ROWS: dict[str, tuple[float, Callable[[Row], object], str]] = {
    "thousandfold": (0.05, lambda r: f"{float(str(r['x03'])) * 1000:g}", "out_of_range"),
    "sign": (0.05, lambda r: f"-{r['x03']}", "out_of_range"),
    "missing": (1 / 15, lambda _: None, "missing_increase"),
}


@pytest.mark.parametrize("change", _FEW_ROWS)
def test_a_change_of_few_rows_of_a_small_table_is_reported(compared: Compare, small: Any, change: str) -> None:
    """Eight or ten of 150 rows beside 20 columns: by how far they lie from all others, or that none was missing before."""
    reference, new = small
    share, of, kind = _FEW_ROWS[change]
    assert not [f.title for f in compared(reference, new).findings if f.change]
    result = _of(compared(reference, _with(new, share, x03=of)), kind, "x03")
    named = re.search(r"([\d.]+)%", result.title + result.evidence)
    assert named
    assert 100 * share - 0.5 <= float(named[1]) <= 100 * share + 2.5  # a few rows lie out by themselves


def test_labels_flipped_in_a_small_table_are_reported(compared: Compare, small: Any) -> None:
    """A seventh of 150 labels: the ten features that tell of the label are not diluted by the ten that do not."""
    reference, new = small
    flipped = _with(new, 0.15, label=lambda r: "no" if r["label"] == "yes" else "yes")
    assert _of(compared(reference, flipped), "labels_weakened", "label").severity == "critical"
