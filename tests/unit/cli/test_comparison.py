"""dropforge.compare: two tables in, a value that a notebook and a terminal show."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
import pytest

import dropforge
from dropforge.errors import InvalidRequest


def _frame(rows: int, shift: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [20 + (i * 7) % 50 + shift for i in range(rows)],
            "city": [("Bern", "Oslo", "<b>")[i % 3] for i in range(rows)],
            "label": [("no", "yes")[(i * 5) % 7 % 2] for i in range(rows)],
        }
    )


def test_two_frames_are_compared(tmp_path: Path) -> None:
    """Verdict and drifted columns as values; the same from files; the page can be saved."""
    result = dropforge.compare(_frame(400, 0), _frame(400, 15), target="label")
    assert result.drifted == ["age"]
    assert result.verdict == "warn"
    assert repr(result).startswith("verdict: warn\n")
    files = [tmp_path / n for n in ("a.csv", "b.csv")]
    for file, shift in zip(files, (0, 15), strict=True):
        _frame(400, shift).to_csv(file, index=False)
    again = dropforge.compare(str(files[0]), files[1], target="label")
    assert again.report.columns == result.report.columns
    assert again.save(tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_a_notebook_shows_the_report_in_a_frame_of_its_own() -> None:
    """The whole page, escaped once; its script may run, and nothing of it reaches the notebook."""
    result = dropforge.compare(_frame(100, 0), _frame(100, 0), target="label")
    shown = result._repr_html_()
    assert shown.count("<") == 2
    assert 'sandbox="allow-scripts"' in shown
    inside = shown.partition('srcdoc="')[2].rpartition('"></iframe>')[0]
    assert html.unescape(inside) == result.html()


@pytest.mark.parametrize(("table", "words"), [("gone.csv", "no file"), (7, "no table")])
def test_what_is_no_table_is_refused(table: object, words: str) -> None:
    """With what would do."""
    with pytest.raises(InvalidRequest, match=words) as raised:
        dropforge.compare(table, table)
    assert raised.value.fix


def test_the_core_itself_loads_nothing_of_it() -> None:
    """An unknown name is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="compared"):
        _ = dropforge.compared
