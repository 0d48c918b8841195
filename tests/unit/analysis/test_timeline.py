"""Counts by period of a time column, and the series that a report draws of them."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropforge.analysis import profile_queries
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report import html_report, time_charts, time_section
from dropforge.analysis.report_model import TimePoints, TimeSeries
from dropforge.analysis.timeline import PERIODS, SECONDS, Timeline, next_start
from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest.duckdb_connection import connect, name

START = datetime(2024, 1, 1, tzinfo=UTC)
DATA = DataSettings(target="y")


def _profile(folder: Path, at: str, target: str = "'no'", rows: int = 2000, seen: str = "NULL") -> Profile:
    """Of rows i = 0, 1 …; `at`, `target`, `seen` (a second date) and the city are SQL of i."""
    numeric = "'" not in target
    columns = (
        Column(name="seen", kind="datetime"),
        Column(name="at", kind="datetime"),
        Column(name="city", kind="category"),
        Column(name="y", kind="number" if numeric else "category"),
    )
    schema = Schema(columns=columns, target="y", classes=() if numeric else ("no", "yes"))
    with closing(connect(folder)) as db:
        db.execute(
            f"CREATE TABLE t AS SELECT CAST({seen} AS TIMESTAMP) AS seen, CAST({at} AS TIMESTAMP) AS at, "
            f"CASE WHEN i < 1000 OR i % 2 = 0 THEN 'Bern' END AS city, {target} AS y, hash(i) AS {name(ROW_HASH)} "
            f"FROM range({rows}) r(i)"
        )
        return profile_queries.build(db, "t", schema)


def _timeline(profile: Profile) -> Timeline:
    assert profile.timeline is not None
    return profile.timeline


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [(60, "hour"), (3600, "day"), (20_000, "week"), (100_000, "month"), (400_000, "quarter"), (1_500_000, "year")],
)
def test_the_periods_fit_the_span(tmp_path: Path, seconds: int, unit: str) -> None:
    """A row each so many seconds: every row is in one period, and there are at most PERIODS."""
    timeline = _timeline(_profile(tmp_path, f"TIMESTAMP '1930-01-01' + to_seconds(i * {seconds})"))
    assert timeline.unit == unit
    assert sum(timeline.rows) == 2000
    assert timeline.outside == (0, 0)
    assert 2 < len(timeline.starts) <= PERIODS
    assert all(next_start(a, timeline.unit) == b for a, b in zip(timeline.starts, timeline.starts[1:], strict=False))


def test_a_date_far_from_all_others_hides_none(tmp_path: Path) -> None:
    """9999-12-31 as an open end and 1900-01-01 as unknown: counted as outside, the others by day as without them."""
    at = "CASE i WHEN 0 THEN TIMESTAMP '9999-12-31' WHEN 1 THEN TIMESTAMP '1900-01-01' ELSE TIMESTAMP '2024-01-01' + to_hours(i) END"
    timeline = _timeline(_profile(tmp_path, at))
    assert timeline.unit == "day"
    assert timeline.outside == (1, 1)
    assert sum(timeline.rows) == 1998


def test_the_fullest_time_column_is_used(tmp_path: Path) -> None:
    """Of several datetime columns that with the fewest missing values, whatever their order."""
    seen = "CASE WHEN i % 9 = 0 THEN TIMESTAMP '2020-01-01' END"
    assert _timeline(_profile(tmp_path, "TIMESTAMP '2024-01-01' + to_hours(i)", seen=seen)).column == "at"


def test_a_table_without_dates_has_no_timeline(tmp_path: Path) -> None:
    """A datetime column without a value is none."""
    assert _profile(tmp_path, "NULL").timeline is None


def test_target_and_missing_values_are_counted_by_period(tmp_path: Path) -> None:
    """The sums over the periods are those of the rows; each period has its own."""
    timeline = _timeline(
        _profile(tmp_path, "TIMESTAMP '2024-01-01' + to_hours(i)", "CASE WHEN i < 240 THEN 'yes' ELSE 'no' END")
    )
    assert timeline.classes["yes"] == (24,) * 10 + (0,) * (len(timeline.starts) - 10)
    assert sum(timeline.missing["city"]) == 500
    assert timeline.known == timeline.rows
    numbers = _timeline(_profile(tmp_path, "TIMESTAMP '2024-01-01' + to_hours(i)", "CAST(i AS DOUBLE)"))
    assert sum(numbers.total) == sum(range(2000))
    assert numbers.squares[0] == sum(i * i for i in range(24))


def test_what_moves_over_time_is_drawn(tmp_path: Path) -> None:
    """Rows, the rarer class, and a column whose missing values begin; not the one that never misses."""
    at = "TIMESTAMP '2024-01-01' + to_hours(i)"
    profile = _profile(tmp_path, at, "CASE WHEN i % 5 = 0 THEN 'yes' ELSE 'no' END")
    report = time_section.time_report(None, profile, DATA)
    assert report is not None
    assert [s.title for s in report.series] == ["Rows per day", "y = yes", "city: missing"]
    steady = _profile(tmp_path, at, "CASE WHEN i % 5 = 0 THEN 'yes' ELSE 'no' END", rows=900)
    quiet = time_section.time_report(None, steady, DATA)
    assert quiet is not None
    assert [s.kind for s in quiet.series] == ["rows", "fraction"]


def test_periods_of_two_lengths_are_compared_per_period_of_one(tmp_path: Path) -> None:
    """A day of the upload beside months of the reference: both as rows per month, 24 a day being some 730."""
    reference = _profile(tmp_path, "TIMESTAMP '2020-01-01' + to_hours(i * 20)")
    upload = _profile(tmp_path, "TIMESTAMP '2024-08-01' + to_hours(i)", rows=24 * 60)
    report = time_section.time_report(reference, upload, DATA)
    assert report is not None
    assert (report.unit, report.unit_new) == ("month", "day")
    assert report.series[0].new.values == pytest.approx((730.5,) * 60)


def test_one_period_is_no_series(tmp_path: Path) -> None:
    """A file of one moment has nothing over time."""
    assert time_section.time_report(None, _profile(tmp_path, "TIMESTAMP '2024-01-01'"), DATA) is None


def test_a_period_without_rows_has_zero_rows_and_no_fraction() -> None:
    """The outline of rows goes down to zero; that of a fraction is interrupted."""
    days = [int((START + timedelta(days=k)).timestamp()) for k in (0, 1, 4, 5)]
    timeline = Timeline(
        column="at", unit="day", starts=tuple(days), rows=(9, 9, 9, 9), first=days[0], last=days[-1] + 86_400, known=(9, 9, 9, 9),
        classes={"no": (5, 5, 5, 5), "yes": (4, 4, 4, 4)},
    )  # fmt: skip
    profile = Profile(rows=36, duplicates=0, target="y", timeline=timeline)
    report = time_section.time_report(None, profile, DATA)
    assert report is not None
    assert report.series[0].new.values == (9, 9, 0, 0, 9, 9)
    outline = re.findall(r'class="trend new" d="([^"]+)"', time_charts.chart(report.series[1], "day"))
    assert outline[0].count("M") == 2


def test_labels_are_escaped_and_values_stay_inside() -> None:
    """A class named like a tag is text, and every coordinate lies in the picture."""
    points = TimePoints(starts=(0, 86400), ends=(86400, 172800), values=(0.1, 0.9), errors=(0.3, 0.3))
    svg = time_charts.chart(TimeSeries(title="y = <b>", kind="fraction", reference=points), "day")
    assert "<b>" not in svg
    assert all(0 <= float(v) <= 132 for v in re.findall(r"V(-?[\d.]+)", svg))


def test_a_page_with_series_stays_small(tmp_path: Path, compared, table) -> None:  # type: ignore[no-untyped-def] # fixtures
    """Rows with a date: the page has the section, links its column, and each chart costs few bytes."""
    first, second = table(1500, 1), table(500, 2)
    dated = [{"day": (START + timedelta(days=k % 90)).date().isoformat(), **r} for k, r in enumerate(first)]
    newer = [{"day": (START + timedelta(days=90 + k % 30)).date().isoformat(), **r} for k, r in enumerate(second)]
    report = compared(dated, newer)
    page = html_report.html(report)
    assert report.over_time is not None
    assert [s.kind for s in report.over_time.series][:2] == ["rows", "fraction"]
    assert "<h2>Over time</h2>" in page
    section = page.partition("<h2>Over time</h2>")[2].partition("<h2>")[0]
    assert len(section) < 10_000 * len(report.over_time.series)
    assert "Over time" not in html_report.html(compared(first, second))


def test_a_year_beyond_the_calendar_has_a_next_start() -> None:
    """Of the last year that there is, too."""
    last = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
    assert next_start(last, "year") == last + SECONDS["year"]
