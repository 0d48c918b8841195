"""One table in many forms is one data set: the same rows, kinds, values and dataset id."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest import many_files
from dropforge_cli.infer_settings import guess

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAMES = ["n", "amount", "city", "code", "flag", "day", "label"]
Row = list[Any]


def _rows(count: int) -> list[Row]:
    """Whole numbers, fractions, texts beyond ASCII, codes with leading zeros, booleans, dates, missing cells."""
    return [
        [
            i - 50,
            None if i % 17 == 0 else (i * 37 % 1000) / 8,
            ("Zürich", "Genève", "Bern, BE", None)[i % 4],
            f"{i % 90:04d}",
            i % 3 == 0,
            dt.date(2024, 1 + i % 12, 1 + i % 28),
            ("no", "yes")[i % 2],
        ]
        for i in range(count)
    ]


def _text(value: Any, comma: str = ".") -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value).replace(".", comma) if isinstance(value, float) else str(value)


def _csv(rows: list[Row], delimiter: str = ",", comma: str = ".") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(NAMES)
    writer.writerows([_text(v, comma) for v in row] for row in rows)
    return out.getvalue()


def _json_lines(rows: list[Row]) -> str:
    plain = [[v.isoformat() if isinstance(v, dt.date) else v for v in row] for row in rows]
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) + "\n" for row in plain)


def _parquet(rows: list[Row], folder: Path) -> bytes:
    db = duckdb.connect()
    db.execute(
        "CREATE TABLE t (n INTEGER, amount DOUBLE, city VARCHAR, code VARCHAR, flag BOOLEAN, day DATE, label VARCHAR)"
    )
    (folder / "plain.csv").write_text(_csv(rows))
    db.execute(f"INSERT INTO t SELECT * FROM read_csv('{folder}/plain.csv', header = true, all_varchar = true)")
    db.execute(f"COPY t TO '{folder}/t.parquet' (FORMAT parquet)")
    return (folder / "t.parquet").read_bytes()


def _arrow(compression: str | None, *, stream: bool = False) -> Callable[[list[Row], Path], bytes]:
    def write(rows: list[Row], folder: Path) -> bytes:
        _parquet(rows, folder)
        table = pq.read_table(folder / "t.parquet")
        out = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=1000)
        return out.getvalue()

    return write


def _workbook(rows: list[Row], *, before: int = 0, hidden: bool = False) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out)
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    if hidden:
        book.add_worksheet("Notes").hide()
    sheet = book.add_worksheet("Data")
    if hidden:
        sheet.activate()
        sheet.set_first_sheet()
    sheet.write_row(before, 0, NAMES)
    for r, row in enumerate(rows, before + 1):
        for c, value in enumerate(row):
            if isinstance(value, dt.date):
                sheet.write_datetime(r, c, value, day)
            elif isinstance(value, str):
                sheet.write_string(r, c, value)
            elif value is not None:
                sheet.write(r, c, value)
    book.close()
    return out.getvalue()


def _parquet_folder(rows: list[Row], folder: Path) -> bytes:
    """What `upload FOLDER` sends of three parts and a mark that the folder is complete."""
    parts = folder / "table"
    parts.mkdir(exist_ok=True)
    for n, start in enumerate(range(0, len(rows), 2000)):
        (parts / f"part-{n:05}.parquet").write_bytes(_parquet(rows[start : start + 2000], folder))
        (folder / "t.parquet").unlink()
    (parts / "_SUCCESS").touch()
    joined = many_files.whole([str(parts)], folder, DataSettings(target="label"))
    assert len(joined.parts) == 3
    return joined.file.read_bytes()


FORMS: dict[str, Callable[[list[Row], Path], bytes]] = {
    "csv": lambda rows, _: _csv(rows).encode(),
    "tsv": lambda rows, _: _csv(rows, "\t").encode(),
    "semicolon": lambda rows, _: _csv(rows, ";", ",").encode(),
    "json lines": lambda rows, _: _json_lines(rows).encode(),
    "parquet": _parquet,
    "parquet folder": _parquet_folder,
    "feather": _arrow("lz4"),
    "arrow, zstd": _arrow("zstd"),
    "arrow stream": _arrow(None, stream=True),
    "excel": lambda rows, _: _workbook(rows),
    "zstd": lambda rows, _: zstd.compress(_csv(rows).encode()),
    "gzip": lambda rows, _: gzip.compress(_json_lines(rows).encode()),
    "utf-16": lambda rows, _: _csv(rows).encode("utf-16"),
    "cp1252": lambda rows, _: _csv(rows).encode("cp1252"),
}


@pytest.fixture(scope="module")
def ids() -> dict[str, tuple[str, int]]:
    return {}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_one_data_set_in_every_form(admitted: Any, tmp_path: Path, ids: dict[str, Any], form: str) -> None:
    """5,000 rows: one dataset id, with every row used."""
    rows = _rows(5000)
    if "csv" not in ids:
        ids["csv"] = admitted(FORMS["csv"](rows, tmp_path)).dataset_id
    admission = admitted(FORMS[form](rows, tmp_path), csv={"encoding": "cp1252" if form == "cp1252" else "utf-8"})
    assert (admission.rows_in, admission.rows_used) == (5000, 5000)
    assert {c.name: c.kind for c in admission.schema.columns} == {
        "n": "integer",
        "amount": "number",
        "city": "category",
        "code": "category",
        "flag": "boolean",
        "day": "datetime",
        "label": "category",
    }
    assert admission.dataset_id == ids["csv"]


@pytest.mark.parametrize("form", ["json lines", "excel", "zstd"])
def test_init_reads_what_an_upload_reads(tmp_path: Path, form: str) -> None:
    """The same kinds, target and rows as from CSV."""
    rows = _rows(300)
    for name, body in (("a.csv", FORMS["csv"](rows, tmp_path)), ("b", FORMS[form](rows, tmp_path))):
        (tmp_path / name).write_bytes(body)
    first, second = (guess(tmp_path / n, tmp_path) for n in ("a.csv", "b"))
    assert (first.rows, first.target, first.columns) == (second.rows, second.target, second.columns)


# --- JSON lines ------------------------------------------------------------------------------------------------------------
def test_lines_that_are_no_objects_are_quarantined(admitted: Any, reference: Schema) -> None:
    """With their number in the file given and their text, also behind values of several lines and blank lines."""
    good = [
        {"age": 20 + i % 60, "city": "Be\nrn" if i == 3 else "Bern", "label": ("no", "yes")[i % 2]} for i in range(100)
    ]
    lines = [json.dumps(r) for r in good]
    lines[10:10] = ["", '{"age": 1, "age": 2}', "{broken", '{"age": "x y", "city": "Rome", "label": "no"}']
    admission = admitted(("\n".join(lines) + "\n").encode())
    rejects = [(r.line, r.code) for r in admission.first_rejects]
    assert rejects == [(12, "not_json"), (13, "not_json"), (14, "not_integer")]
    assert admission.first_rejects[1].raw == "{broken"
    assert admission.rows_in == admission.rows_used + 3 == 103


def test_keys_that_come_late_or_are_missing_are_missing_cells(admitted: Any) -> None:
    """The columns are those of all lines together."""
    lines = [{"a": i, "label": ("no", "yes")[i % 2], **({"late": 1.5} if i > 50 else {})} for i in range(100)]
    admission = admitted("".join(json.dumps(r) + "\n" for r in lines).encode())
    assert admission.schema.names == ("a", "label", "late")
    assert admission.missing["late"] == {"(empty)": 51}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("12345678901234567890123", "category"),
        ("1.50", "number"),
        ("1e400", "category"),
        ('"007"', "category"),
        ("true", "boolean"),
    ],
)
def test_numbers_of_json_are_the_texts_that_they_are(admitted: Any, text: str, kind: str) -> None:
    """No digit is lost on the way."""
    body = "".join(f'{{"v": {text}, "label": "{("no", "yes")[i % 2]}"}}\n' for i in range(60))
    assert admitted(body.encode()).schema.column("v").kind == kind


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('[{"a": 1}]', "not_a_table"),
        ('{\n "a": 1\n}\n', "not_a_table"),
        ('{"a": [1], "label": "no"}\n{"a": [2], "label": "yes"}\n', "nested_column"),
        ('{"a": "\\u0000", "label": "no"}\n', "nul_bytes"),
        ("".join(f'{{"a{i}": 1}}\n' for i in range(2100)), "too_many_columns"),
        ('{"a": "' + "x" * 2_100_000 + '"}\n', "line_too_long"),
    ],
)
def test_json_that_is_no_table_is_refused(admitted: Any, body: str, code: str) -> None:
    """With a fix."""
    with pytest.raises(RejectedUpload) as caught:
        admitted(body.encode())
    assert caught.value.code == code
    assert caught.value.fix


# --- Excel -----------------------------------------------------------------------------------------------------------------
def test_remarks_on_a_sheet_before_the_table_are_not_the_table(admitted: Any) -> None:
    """The first visible sheet of two columns and two rows is read."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        book.add_worksheet("Read me").write(0, 0, "Figures of 2024")
        sheet = book.add_worksheet("Figures")
        for r, row in enumerate([["x", "y"], *([n, ["no", "yes"][n % 2]] for n in range(60))]):
            sheet.write_row(r, 0, row)
    admission = admitted(out.getvalue(), name="u.xlsx", target="y")
    assert admission.rows_used == 60
    assert "read from the sheet 'Figures'; not from 'Read me'" in [n.message for n in admission.notes]


def test_the_sheet_is_said_and_lines_are_its_rows(admitted: Any) -> None:
    """The first visible one, wherever its table begins; hidden ones are not read unless they are named."""
    rows = _rows(100)
    rows[7][0] = "x"
    admission = admitted(_workbook(rows, before=2, hidden=True))
    assert [(r.line, r.code) for r in admission.first_rejects] == [(11, "not_integer")]
    assert "read from the sheet 'Data'; not from 'Notes'" in [n.message for n in admission.notes]
    for name, code in (("Nowhere", "sheet_unknown"), ("Notes", "empty_file")):
        with pytest.raises(RejectedUpload) as caught:
            admitted(_workbook(rows, hidden=True), sheet=name)
        assert caught.value.code == code


def test_a_stray_cell_in_the_last_corner_costs_no_memory(admitted: Any, tmp_path: Path) -> None:
    """A sheet's reader would allocate every cell between."""
    book = xlsxwriter.Workbook(tmp_path / "far.xlsx")
    sheet = book.add_worksheet()
    sheet.write(0, 0, "a")
    sheet.write(1_048_575, 16_383, "z")
    book.close()
    tracemalloc.start()
    with pytest.raises(RejectedUpload) as caught:
        admitted((tmp_path / "far.xlsx").read_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "over_row_budget"
    assert peak < 50_000_000


def _zip(names: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in names.items():
            archive.writestr(name, body)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_zip({"a.txt": b"x"}), "not_a_table"),
        (_zip({"xl/workbook.xml": b"<x/>"}), "truncated"),
        (_workbook(_rows(50))[:-200], "not_a_table"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "not_a_table"),
        (b"ARROW1\0\0" + bytes(600), "truncated"),
        (b"\xff\xff\xff\xff\x10\0\0\0" + bytes(600), "truncated"),
        (b"FEA1" + bytes(600), "not_a_table"),
        (b'[\n  {\n    "a": 1,\n    "label": "no"\n  }\n]\n', "not_a_table"),
        (b"\xfd7zXZ\0" + bytes(600), "not_a_table"),
        (zstd.compress(b"a,label\n")[:-3], "truncated"),
        (zstd.compress(zstd.compress(b"a,label\n1,no\n")), "not_a_table"),
    ],
    ids=[
        "zip",
        "empty-workbook",
        "cut-workbook",
        "old-excel",
        "arrow",
        "arrow-stream",
        "feather-1",
        "json-array",
        "xz",
        "cut-zstd",
        "zstd-in-zstd",
    ],
)
def test_what_is_no_table_is_refused_in_words(admitted: Any, body: bytes, code: str) -> None:
    """Whatever its name says."""
    with pytest.raises(RejectedUpload) as caught:
        admitted(body)
    assert caught.value.code == code


def test_a_stream_that_was_cut_between_batches_is_refused(admitted: Any, tmp_path: Path) -> None:
    """It reads like a whole one, and rows would be lost in silence."""
    body = _arrow(None, stream=True)(_rows(3000), tmp_path)
    with pytest.raises(RejectedUpload) as caught:
        admitted(body[:-8])
    assert caught.value.code == "truncated"


def test_zstd_unpacks_within_the_budget(admitted: Any) -> None:
    """As gzip does."""
    limits = DataSettings(target="label").limits.model_copy(update={"max_bytes": 1_000_000}).model_dump()
    with pytest.raises(RejectedUpload) as caught:
        admitted(zstd.compress(b"a,label\n" + b"1,no\n" * 1_000_000), limits=limits)
    assert caught.value.code == "over_byte_budget"
