"""Files as they are found in the wild: each is read, or refused with advice that works."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dropforge.config.settings import DataSettings, load
from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest.ingest_file import admit
from dropforge_cli.infer_settings import guess


def _column(admission: Any, name: str) -> list[Any]:
    return [v for (v,) in duckdb.sql(f"SELECT \"{name}\" FROM read_parquet('{admission.snapshot}')").fetchall()]


def _with(lines: list[str], column: str, values: list[str], delimiter: str = ",") -> list[str]:
    """The table with one more column, whose values repeat."""
    rows = [f"{line.replace(',', delimiter)}{delimiter}{values[i % len(values)]}" for i, line in enumerate(lines[1:])]
    return [f"{lines[0].replace(',', delimiter)}{delimiter}{column}", *rows]


# --- what training would refuse ----------------------------------------------------------------------------------------
def test_a_class_that_one_row_has_is_quarantined(admitted: Any, lines: list[str], reference: Schema) -> None:
    """With its line and value, in the first file and in later ones; a rare class of the reference stays."""
    typo = [*lines, "30,Oslo,true,2024-01-01,yse"]
    for admission in (admitted(typo), admitted(typo, reference)):
        assert [(r.line, r.column, r.code) for r in admission.first_rejects] == [(202, "label", "class_of_one_row")]
        assert "'yse'" in admission.first_rejects[0].reason
    few = [line for line in lines if not line.endswith(",no")]
    admission = admitted([*few, "30,Oslo,true,2024-01-01,no"], reference)
    assert (admission.rows_quarantined, admission.untrained) == (0, "")


@pytest.mark.parametrize("value", ["1e39", "-1e300", "1e400", "3.5e38"])
def test_a_number_beyond_float32_is_quarantined(admitted: Any, lines: list[str], value: str) -> None:
    """No model computes with it; the file is used without the row, be it the first one or not."""
    table = _with(lines, "pay", ["1.5", "2.5"])
    body = [*table, f"30,Oslo,true,2024-01-01,yes,{value}"]
    for reference in (None, admitted(table).schema):
        admission = admitted(body, reference)
        assert [(r.line, r.code) for r in admission.first_rejects] == [(202, "beyond_float32")]
        assert value in admission.first_rejects[0].reason


def test_a_column_beyond_float32_is_text_with_a_note(admitted: Any, lines: list[str]) -> None:
    """Its numbers are codes at best."""
    admission = admitted(_with(lines, "far", ["1e200", "-1e200", "5"]))
    assert admission.schema.column("far").kind == "category"
    assert "beyond_float32" in {n.code for n in admission.notes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [r for r in rows if not r.endswith(",no")], "the class 'yes'"),
        (lambda rows: [rows[0], *(r.rpartition(",")[0] + "," for r in rows[1:])], "no row has a value"),
        (lambda rows: [r.rpartition(",")[0] for r in rows], "no row has a value"),
    ],
    ids=["one-class", "no-labels", "no-target"],
)
def test_rows_that_teach_nothing_alone_are_compared_not_rejected(
    admitted: Any, lines: list[str], reference: Schema, change: Any, message: str
) -> None:
    """A day without a positive, labels that come later: every row is used, and it is said why none is trained on."""
    admission = admitted(change(lines), reference)
    assert message in admission.untrained
    assert admission.rows_quarantined == 0
    assert admission.schema.names == reference.names
    with pytest.raises(RejectedUpload):
        admitted(change(lines))  # nothing to compare a first file with


# --- rules of data.columns ---------------------------------------------------------------------------------------------
def test_rows_outside_a_declared_rule_are_quarantined(admitted: Any, lines: list[str], reference: Schema) -> None:
    """min, max and categories: with line, value and the rule."""
    rules = {"age": {"min": 10, "max": 90}, "city": {"categories": ["Bern", "Oslo", "Rome"]}}
    body = [*lines, "9,Oslo,true,2024-01-01,yes", "91,Oslo,true,2024-01-01,no", "30,Paris,true,2024-01-01,no"]
    for known in (None, reference):
        admission = admitted(body, known, columns=rules)
        assert [(r.line, r.code) for r in admission.first_rejects] == [
            (202, "below_minimum"),
            (203, "above_maximum"),
            (204, "not_a_category"),
        ]
        assert "'91' is above the maximum 90" in admission.first_rejects[1].reason


def test_a_rule_for_another_kind_of_column_is_said(admitted: Any, lines: list[str]) -> None:
    """A key of settings.yaml that does nothing is a mistake."""
    admission = admitted(lines, columns={"city": {"min": 1}})
    assert [(n.code, n.column) for n in admission.notes] == [("rule_unused", "city")]


# --- advice ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["1", "2"], ["true", "false"]),
        (["1", "2"], ["2024-01-01", "2024-01-02"]),
        (["2024-01-01", "2024-01-02"], ["soon", "late"]),
        (["true", "false"], ["1.5", "2.5"]),
        (["1.5", "2.5"], ["a", "b"]),
    ],
)
def test_the_type_that_a_rejection_advises_is_accepted(
    admitted: Any, lines: list[str], before: list[str], after: list[str]
) -> None:
    """The advice, put into settings.yaml as it is printed, lets the same file in."""
    import yaml

    reference = admitted(_with(lines, "odd: x", before)).schema
    with pytest.raises(RejectedUpload) as caught:
        admitted(_with(lines, "odd: x", after), reference)
    assert caught.value.code == "type_changed"
    advised = yaml.safe_load(caught.value.fix.partition("data.columns: ")[2])
    admission = admitted(_with(lines, "odd: x", after), reference, columns=advised)
    assert (admission.rows_used, admission.schema.column("odd: x").kind) == (200, advised["odd: x"]["type"])


def test_the_encoding_that_a_rejection_advises_is_accepted(admitted: Any, lines: list[str]) -> None:
    """A file of Windows is read with its euro sign."""
    body = "\n".join(_with(lines, "price", ["<\u20ac50", "\u20ac50\u2013100"])).encode("cp1252")
    with pytest.raises(RejectedUpload, match="UTF-8") as caught:
        admitted(body)
    assert "cp1252" in caught.value.fix
    assert set(_column(admitted(body, csv={"encoding": "cp1252"}), "price")) == {"<\u20ac50", "\u20ac50\u2013100"}


# --- how numbers are written -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "delimiter", "read"),
    [
        (["1,5", "2,25"], ";", [1.5, 2.25]),
        (["0"] * 99 + ["1,5"], ";", [0.0, 1.5]),
        (["2.941,00", "17,5"], ";", [2941.0, 17.5]),
        (["2.941,00", "1.234"], ";", [2941.0, 1234.0]),
        (["1,234", "2,345"], ";", [1.234, 2.345]),
        (['"1,5"', '"2,25"'], ",", [1.5, 2.25]),
        (['"1,234"', '"12"'], ",", [1234.0, 12.0]),
        (['"1,234.50"', '"2"'], ",", [1234.5, 2.0]),
        (["3.11", "3.12"], ";", [3.11, 3.12]),
        (["$5", "$6.50"], ",", [5.0, 6.5]),
        (["$5", '"$1,234.50"', "7"], ",", [5.0, 7.0, 1234.5]),
        (["1.234,50 €", "17 €"], ";", [17.0, 1234.5]),
        (["EUR 1.234,50", "-EUR 17"], ";", [-17.0, 1234.5]),
        (["12%", "7.5 %"], ",", [7.5, 12.0]),
        (["(5.25)", "7"], ",", [-5.25, 7.0]),
        (["−5", "7"], ",", [-5.0, 7.0]),
        (["12.50-", "7"], ",", [-12.5, 7.0]),
        (["1 234,5", "7"], ";", [7.0, 1234.5]),
        (["1'234.50", "7"], ",", [7.0, 1234.5]),
    ],
)
def test_a_column_says_over_the_whole_file_how_it_writes_numbers(
    admitted: Any, lines: list[str], values: list[str], delimiter: str, read: list[float]
) -> None:
    """Whatever the other columns do, and however late the first comma comes."""
    admission = admitted(
        _with(_with(lines, "version", ["3.11"]), "x", values, delimiter)
        if delimiter == ";"
        else _with(lines, "x", values)
    )
    assert admission.schema.column("x").numeric
    assert sorted(set(_column(admission, "x"))) == sorted(read)


def test_a_later_file_is_read_as_the_reference_writes_numbers(admitted: Any, lines: list[str]) -> None:
    """1.234 alone could be read in two ways; the reference, or settings.yaml, says which."""
    reference = admitted(_with(lines, "x", ["2.941,00", "17,5"], ";")).schema
    assert _column(admitted(_with(lines, "x", ["1.234"], ";"), reference), "x")[0] == 1234.0
    assert _column(admitted(_with(lines, "x", ["1.234", "0.5"], ";"), reference), "x")[0] == 1.234
    declared = {"x": {"number_format": "1.234,5"}}
    assert _column(admitted(_with(lines, "x", ["1.234", "5"], ";"), columns=declared), "x")[0] == 1234.0


@pytest.mark.parametrize(
    "values",
    [
        ["$5", "€6"],
        ["(5)", "(6)"],
        ["555 123 456", "555 123 457"],
        ["ABC123", "ABC7"],
        ["5 kg", "7 kg"],
        ["$5", "n/a", "free"],
    ],
)
def test_codes_and_mixed_units_stay_text(admitted: Any, lines: list[str], values: list[str]) -> None:
    """No number is made of what may be a code, and none of amounts in two currencies."""
    assert not admitted(_with(lines, "x", values)).schema.column("x").numeric


def test_a_unit_that_is_declared_is_read(admitted: Any, lines: list[str]) -> None:
    """Any unit, as settings.yaml shows it."""
    declared = {"x": {"number_format": "1234.5 kg"}}
    admission = admitted(_with(lines, "x", ["5 kg", "7kg", "9"]), columns=declared)
    assert sorted(set(_column(admission, "x"))) == [5.0, 7.0, 9.0]


def test_a_later_file_may_leave_the_unit_out_and_not_change_it(admitted: Any, lines: list[str]) -> None:
    """Euros among dollars are quarantined; so are percents in a column of plain numbers, which may be shares."""
    dollars = admitted(_with(lines, "x", ["$5", "$6.50"])).schema
    assert sorted(set(_column(admitted(_with(lines, "x", ["5", '"$1,200.50"']), dollars), "x"))) == [5.0, 1200.5]
    assert [r.code for r in admitted([*_with(lines, "x", ["$5"])[:-1], lines[-1] + ",€7"], dollars).first_rejects] == [
        "not_number"
    ]
    plain = admitted(_with(lines, "x", ["0.05", "0.25"])).schema
    with pytest.raises(RejectedUpload) as caught:
        admitted(_with(lines, "x", ["5%", "25%"]), plain)
    assert caught.value.code == "type_changed"


def test_amounts_with_a_unit_are_the_rows_of_plain_numbers(admitted: Any, lines: list[str]) -> None:
    """The dataset's id is of values, however they are written."""
    plain = admitted(_with(lines, "x", ["1234.5", "-7"]))
    for written in (['"$1,234.50"', "($7)"], ["1234.50 €", "−7 €"], ["1'234.5 CHF", "CHF -7"]):
        assert admitted(_with(lines, "x", written)).dataset_id == plain.dataset_id


def test_a_column_with_both_forms_stays_text_and_is_said(admitted: Any, lines: list[str]) -> None:
    """Half of a column a thousand times too large is worse than none."""
    admission = admitted(_with(lines, "x", ["1.234,50", "1.234.567,00", '"2,345.50"'], ";"))
    assert admission.schema.column("x").kind == "category"
    assert "number_format" in {n.code for n in admission.notes}


# --- form --------------------------------------------------------------------------------------------------------------
def test_an_inch_mark_is_a_character(admitted: Any, lines: list[str]) -> None:
    """A quote inside an unquoted field opens nothing; one that opens a field and never closes quarantines its row, by its line."""
    admission = admitted(_with(lines, "part", ['6" rod', "bolt", "nut"]))
    assert '6" rod' in set(_column(admission, "part"))
    unclosed = admitted([*lines[:50], '30,"Oslo,true,2024-01-01,yes', *lines[50:]])
    assert (unclosed.rows_used, [(r.line, r.code) for r in unclosed.first_rejects]) == (200, [(51, "quotes")])


def test_a_delimiter_at_the_end_of_each_line_makes_a_column_without_a_name(admitted: Any, lines: list[str]) -> None:
    """It is read, and said."""
    admission = admitted([f"{line}," for line in lines])
    assert admission.rows_used == 200
    assert [n.code for n in admission.notes] == ["unnamed_column"]


def test_texts_of_old_parquet_writers_are_texts(tmp_path: Path) -> None:
    """Bytes without the mark for text are read as text; a nested column that nobody uses does not stop the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"a": pa.array([b"x", b"z"] * 30), "n": pa.array([[1], [2]] * 30), "y": pa.array(["0", "1"] * 30)})
    pq.write_table(table, tmp_path / "u.parquet")
    with pytest.raises(RejectedUpload, match="'n'") as caught:
        admit(tmp_path / "u.parquet", data=DataSettings(target="y"), reference=None, workdir=tmp_path)
    assert "data.ignore: [n]" in caught.value.fix
    data = DataSettings(target="y", ignore=("n",))
    assert _column(admit(tmp_path / "u.parquet", data=data, reference=None, workdir=tmp_path), "a")[:2] == ["x", "z"]


# --- limits ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packed", [False, True])
def test_rows_over_the_limit_are_refused_in_every_text_format(admitted: Any, lines: list[str], packed: bool) -> None:
    """By the count of the lines, before any of them is read; exactly the limit is let in."""
    body = ("\n".join(lines) + "\n\n").encode()
    body = gzip.compress(body) if packed else body
    assert admitted(body, limits={"max_rows": 200}).rows_in == 200
    with pytest.raises(RejectedUpload) as caught:
        admitted(body, limits={"max_rows": 199})
    assert caught.value.code == "over_row_budget"
    quoted = [lines[0], *(line.replace("Oslo", '"Os\nlo"') for line in lines[1:])]
    assert admitted(quoted, limits={"max_rows": 200}).rows_in == 200
    with pytest.raises(RejectedUpload):
        admitted(quoted, limits={"max_rows": 199})


def test_more_than_memory_and_disk_hold_is_a_rejection(
    tmp_path: Path, lines: list[str], data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb ends as a rejected file, not as a dead process."""
    from dropforge.ingest import duckdb_connection

    monkeypatch.setattr(duckdb_connection, "MOST_SPILLED", "1MB")
    file = tmp_path / "u.csv"
    file.write_text(
        lines[0] + "\n" + "\n".join(f"{i},{'x' * 300}{i},true,2024-01-01,{'yn'[i % 2]}" for i in range(60_000))
    )
    connection = duckdb_connection.connect(tmp_path, memory="30MB")
    with connection, pytest.raises(RejectedUpload) as caught:
        admit(file, data=data, reference=None, workdir=tmp_path, connection=connection)
    assert (caught.value.code, bool(caught.value.fix)) == ("over_memory_budget", True)


def test_nothing_is_loaded_from_the_network(tmp_path: Path) -> None:
    """No extension is installed or loaded because a query names it."""
    from dropforge.ingest import duckdb_connection

    with duckdb_connection.connect(tmp_path) as connection:
        for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
            assert connection.execute(f"SELECT current_setting('{setting}')").fetchone() == (False,)


# --- init --------------------------------------------------------------------------------------------------------------
def _guessed(folder: Path, header: str, rows: list[str], encoding: str = "utf-8") -> Any:
    file = folder / "my.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    (folder / "work").mkdir(exist_ok=True)
    return guess(file, folder / "work")


@pytest.mark.parametrize(
    "values",
    [["$1,234", "$5"], ["5%", "12.5%"], ["(12)", "7"], ["12 km", "3 km"], ["\u221212", "7"], ["5\u00a0", "7\u00a0"]],
)
def test_numbers_with_a_sign_or_a_unit_are_said(tmp_path: Path, values: list[str]) -> None:
    """init names the column and a value of it."""
    rows = [f'{i % 9},"{values[i % 2].replace("7", str(i))}",{i % 2}' for i in range(60)]
    checks = _guessed(tmp_path, "n,x,y", rows).checks
    assert any(c.startswith("x: ") for c in checks), checks


def test_a_guessed_target_is_marked_with_the_second_choice(tmp_path: Path) -> None:
    """Twenty-six classes in the first column, numbers behind: whichever is taken, the other one is named."""
    rows = [f"{chr(65 + i % 26)},{i % 15},{i % 12}" for i in range(600)]
    result = _guessed(tmp_path, "letter,width,height", rows)
    predicted = next(c for c in result.checks if c.startswith("the target is a guess"))
    assert "a guess" in result.target_reason
    assert {"letter", "width", "height"} == set(result.other_targets) | {result.target}
    assert f"Second choice: {result.other_targets[0]}" in predicted


def test_a_number_in_the_last_column_is_estimated(tmp_path: Path) -> None:
    """It is likely what is to be predicted; the settings that follow are those of a regression."""
    from dropforge_cli import settings_writer

    result = _guessed(tmp_path, "cement,age,strength", [f"{i}.5,{i % 9},{i * 1.37:.2f}" for i in range(300)])
    assert (result.target, result.task) == ("strength", "regression")
    parsed = load(settings_writer.write(result, "demo", "my.csv"))
    assert (parsed.data.task, parsed.training.metric, parsed.promotion.metric) == ("regression", "rmse", "rmse")


@pytest.mark.parametrize(
    "label", ["\u20ac50\u2013100", "a\u0085b", "tab\tbed", 'say "no"', "\U0001f600", "yes", "1: 2 #3"]
)
def test_the_settings_that_init_writes_are_read_back(tmp_path: Path, label: str) -> None:
    """Whatever stands in the classes, and how the numbers are written."""
    from dropforge_cli import settings_writer

    quoted = '"' + label.replace('"', '""') + '"'
    rows = [f"{i},5;{quoted if i % 3 else 'other'}" for i in range(60)]
    result = _guessed(tmp_path, "x;y", rows)
    data = load(settings_writer.write(result, "demo", "my.csv")).data
    assert data.positive_class in {label, "other"}
    assert data.columns["x"].number_format == "1.234,5"
