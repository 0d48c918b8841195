"""A quote that opens a field and does not close costs its own row, whatever stands around it."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge.errors import RejectedUpload
from dropforge.ingest import many_files, rejected_rows, text_table, unpaired_quotes
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import ReadingOptions, admit
from dropforge.ingest.rejected_rows import Reject
from dropforge.ingest.sharded_file import in_turn
from dropforge_cli.infer_settings import guess

from .conftest import settings

_HEADER = "item,n,size,note,y"
_DATA: dict[str, Any] = {
    "target": "y",
    "columns": {c: {"type": "text" if c == "note" else "category"} for c in ("item", "note")},
    "limits": {"max_quarantined_share": 0.5},
}


def _line(k: int, **cells: str) -> str:
    usual = {"item": f"rod {k}", "n": str(k), "size": f"{k}.5", "note": "as usual", "y": "ab"[k % 2]}
    return ",".join({**usual, **cells}.values())


def _file(*changed: tuple[int, str], end: str = "\n", rows: int = 40) -> bytes:
    """A table whose k-th row (from 0, on line k + 2) is another one."""
    lines = [_line(k) for k in range(rows)]
    for k, line in changed:
        lines[k] = line
    return (end.join([_HEADER, *lines]) + end).encode()


def _read(
    content: bytes, folder: Path, **limits: Any
) -> tuple[text_table.Source, list[list[str | None]], list[Reject]]:
    """The file as every reader has it: its source, the cells of its rows in order, the rows of a wrong form."""
    file = folder / "u.csv"
    file.write_bytes(content)
    data = settings(**{**_DATA, "limits": {**_DATA["limits"], **limits}}).data
    with closing(connect(folder, threads=4)) as connection:
        source = text_table.open_source(file, folder, connection, data, None)
        rows = connection.execute(f"SELECT * FROM {source.relation}").fetchall()
        return source, [list(row) for row in rows], rejected_rows.of_form(source, 1000)


def _numbers(rows: list[list[str | None]]) -> list[int]:
    return [int(row[1] or -1) for row in rows]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param([(9, _line(9, item='"6 rod'))], id="first cell"),
        pytest.param([(9, _line(9, y='"a'))], id="last cell"),
        pytest.param([(9, _line(9, note='"as usual'))], id="middle cell"),
        pytest.param([(9, _line(9, note=' "as usual'))], id="behind a space"),
        pytest.param([(9, _line(9, note='"six" inches'))], id="text behind the closing quote"),
        pytest.param([(9, _line(9, note='"six" inches, "or 7'))], id="several in one row"),
        pytest.param(
            [(9, _line(9, item='"6 rod')), (10, _line(10, item='"7 rod'))], id="two rows, one below the other"
        ),
        pytest.param([(9, _line(9, item='"6 rod')), (30, _line(30, note='"7 rod'))], id="two rows, far apart"),
        pytest.param([(39, _line(39, y='"b'))], id="last row"),
        pytest.param([(0, _line(0, item='"6 rod'))], id="first row"),
        pytest.param([(9, _line(9, item='""6 rod'))], id="two quotes"),
        pytest.param([(9, '"6 rod')], id="too few fields"),
    ],
)
def test_the_row_of_a_quote_that_does_not_close_is_quarantined_alone(
    tmp_path: Path, changed: list[tuple[int, str]], end: str
) -> None:
    """With its line, the reason and its text; every other row is used."""
    _, rows, rejects = _read(_file(*changed, end=end), tmp_path)
    expected = [Reject(k + 2, "", "quotes", unpaired_quotes.REASON, line) for k, line in changed]
    assert rejects == expected
    assert _numbers(rows) == sorted(set(range(40)) - {k for k, _ in changed})


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(_line(30, item='rod 8"'), id="in the same column"),
        pytest.param(_line(30, note='8"'), id="in another column"),
    ],
)
def test_rows_between_two_inch_marks_are_rows(tmp_path: Path, last: str) -> None:
    """A quote that opens in one row and would close in another one takes none of the rows between with it."""
    _, rows, rejects = _read(_file((9, _line(9, item='"6 rod')), (30, last)), tmp_path)
    assert [r.line for r in rejects] == [11]
    assert len(rows) == 39


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param('"Dear all\nthe rod, 6 inches, broke\nbye"', id="line ends"),
        pytest.param('"a ""quoted"" word, and\n""another"""', id="doubled quotes"),
        pytest.param('"1,2,3,4\n5,6"', id="figures"),
        pytest.param('5" pipe, 6"'.replace(", ", " "), id="inch marks inside"),
        pytest.param(' "spaces around" ', id="spaces"),
        pytest.param('""', id="empty"),
    ],
)
def test_well_formed_quotes_cost_nothing(tmp_path: Path, cell: str) -> None:
    """Texts with line ends, doubled quotes and inch marks that are no opening quote stay what they are."""
    _, rows, rejects = _read(_file((9, _line(9, note=cell)), (20, _line(20, item='"rod, long"'))), tmp_path)
    assert (len(rows), rejects) == (40, [])
    expected = next(csv.reader(io.StringIO(cell, newline=""), skipinitialspace=True))[0]
    assert (rows[9][3] or "").strip() == expected.strip()


def test_a_cell_of_lines_that_may_be_rows_is_said(tmp_path: Path) -> None:
    """Where nothing tells whether lines between two quotes are rows they stay one row, and the report says which."""
    lines = ["a,b", *(f"word {k},{'xy'[k % 2]}" for k in range(30)), '"one,x', 'two",y']
    source, rows, rejects = _read(("\n".join(lines) + "\n").encode(), tmp_path)
    assert (len(rows), rejects) == (31, [])
    assert any("lines 32 to 33 are one row" in message for _, message in source.notes)


def test_a_quote_that_opens_in_the_header_is_refused(tmp_path: Path) -> None:
    """Without a header there is no table: the file is refused, and the line named."""
    with pytest.raises(RejectedUpload, match="header") as refused:
        _read(_file().replace(b"item", b'"item', 1), tmp_path)
    assert refused.value.code == "unclosed_quote"


def test_an_inch_mark_in_a_name_is_a_character(tmp_path: Path) -> None:
    """A quote within a name opens nothing, and the row below the header is a row."""
    source, rows, _ = _read(_file().replace(b"size", b'size 5"', 1), tmp_path)
    assert 'size 5"' in source.header
    assert len(rows) == 40


def test_more_than_may_be_quarantined_are_refused(tmp_path: Path) -> None:
    """A file of nothing but such rows is refused, with the first lines, after a bounded number of them."""
    with pytest.raises(RejectedUpload, match=r"lines 2, 3, 4") as refused:
        _read(_file(*((k, _line(k, item='"6 rod')) for k in range(40))), tmp_path)
    assert refused.value.code == "too_many_bad_rows"


_CELL = st.text(st.sampled_from('ab",\n '), max_size=5).map(lambda t: f"a{t}" if t else t)


@st.composite
def _tables(draw: st.DrawFn) -> tuple[bytes, dict[int, str], list[int]]:
    """A text, its malformed lines, and the numbers of its other rows."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    out, damaged, clean, line = [_HEADER], dict[int, str](), list[int](), 2
    for k in range(draw(st.integers(8, 30))):
        item, note = draw(_CELL), draw(_CELL)
        if k > 4 and draw(st.integers(0, 5)) == 0:
            column = draw(st.sampled_from(["item", "note", "y"]))
            row = _line(k, **{column: '"c' + draw(st.text(st.sampled_from("ab c"), max_size=5))})
            damaged[line] = row
        else:
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerow([item, k, f"{k}.5", note, "ab"[k % 2]])
            row = text.getvalue()[:-1].replace("\n", end)
            clean.append(k)
        out.append(row)
        line += 1 + row.count("\n")
    return (end.join(out) + end).encode(), damaged, clean


def test_any_rows_beside_them_are_read_as_if_they_were_not_there(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Property: rows with quoted delimiters, quotes and line ends around rows with an opening quote only, read by several threads that
    begin in the middle of the text; the malformed lines are quarantined and the others are rows.
    """
    monkeypatch.setattr(text_table, "_buffer", lambda *_, **__: 4096)

    @given(_tables())
    @hypothesis_settings(max_examples=12, deadline=None)
    def check(table: tuple[bytes, dict[int, str], list[int]]) -> None:
        content, damaged, clean = table
        folder = tmp_path_factory.mktemp("table")
        _, rows, rejects = _read(content, folder, max_quarantined_share=0.9, max_field_bytes=1000)
        assert {r.line: r.raw for r in rejects} == damaged
        assert _numbers(rows) == clean

    check()


@pytest.mark.parametrize("shard_bytes", [700, 10**9])
def test_an_upload_uses_the_rows_beside_them(tmp_path: Path, shard_bytes: int) -> None:
    """Read at once or shard by shard: every row is used or quarantined, with its line."""
    changed = [(9, _line(9, item='"6 rod')), (21, _line(21, note='"six, inches')), (30, _line(30, note='8"'))]
    file = tmp_path / "u.csv"
    file.write_bytes(_file(*changed))
    data = settings(**{**_DATA, "limits": {**_DATA["limits"], "shard_bytes": shard_bytes}}).data
    options = ReadingOptions(read_shards=in_turn(lambda *_: None))
    done = admit(file, data=data, reference=None, workdir=tmp_path, options=options)
    assert bool(done.shards) == (shard_bytes == 700)
    assert [(r.line, r.code, r.raw) for r in done.first_rejects] == [(k + 2, "quotes", line) for k, line in changed[:2]]
    assert (done.rows_in, done.rows_used) == (40, 38)


def test_parts_of_a_folder_keep_theirs(tmp_path: Path) -> None:
    """Joined to one file, parts with such rows give their other rows; the next part begins with its first row."""
    folder, work = tmp_path / "parts", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "a.csv").write_bytes(_file((39, _line(39, y='"a'))))
    (folder / "b.csv").write_bytes(_file((0, _line(0, item='"6 rod'))))
    joined = many_files.whole([str(folder)], work, settings(**_DATA).data)
    _, rows, rejects = _read(joined.file.read_bytes(), tmp_path)
    assert [r.raw for r in rejects] == [_line(39, y='"a'), _line(0, item='"6 rod')]
    assert _numbers(rows) == [*range(39), *range(1, 40)]


def test_init_describes_the_rows_beside_them(tmp_path: Path) -> None:
    """A file with such a row is described by its other rows: the columns' kinds are theirs."""
    file = tmp_path / "u.csv"
    sizes = [(k, _line(k, size=str(k % 7))) for k in range(40)]
    file.write_bytes(_file(*sizes, (3, _line(3, item='"6 rod')), (30, _line(30, note='8"'))))
    (tmp_path / "work").mkdir()
    result = guess(file, tmp_path / "work", target="y")
    assert (result.rows, {c.name: c.kind for c in result.columns}["n"]) == (39, "integer")
