"""Files nobody should send, and what becomes of them: a clear reason, or the good rows used and the bad ones kept."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from dropforge.config.settings import load
from dropforge.errors import RejectedUpload
from dropforge.ingest import duckdb_connection
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD = "age,city,label"
GOOD = [f"{20 + i % 50},{('Bern', 'Oslo', 'Rome')[i % 3]},{('no', 'yes')[i % 2]}" for i in range(100)]
TABLE = "\n".join([HEAD, *GOOD]) + "\n"
SETTINGS = (
    "project: demo\ndata: {{target: label, missing_markers: ['?'], {extra}}}\nmodels: [{{name: m, class: a.b:C}}]\n"
)


def _admit(tmp_path: Path, body: bytes, extra: str = "", *, with_reference: bool = True) -> Admission:
    data = load(SETTINGS.format(extra=extra)).data
    reference = None
    if with_reference:
        (tmp_path / "ref").mkdir()
        (tmp_path / "ref" / "r.csv").write_text(TABLE)
        reference = admit(
            tmp_path / "ref" / "r.csv",
            data=load(SETTINGS.format(extra="")).data,
            reference=None,
            workdir=tmp_path / "ref",
        ).schema
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "u.csv").write_bytes(body)
    return admit(tmp_path / "new" / "u.csv", data=data, reference=reference, workdir=tmp_path / "new")


def _parquet(tmp_path: Path, sql: str) -> bytes:
    target = tmp_path / "made.parquet"
    duckdb.connect().sql(f"COPY ({sql}) TO '{target}' (FORMAT parquet)")
    return target.read_bytes()


REJECTED: dict[str, tuple[bytes, str, str]] = {
    "nothing at all": (b"", "empty_file", "0 bytes"),
    "only line ends": (b"\n\n\n", "empty_file", "no line"),
    "a header and no row": (f"{HEAD}\n".encode(), "no_rows", "no rows"),
    "bytes of Latin-1": (TABLE.replace("Bern", "Zürich", 1).encode("latin-1"), "encoding", "offset 19 (line 2)"),
    "a NUL byte": (TABLE.replace("Bern", "Be\0n", 1).encode(), "nul_bytes", "offset"),
    "two columns of one name": (TABLE.replace("city", "age", 1).encode(), "duplicate_header", "'age' twice"),
    "a column without a name": (TABLE.replace("city", "", 1).encode(), "blank_header", "column 2"),
    "too many long rows": ((TABLE + "1,Rome,yes,9\n" * 20).encode(), "too_many_bad_rows", "line 102"),
    "too many short rows": ((TABLE + "1\n" * 20).encode(), "too_many_bad_rows", "line 102"),
    "a quote in the header that never closes": (f'"{TABLE}'.encode(), "unclosed_quote", "header"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not_a_table", "PNG"),
    "a web page": (b"<!DOCTYPE html><html></html>", "not_a_table", "web page"),
    "a workbook": (b"PK\x03\x04" + bytes(100), "not_a_table", "Excel"),
    "JSON": (b'[{"a": 1}]', "not_a_table", "JSON array"),
    "Parquet cut off": (b"PAR1" + bytes(100), "truncated", "cut off"),
    "gzip cut off": (gzip.compress(TABLE.encode())[:-20], "truncated", "gzip"),
}
# Refused as a first file; compared and stored untrained beside a reference.
UNTRAINED = {
    "one class only": (TABLE.replace(",yes", ",no").encode(), "one_class_target", "the class 'no'"),
    "no target": (TABLE.replace("label", "other").encode(), "target_missing", "'label'"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_file_that_cannot_be_used_is_rejected(tmp_path: Path, case: str) -> None:
    """With a stable code, what and where in words, and how to mend it."""
    body, code, words = REJECTED[case]
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, body)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("case", UNTRAINED)
def test_a_file_that_teaches_nothing_is_refused_first_and_stored_later(tmp_path: Path, case: str) -> None:
    """Nothing can be learned from a first file without classes; a later one is compared, and says why it trains nothing."""
    body, code, words = UNTRAINED[case]
    (tmp_path / "first").mkdir()
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path / "first", body, with_reference=False)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message
    assert words in _admit(tmp_path, body).untrained


def test_a_target_of_hundreds_of_classes_is_rejected(tmp_path: Path) -> None:
    """It is a number or an identifier; the error says so."""
    body = "\n".join(["age,label", *[f"{i},c{i}" for i in range(150)]])
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, body.encode(), with_reference=False)
    assert caught.value.code == "too_many_classes"


ACCEPTED: dict[str, bytes] = {
    "a byte order mark": b"\xef\xbb\xbf" + TABLE.encode(),
    "UTF-16 with its mark": TABLE.encode("utf-16"),
    "carriage returns only": TABLE.replace("\n", "\r").encode(),
    "two kinds of line ends": TABLE.replace("\n", "\r\n", 30).encode(),
    "no line end at the end": TABLE.rstrip().encode(),
    "semicolons": TABLE.replace(",", ";").encode(),
    "tabs": TABLE.replace(",", "\t").encode(),
    "pipes": TABLE.replace(",", "|").encode(),
    "spaces around the cells": TABLE.replace(",", " , ").encode(),
    "gzip under another name": gzip.compress(TABLE.encode()),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_file_that_is_only_unusual_is_read_whole(tmp_path: Path, case: str) -> None:
    """Every row is used, and the rows are the same as in the plain file."""
    admission = _admit(tmp_path, ACCEPTED[case])
    (tmp_path / "plain").mkdir()
    plain = _admit(tmp_path / "plain", TABLE.encode())
    assert (admission.rows_in, admission.rows_used) == (100, 100)
    assert admission.dataset_id == plain.dataset_id


def test_latin_1_is_read_when_declared(tmp_path: Path) -> None:
    """data.csv.encoding says what cannot be guessed."""
    admission = _admit(tmp_path, TABLE.replace("Bern", "Zürich").encode("latin-1"), "csv: {encoding: latin-1}")
    assert admission.rows_used == 100


def test_a_file_without_a_header_is_read_when_the_columns_are_given(tmp_path: Path) -> None:
    """data.csv.columns names them; the first line is a row."""
    admission = _admit(tmp_path, "\n".join(GOOD).encode(), "csv: {columns: [age, city, label]}")
    assert admission.rows_used == 100


def test_decimal_commas_are_understood_beside_semicolons(tmp_path: Path) -> None:
    """3,5 is a number there, with a note."""
    rows = [f"{i},5;Rome;{('no', 'yes')[i % 2]}" for i in range(50)]
    admission = _admit(tmp_path, "\n".join(["age;city;label", *rows]).encode(), with_reference=False)
    assert admission.schema.column("age").kind == "number"
    assert "decimal_comma" in {n.code for n in admission.notes}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("1,Rome,yes,9", "too_many_fields"),
        ("1,Rome", "too_few_fields"),
        ('1,"Ro"me,yes', "quotes"),
        ("old,Rome,yes", "not_integer"),
    ],
)
def test_one_bad_row_is_kept_with_its_line(tmp_path: Path, row: str, code: str) -> None:
    """The hundred good rows are used; the bad one is quarantined with line 52 and a reason."""
    body = "\n".join([HEAD, *GOOD[:50], row, *GOOD[50:]])
    admission = _admit(tmp_path, body.encode())
    assert (admission.rows_in, admission.rows_used, admission.rows_quarantined) == (101, 100, 1)
    assert [(r.line, r.code) for r in admission.first_rejects] == [(52, code)]
    assert row.split(",", maxsplit=1)[0] in admission.rejects_csv.read_text()


def test_a_field_of_megabytes_is_set_aside(tmp_path: Path) -> None:
    """It neither stops the reading nor takes the others with it."""
    admission = _admit(tmp_path, (TABLE + "1," + "x" * 5_000_000 + ",yes\n" + GOOD[0] + "\n").encode())
    assert (admission.rows_used, admission.reason_counts) == (101, {"too_long": 1})


def test_thousands_of_columns_are_refused_by_the_limit(tmp_path: Path) -> None:
    """The limit is data.limits.max_columns, named in the fix."""
    names = ",".join(f"c{i}" for i in range(5000))
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, f"{names}\n{names}\n".encode())
    assert caught.value.code == "too_many_columns"
    assert "max_columns" in caught.value.fix


def test_a_gzip_bomb_stops_at_the_byte_budget(tmp_path: Path) -> None:
    """Unpacking ends at data.limits.max_bytes."""
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, gzip.compress(b"0" * 50_000_000), "limits: {max_bytes: 10000000}")
    assert caught.value.code == "over_byte_budget"
    assert (tmp_path / "new" / "unpacked").stat().st_size <= 10_000_000


def test_a_parquet_file_of_too_many_rows_is_refused_by_its_own_claim(tmp_path: Path) -> None:
    """The footer is read before any page."""
    body = _parquet(tmp_path, "SELECT 1 AS age, 'Rome' AS city, 'yes' AS label FROM range(5000)")
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, body, "limits: {max_rows: 1000}")
    assert caught.value.code == "over_row_budget"


def test_nested_parquet_is_refused_by_column(tmp_path: Path) -> None:
    """Lists and structs are no cells."""
    body = _parquet(tmp_path, "SELECT 1 AS age, [1, 2] AS city, 'yes' AS label")
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, body)
    assert caught.value.code == "nested_column"
    assert "'city'" in caught.value.message


def test_parquet_broken_in_the_middle_is_refused(tmp_path: Path) -> None:
    """Ends and footer are right, a page is not."""
    body = bytearray(_parquet(tmp_path, "SELECT i AS age, 'city ' || i AS city, 'yes' AS label FROM range(5000) t(i)"))
    body[200:1200] = bytes(1000)
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, bytes(body))
    assert caught.value.code in {"truncated", "one_class_target"}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    """Typed columns are read by the reference's kinds; a fraction among whole numbers widens the column and loses no row."""
    body = _parquet(
        tmp_path,
        "SELECT CASE WHEN i = 7 THEN 1.5 ELSE i END AS age, 'Rome' AS city, ['no', 'yes'][i % 2 + 1] AS label FROM range(100) t(i)",
    )
    admission = _admit(tmp_path, body)
    assert [n.column for n in admission.notes if n.code == "widened"] == ["age"]
    assert admission.first_rejects == ()


def _swollen(rows: int, *, named_size: int | None = None) -> bytes:
    """A workbook whose shared texts unpack to 12 MB; `named_size`: what its directory says of them instead."""
    plain, out, part = io.BytesIO(), io.BytesIO(), "xl/sharedStrings.xml"
    with xlsxwriter.Workbook(plain, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        for n in range(rows):
            sheet.write_row(n, 0, ["age", "label"] if n == 0 else [n, "ny"[n % 2]])
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in source.infolist():
            text = source.read(info)
            if info.filename == part:
                text = text.replace(b"</sst>", b"<si><t>" + b"x" * 12_000_000 + b"</t></si></sst>")
            archive.writestr(info.filename, text)
    body = bytearray(out.getvalue())
    if named_size is not None:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            struct.pack_into("<I", body, archive.getinfo(part).header_offset + 22, named_size)
        entry = body.rindex(part.encode()) - 46  # in the directory at the end
        assert body[entry : entry + 4] == b"PK\x01\x02"
        struct.pack_into("<I", body, entry + 24, named_size)
    return bytes(body)


def _one_text_repeated() -> bytes:
    """A Parquet file of a kilobyte: 2,000 rows with the same text of 400 kB, which it holds once."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 400_000]))
    table = pa.table({"age": range(2000), "city": text, "label": ["ny"[n % 2] for n in range(2000)]})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", write_statistics=False)
    return out.getvalue()


@pytest.mark.parametrize(
    ("bomb", "code"),
    [
        (lambda: zstd.compress(b"0" * 12_000_000), "over_byte_budget"),
        (_one_text_repeated, "over_memory_budget"),
        (lambda: _swollen(30), "over_byte_budget"),
        (lambda: _swollen(30, named_size=1000), "truncated"),
    ],
    ids=["zstd", "parquet", "workbook", "workbook-that-lies"],
)
def test_a_file_that_unpacks_to_far_more_is_rejected(
    tmp_path: Path, bomb: Callable[[], bytes], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever packs it, and whatever size it names for what is inside; here of a function with little memory and disk."""
    monkeypatch.setattr(duckdb_connection, "MOST_SPILLED", "20MB")
    monkeypatch.setitem(duckdb_connection.connect.__kwdefaults__, "memory", "200MB")
    body = bomb()
    assert len(body) < 100_000
    with pytest.raises(RejectedUpload) as caught:
        _admit(tmp_path, body, "limits: {max_bytes: 10000000}")
    assert caught.value.code == code
    assert caught.value.fix
