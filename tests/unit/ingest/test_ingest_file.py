"""Bytes to accepted rows and rejects."""

from __future__ import annotations

import gzip
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge.datasets.table_schema import ROW_HASH
from dropforge.errors import RejectedUpload
from dropforge.ingest import duckdb_connection
from dropforge.ingest.ingest_file import ReadingOptions, admit

from ...conftest import repeats


def _rows(admission: Any) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{c}"' for c in admission.schema.names)
    return list(duckdb.sql(f"SELECT {names} FROM read_parquet('{admission.snapshot}')").fetchall())


def test_kinds_are_inferred(admitted: Any, lines: list[str]) -> None:
    """Integers, categories, booleans and dates are told apart; the target is a category."""
    admission = admitted(lines)
    assert {c.name: c.kind for c in admission.schema.columns} == {
        "age": "integer",
        "city": "category",
        "member": "boolean",
        "joined": "datetime",
        "label": "category",
    }
    assert (admission.rows_in, admission.rows_used, admission.rows_quarantined) == (200, 200, 0)


def test_a_declared_type_wins(admitted: Any, lines: list[str]) -> None:
    """data.columns says what the inference cannot know."""
    kinds = {c.name: c.kind for c in admitted(lines, columns={"age": {"type": "category"}}).schema.columns}
    assert kinds["age"] == "category"


def test_the_same_rows_are_the_same_dataset(admitted: Any, lines: list[str], reference: Any) -> None:
    """Line ends, quoting, column order, a mark at the start, gzip and Parquet do not change the id; a changed cell does."""
    plain = admitted(lines, reference)
    reordered = [",".join(reversed(line.split(","))) for line in lines]
    quoted = [",".join(f'"{c}"' for c in line.split(",")) for line in lines]
    body = ("\n".join(lines) + "\n").encode()
    same = [
        admitted("\r\n".join(lines).encode(), reference),
        admitted(b"\xef\xbb\xbf" + body, reference),
        admitted(reordered, reference),
        admitted(quoted, reference),
        admitted(gzip.compress(body), reference, name="u.csv.gz"),
        admitted(_parquet(plain), reference, name="u.parquet"),
    ]
    assert {a.dataset_id for a in same} == {plain.dataset_id}
    assert admitted([*lines[:-1], lines[-1].replace("2024", "2023")], reference).dataset_id != plain.dataset_id


def _parquet(admission: Any) -> bytes:
    names = ", ".join(f'"{c}"' for c in admission.schema.names)
    target = admission.snapshot.with_name("again.parquet")
    duckdb.connect().sql(
        f"COPY (SELECT {names} FROM read_parquet('{admission.snapshot}')) TO '{target}' (FORMAT parquet)"
    )
    return bytes(target.read_bytes())


def test_missing_markers_become_null_and_are_counted(admitted: Any, lines: list[str]) -> None:
    """Empty cells, NaN and the settings' markers, each by how it was written."""
    body = [*lines, "?,Oslo,true,2024-01-01,yes", ",Oslo,true,2024-01-01,yes", "NaN,?,true,2024-01-01,no"]
    admission = admitted(body)
    assert admission.missing["age"] == {"(empty)": 1, "NaN": 1, "?": 1}
    assert admission.missing["city"] == {"?": 1}
    assert [r[0] for r in _rows(admission)[-3:]] == [None, None, None]


def test_whole_numbers_of_every_form_keep_their_value(admitted: Any) -> None:
    """In a column of nothing but whole numbers, whose cells one cast reads, as beside a cell that is none."""
    forms = ["7", "+5", "-0", "1.0", "5.", "1e3", "-12E2", "9007199254740993", "-9223372036854775808", "0", "2.50e1"]
    values = [7, 5, 0, 1, 5, 1000, -1200, 9007199254740993, -9223372036854775808, 0, 25]
    lines = ["n,label", *(f"{forms[i % 11]},{'ab'[i % 2]}" for i in range(330))]
    clean, mixed = admitted(lines), admitted([*lines, "x,a"])
    assert {a.schema.column("n").kind for a in (clean, mixed)} == {"integer"}
    assert [r[0] for r in _rows(clean)] == values * 30
    assert (mixed.rows_quarantined, _rows(mixed)) == (1, _rows(clean))


def test_codes_with_leading_zeros_stay_text(admitted: Any, lines: list[str]) -> None:
    """007 is a code; as a number it would lose its zeros."""
    body = [f"{lines[0]},zip", *[f"{line},0{i % 50 + 100}" for i, line in enumerate(lines[1:])]]
    admission = admitted(body)
    assert admission.schema.column("zip").kind == "category"
    assert [(n.code, n.column) for n in admission.notes] == [("codes_kept", "zip")]
    assert _rows(admission)[0][-1] == "0100"


@pytest.mark.parametrize("unit", ["{}%", "{} %", "{} €", "{} 000 €", "0{}%", "${}"])
def test_a_nothing_with_a_unit_is_no_code(admitted: Any, lines: list[str], unit: str) -> None:
    """0 % and 05 % are amounts as 5 % is: what follows a zero is no digit that a number would lose."""
    body = [f"{lines[0]},share", *[f"{line},{unit.format(i % 10)}" for i, line in enumerate(lines[1:])]]
    admission = admitted(body)
    assert admission.schema.column("share").kind in {"integer", "number"}
    assert "codes_kept" not in {n.code for n in admission.notes}


@pytest.mark.parametrize("form", ["0{}", "0 {} 123", "00{}"])
def test_what_begins_with_a_zero_and_a_digit_is_a_code(admitted: Any, lines: list[str], form: str) -> None:
    """Telephone numbers in groups too."""
    body = [f"{lines[0]},code", *[f"{line},{form.format(i % 50 + 100)}" for i, line in enumerate(lines[1:])]]
    assert admitted(body).schema.column("code").kind in {"category", "text"}


def test_integers_beyond_64_bits_are_kept_as_they_are(admitted: Any, lines: list[str]) -> None:
    """No silent float: the column is text, with a note."""
    body = [f"{lines[0]},big", *[f"{line},{9223372036854775807 + i}" for i, line in enumerate(lines[1:])]]
    admission = admitted(body)
    assert admission.schema.column("big").kind in {"category", "text"}
    assert _rows(admission)[-1][-1] == str(9223372036854775807 + 199)
    assert "beyond_int64" in {n.code for n in admission.notes}


def test_infinities_are_missing_with_a_note(admitted: Any, lines: list[str], reference: Any) -> None:
    """The row stays; the cell is NULL."""
    admission = admitted([*lines, "inf,Oslo,true,2024-01-01,yes", "-Infinity,Oslo,true,2024-01-01,no"], reference)
    assert (admission.rows_used, [(n.code, n.count) for n in admission.notes]) == (202, [("infinite", 2)])
    assert [r[0] for r in _rows(admission)[-2:]] == [None, None]


def test_whole_numbers_written_with_a_point_are_integers(admitted: Any, lines: list[str], reference: Any) -> None:
    """39.0 is what other tools write for 39 beside a missing value; 39.5 makes it a column of numbers, with a note."""
    admission = admitted([*lines, "39.0,Oslo,true,2024-01-01,yes", "39.5,Oslo,true,2024-01-01,yes"], reference)
    assert admission.rows_quarantined == 0
    assert admission.schema.column("age").kind == "number"
    assert [(n.code, n.column, n.count) for n in admission.notes] == [("widened", "age", 1)]
    assert [r[0] for r in _rows(admission)[-2:]] == [39.0, 39.5]


def test_text_in_a_numeric_column_is_set_aside_by_line(admitted: Any, lines: list[str], reference: Any) -> None:
    """A cell that does not parse sets its row aside with line, column and the value; the type never flips."""
    body = [
        *lines[:50],
        "old,Oslo,true,2024-01-01,yes",
        *lines[50:],
        '"12\n3",Oslo,true,2024-01-01,yes',
        "40,Oslo,perhaps,2024-01-01,no",
    ]
    admission = admitted(body, reference)
    assert [(r.line, r.column, r.code) for r in admission.first_rejects] == [
        (51, "age", "not_integer"),
        (203, "age", "not_integer"),
        (205, "member", "not_boolean"),
    ]
    assert "'old' is not an integer" in admission.first_rejects[0].reason
    assert admission.schema == reference
    assert admission.rows_in == admission.rows_used + 3


def test_a_column_of_another_type_is_refused_as_a_whole(admitted: Any, lines: list[str], reference: Any) -> None:
    """Setting most rows aside would lose the file quietly: it is rejected, naming column, counts, lines and the way out."""
    with pytest.raises(RejectedUpload) as caught:
        admitted([lines[0], *[f"about {line}" for line in lines[1:]]], reference)
    assert caught.value.code == "type_changed"
    assert "'age'" in caught.value.message
    assert "line 2" in caught.value.message
    assert "data.columns" in caught.value.fix


def test_missing_and_extra_columns_are_facts(admitted: Any, lines: list[str], reference: Any) -> None:
    """A missing feature is all NULL and told; an extra column is left out and told."""
    body = [line.replace("age,", "years,", 1) if i == 0 else line for i, line in enumerate(lines)]
    admission = admitted(body, reference)
    assert (admission.absent_columns, admission.extra_columns) == (("age",), ("years",))
    assert {r[0] for r in _rows(admission)} == {None}


def test_equal_rows_have_equal_hashes(admitted: Any, lines: list[str]) -> None:
    """The row hash is of the content alone."""
    admission = admitted([*lines, lines[1]])
    hashes = [h for (h,) in duckdb.sql(f"SELECT {ROW_HASH} FROM read_parquet('{admission.snapshot}')").fetchall()]
    assert hashes[0] == hashes[-1]
    assert len(set(hashes)) >= 190


def test_rejects_are_harmless_in_a_spreadsheet(admitted: Any, lines: list[str], reference: Any) -> None:
    """A cell that would be a formula is quoted in the exported CSV and kept as it is in the data."""
    admission = admitted([*lines, "=1+1,Oslo,true,2024-01-01,yes", "30,=cmd,true,2024-01-01,yes"], reference)
    exported = admission.rejects_csv.read_text().splitlines()
    assert "'=1+1,Oslo,true,2024-01-01,yes" in exported[1]
    assert _rows(admission)[-1][1] == "=cmd"


def test_duckdb_is_locked_into_its_folder(tmp_path: Path) -> None:
    """It can neither read elsewhere nor be unlocked."""
    secret = tmp_path.parent / "secret.csv"
    secret.write_text("a\n1\n")
    inside = tmp_path / "work"
    inside.mkdir()
    connection = duckdb_connection.connect(inside)
    with pytest.raises(duckdb.Error):
        connection.execute(f"SELECT * FROM read_csv('{secret}')").fetchall()
    with pytest.raises(duckdb.Error):
        connection.execute("SET enable_external_access = true")


cell = st.text(alphabet='ab,;"\n\r 0159.?-', max_size=6)


@pytest.mark.repeated
@hypothesis_settings(
    max_examples=repeats(20, 300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(table=st.lists(st.lists(cell, min_size=1, max_size=7), min_size=1, max_size=12), seed=st.integers(0, 3))
def test_no_row_is_ever_lost(
    admitted: Any, lines: list[str], reference: Any, table: list[list[str]], seed: int
) -> None:
    """Whatever is mixed in, rows in are rows used and rows quarantined, or the file is rejected with a code."""
    broken = [",".join(row) for row in table]
    at = seed * 50
    try:
        admission = admitted([lines[0], *lines[1:at], *broken, *lines[max(at, 1) :]], reference)
    except RejectedUpload as error:
        assert error.code
        assert error.fix
        return
    assert admission.rows_in == admission.rows_used + admission.rows_quarantined
    assert len(_rows(admission)) == admission.rows_used
    assert admission.rows_quarantined == sum(admission.reason_counts.values())


@pytest.mark.parametrize("surplus", [1, *(pytest.param(n, marks=pytest.mark.campaign) for n in (2, 5))])
def test_no_row_of_a_large_file_is_lost_between_buffers(admitted: Any, lines: list[str], surplus: int) -> None:
    """Whatever the file's size is a multiple of: as many rows as lines."""
    body = ("\n".join(lines[1:]) + "\n") * 1700 + "\n".join(lines[1 : 1 + surplus]) + "\n"
    admission = admitted(f"{lines[0]}\n{body}".encode())
    assert admission.rows_in == admission.rows_used == 340_000 + surplus


def test_a_reader_that_loses_a_row_is_caught(admitted: Any, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the buffer size that makes the reader drop rows in silence, the file is refused by the count of its lines."""
    from dropforge.ingest import text_table

    monkeypatch.setattr(text_table, "_aligned", lambda _size: 1_350_451)
    with pytest.raises(RejectedUpload) as caught:
        admitted(f"{lines[0]}\n{chr(10).join(lines[1:] * 1700)}\n".encode())
    assert caught.value.code == "rows_lost"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_empty_lines_are_no_lost_rows(admitted: Any, lines: list[str], ends: str) -> None:
    """Empty lines between rows are passed over, whatever the line ends; every row is still there."""
    rows = [lines[0], *lines[1:50], "", *lines[50:], ""]
    admission = admitted((ends.join(rows) + ends).encode())
    assert admission.rows_in == admission.rows_used == len(lines) - 1


def test_a_short_read_of_a_file_with_cr_ends_is_caught(
    admitted: Any, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that end with CR LF are counted too: rows the reader would drop are noticed."""
    from dropforge.ingest import file_format

    counted = file_format._check_utf8
    monkeypatch.setattr(file_format, "_check_utf8", lambda path: {**(result := counted(path)), "lf": result["lf"] + 1})
    with pytest.raises(RejectedUpload) as caught:
        admitted(("\r\n".join(lines) + "\r\n").encode())
    assert caught.value.code == "rows_lost"


@pytest.mark.parametrize("marker", ["NaN", "(empty)"])
def test_a_marker_called_like_a_built_in_one_changes_nothing(admitted: Any, lines: list[str], marker: str) -> None:
    """`nan`, an empty cell and the marker all mean missing, whatever the marker's name."""
    rows = [lines[0], *lines[1:100], "nan,Bern,true,2024-01-01,yes", ",Oslo,true,2024-01-02,no", *lines[100:]]
    rows.append(f"{marker},Rome,true,2024-01-03,no")
    admission = admitted(rows, missing_markers=[marker])
    assert sum(r[0] is None for r in _rows(admission)) == 3


@pytest.mark.parametrize("in_memory", [False, True], ids=["from_the_file", "in_memory"])
def test_lines_are_told_right_where_the_order_is_not_kept(
    tmp_path: Path, lines: list[str], reference: Any, data: Any, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that returns rows as they come names the same lines and keeps the same rows as an ordered one."""
    monkeypatch.setattr("dropforge.ingest.open_file._SMALL_BYTES", 2**60 if in_memory else 0)
    body = lines[1:] * 1000
    for n in (7, 70_000, 140_000, 199_999):
        body[n] = body[n].replace("20", "old", 1) if body[n].startswith("20") else f"old{body[n]}"
    matches = []
    for ordered in (True, False):
        folder = tmp_path / str(ordered)
        folder.mkdir()
        (folder / "u.csv").write_text("\n".join([lines[0], *body]) + "\n")
        with closing(duckdb_connection.connect(folder, threads=4, ordered=ordered)) as connection:
            file = folder / "u.csv"
            done = admit(
                file,
                data=data,
                reference=reference,
                workdir=folder,
                connection=connection,
                options=ReadingOptions(keep=False),
            )
            listed = ", ".join(reference.names)
            rows = connection.execute(
                f"SELECT {listed}, count(*) FROM {done.table} GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        matches.append((done.first_rejects, done.rows_used, rows))
    assert matches[0] == matches[1]
    assert [r.line for r in matches[1][0]] == [9, 70_002, 140_002, 200_001]


@pytest.mark.parametrize(
    "shape", ["a line a record", "an empty line", "a field in quotes", "no line end", "empty lines above"]
)
def test_a_rejected_row_has_its_line_whatever_stands_around_it(admitted: Any, lines: list[str], shape: str) -> None:
    """Rows that cannot be read, beside lines that are no rows; both are named by where they stand."""
    text = list(lines)
    wrong = {
        3: "old,Bern,true,2024-01-01,yes",
        4: "1,2",
        90: "1,2,3,4,5,6",
        91: "old,Rome,true,2024-01-01,no",
        200: "x,Rome,true,2024-01-01,no",
    }
    for place, line in wrong.items():
        text[place] = line
    if shape == "an empty line":
        text.insert(50, "")
    elif shape == "a field in quotes":
        text[10] = text[10].replace(text[10].split(",")[1], '"' + text[10].split(",")[1] + '"')
    elif shape == "empty lines above":
        text[:0] = ["", ""]
    body = "\n".join(text) + ("" if shape == "no line end" else "\n")
    declared = {lines[0].split(",")[0]: {"type": "integer"}}
    admission = admitted(body.encode(), limits={"max_quarantined_share": 0.5}, columns=declared)
    expected = [n for n, line in enumerate(text, 1) if line in wrong.values()]
    assert [r.line for r in admission.first_rejects] == expected
    assert [c.kind for c in admission.schema.columns] == ["integer", "category", "boolean", "datetime", "category"]
