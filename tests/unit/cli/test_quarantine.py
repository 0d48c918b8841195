"""quarantine fix and replay: rows travel through a spreadsheet and back."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropforge.ingest import rejected_rows
from dropforge_cli.commands import quarantine

from ...conftest import repeats

_CELLS = st.text(alphabet="=+-@'.0123456789e, \"ab;", max_size=6).map(str.strip)


@pytest.mark.repeated
@settings(max_examples=repeats(25, 300), deadline=None)
@given(st.lists(_CELLS, min_size=2, max_size=3).filter(any))
def test_a_row_comes_back_as_it_was(row: list[str]) -> None:
    """The apostrophes that keep a spreadsheet from running a cell are gone when the row is sent in again."""
    shown = [rejected_rows.harmless(cell) for cell in row]
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\n").writerow(shown)
    sent = quarantine._without_apostrophes(text.getvalue().encode(), ";").decode()
    assert list(csv.reader(io.StringIO(sent, newline=""), delimiter=";")) == [row]


def test_what_is_no_table_is_left_to_admission() -> None:
    """Bytes that are no text are sent as they are."""
    assert quarantine._without_apostrophes(b"\xff\xfe;1\n", ";") == b"\xff\xfe;1\n"
