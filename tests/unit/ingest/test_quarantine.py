"""Rows quarantined can be read back as they were, corrected, and sent in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropforge.config.settings import DataSettings
from dropforge.errors import InvalidRequest, NotFound
from dropforge.ingest import quarantine
from dropforge.ingest.ingest_file import admit
from dropforge_local.memory import MemoryStore

BUCKET = "data"
BODY = (
    'age,note,label\n1,plain,yes\n2,"=1+1, he said ""hi""",no,extra\n3,short\n4,fine,no\nx,bad age,yes\n'
    + "5,fill,no\n" * 300
)


@pytest.fixture
def kept(tmp_path: Path) -> MemoryStore:
    """A store with the quarantine of upload `u1`."""
    file = tmp_path / "f.csv"
    file.write_text(BODY)
    store = MemoryStore()
    data = DataSettings(target="label")
    quarantine.write(store, BUCKET, "u1", admit(file, data=data, reference=None, workdir=tmp_path))
    return store


def test_rows_come_back_as_they_were(kept: MemoryStore) -> None:
    """Line, reason and the exact text, formula signs included."""
    result = quarantine.read(kept, BUCKET, "u1")
    assert result.header == ("age", "note", "label")
    assert [r.line for r in result.rows] == [3, 4, 6]
    assert result.rows[0].raw == '2,"=1+1, he said ""hi""",no,extra'
    assert "4 fields where the header has 3" in result.rows[0].reason
    assert result.rows[2].column == "age"


def test_a_corrected_row_is_a_file_with_the_header(kept: MemoryStore) -> None:
    """Only the rows that were corrected are in it; quotes survive."""
    result = quarantine.read(kept, BUCKET, "u1")
    text = quarantine.corrected(result, {3: '2,"=1+1, he said ""hi""",no', 6: "7,bad age,yes"})
    assert text.decode() == 'age,note,label\n2,"=1+1, he said ""hi""",no\n7,bad age,yes\n'


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ({}, "no_rows"),
        ({2: "1,2,3"}, "line_unknown"),
        ({3: "1,2"}, "row_width"),
        ({3: "1,2,3\n4,5,6"}, "row_form"),
        ({3: '1,"2,3'}, "row_form"),
    ],
)
def test_a_wrong_correction_is_refused(kept: MemoryStore, lines: dict[int, str], code: str) -> None:
    """Nothing is sent in unless it is rows that were quarantined, each as wide as the header."""
    with pytest.raises(InvalidRequest) as error:
        quarantine.corrected(quarantine.read(kept, BUCKET, "u1"), lines)
    assert error.value.code == code


def test_nothing_set_aside_is_not_found(kept: MemoryStore) -> None:
    """Another upload's id names the way to the list."""
    with pytest.raises(NotFound, match="u2"):
        quarantine.read(kept, BUCKET, "u2")
