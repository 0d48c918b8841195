"""What `init` proposes for the held-out rows: time where dates order them, groups where an identifier repeats; with a reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dropforge.config import settings
from dropforge_cli import settings_writer
from dropforge_cli.infer_settings import Guess, guess

Guessed = Callable[[list[dict[str, object]]], Guess]


@pytest.fixture
def guessed(tmp_path: Path) -> Guessed:
    """Guess about rows, and check that what `init` writes is read back as the same split."""

    def run(rows: list[dict[str, object]]) -> Guess:
        (tmp_path / "work").mkdir()
        file = tmp_path / "my.csv"
        lines = [",".join(map(str, rows[0])), *(",".join(str(v) for v in r.values()) for r in rows)]
        file.write_text("\n".join(lines) + "\n")
        result = guess(file, tmp_path / "work")
        written = settings.load(settings_writer.write(result, "mine", "my.csv")).split
        assert (written.by, written.column or "") == (result.split.by, result.split.column)
        assert written.holdout == 0.2
        return result

    return run


def _rows(count: int = 240, **more: Callable[[int], object]) -> list[dict[str, object]]:
    rng = random.Random(5)
    extra = [{name: make(i) for name, make in more.items()} for i in range(count)]
    return [{**e, "x": round(rng.random(), 3), "churn": rng.choice(["yes", "no"])} for e in extra]


def _day(i: int) -> str:
    return (datetime(2024, 1, 1) + timedelta(days=i)).date().isoformat()  # noqa: DTZ001 - a date of a table


@pytest.mark.parametrize("way", [1, -1])
def test_dates_that_rise_or_fall_order_the_rows(guessed: Guessed, way: int) -> None:
    """Whatever the column is called."""
    result = guessed(_rows(stamp_x=lambda i: _day(way * i)))
    assert (result.split.by, result.split.column) == ("time", "stamp_x")
    assert any("held out by time" in c and "split: {by: random}" in c for c in result.checks)


def test_a_date_named_for_what_happened_counts_in_any_order(guessed: Guessed) -> None:
    """Exports are rarely sorted."""
    result = guessed(_rows(order_date=lambda i: _day(i * 37 % 240)))
    assert (result.split.by, result.split.column) == ("time", "order_date")


def test_a_time_goes_before_its_day(guessed: Guessed) -> None:
    """Of two columns that order the rows the finer one is taken."""
    result = guessed(_rows(date=lambda i: _day(i // 2), time=lambda i: f"{_day(i // 2)} {12 * (i % 2):02d}:00:00"))
    assert result.split.column == "time"


@pytest.mark.parametrize("name", ["birth_date", "joined"])
def test_dates_that_say_nothing_of_the_row_do_not_split_it(guessed: Guessed, name: str) -> None:
    """A birthday is no time of a row; of other dates a person is told how to use them."""
    result = guessed(_rows(**{name: lambda i: _day(i * 37 % 240)}))
    assert result.split.by == "random"
    assert any("split: {by: time, time: joined}" in c for c in result.checks) == (name == "joined")


@pytest.mark.parametrize(
    "more",
    [{"year": lambda i: 1990 + i // 20}, {"year": lambda i: 1990 + i % 12, "month": lambda i: 1 + i % 7}],
    ids=["in_order", "beside_months"],
)
def test_years_order_rows_where_there_are_no_dates(guessed: Guessed, more: dict[str, Callable[[int], object]]) -> None:
    """A column called year with years in it: in the order of the rows, or beside the month."""
    assert guessed(_rows(**more)).split.column == "year"


def test_a_year_alone_and_out_of_order_orders_nothing(guessed: Guessed) -> None:
    """It may be the year a car was built in: rows are held out at random, and a sentence says what to do otherwise."""
    split = guessed(_rows(year=lambda i: 1990 + i % 12)).split
    assert split.by == "random"
    assert "split: {by: time, time: year}" in split.checks[0]


@pytest.mark.parametrize("name", ["policyID", "customer_id", "patient"])
def test_an_identifier_that_repeats_keeps_its_rows_together(guessed: Guessed, name: str) -> None:
    """It is no feature then, and the reason says how often it repeats."""
    result = guessed(_rows(**{name: lambda i: 1000 + i // 3}))
    assert (result.split.by, result.split.column) == ("group", name)
    assert name in result.ignored
    assert "80 values, 3.0 rows of each" in result.split.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [("customer_id", lambda i: i * 7 + 3), ("store_id", lambda i: i % 9), ("height", lambda i: 150 + i % 60)],
)
def test_what_does_not_repeat_or_has_few_values_is_no_group(
    guessed: Guessed, name: str, value: Callable[[int], object]
) -> None:
    """Another value in every row, a handful of stores, a measurement."""
    assert guessed(_rows(**{name: value})).split.by == "random"


def test_time_goes_before_a_group_and_says_so(guessed: Guessed) -> None:
    """Who knows the future of a customer knows the customer."""
    result = guessed(_rows(day=_day, customer_id=lambda i: 1000 + i // 3))
    assert result.split.by == "time"
    assert any("customer_id repeats, too" in c for c in result.checks)
