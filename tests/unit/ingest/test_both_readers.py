"""An upload and `init` read a file alike, or refuse it alike."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropforge.config import settings
from dropforge.errors import RejectedUpload, SettingsError
from dropforge.ingest import rejected_rows
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit
from dropforge_cli import settings_writer
from dropforge_cli.infer_settings import Guess, guess

BODY = "".join(f"{'äöü'[i % 3]},{i % 7},{'ab'[i % 2]}\n" for i in range(40))
HEAD = "x,n,y\n"


def _settings(**csv: Any) -> settings.Settings:
    text = f"project: demo\ndata: {{target: y, csv: {csv or '{}'}}}\nmodels: [{{name: forest, class: a.b:C}}]\n"
    return settings.load(text.encode(), "settings.yaml")


def _admit(body: bytes, folder: Path, parsed: settings.Settings | None = None) -> Admission:
    file = folder / "upload"
    file.write_bytes(body)
    work = folder / "work"
    work.mkdir()
    return admit(file, data=(parsed or _settings()).data, reference=None, workdir=work)


def _guess(body: bytes, folder: Path) -> Guess:
    file = folder / "given.csv"
    file.write_bytes(body)
    work = folder / "guess"
    work.mkdir()
    return guess(file, work)


def _parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


Y = ["a", "b"] * 20
X = [i % 7 for i in range(40)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_what_says_its_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    """By a byte order mark, or by the zeros of UTF-16 without one; by both readers."""
    body = (HEAD + BODY).encode(encoding)
    admission, result = _admit(body, tmp_path), _guess(body, tmp_path)
    assert (admission.rows_used, admission.schema.names) == (40, ("x", "n", "y"))
    assert (result.rows, {c.name: c.distinct for c in result.columns}["x"]) == (40, 3)


@pytest.mark.parametrize(
    "encoding", ["cp1250", "cp1251", "shift_jis", "gb18030", "mac_roman", "iso8859-15", "utf-16-be"]
)
def test_any_encoding_can_be_declared(tmp_path: Path, encoding: str) -> None:
    """data.csv.encoding takes every encoding of text that Python knows."""
    letter = {"cp1251": "ж", "shift_jis": "日", "gb18030": "本"}.get(encoding, "é")
    body = ("x,n,y\n" + "".join(f"{letter}{i % 3},{i % 7},{'ab'[i % 2]}\n" for i in range(40))).encode(encoding)
    admission = _admit(body, tmp_path, _settings(encoding=encoding))
    assert {r[0][:1] for r in pq.read_table(admission.snapshot).select(["x"]).to_pandas().to_numpy()} == {letter}


@pytest.mark.parametrize("encoding", ["rot13", "base64", "no-such", "undefined"])
def test_an_encoding_of_nothing_is_refused(encoding: str) -> None:
    """With settings.yaml, not with the first upload."""
    with pytest.raises(SettingsError, match="encoding"):
        _settings(encoding=encoding)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"sep=;\nx;y\n1;a\n2;b\n", "excel_hint"),
        (b'\xef\xbb\xbf"sep=,"\r\nx,y\r\n1,a\r\n', "excel_hint"),
        (b"x,y\n", "no_rows"),
        (b"x" * 1_100_000 + b",y\n1,a\n", "long_header"),
        (b'"x,y\n' + b"1,a\n" * 300_000, "long_header"),
        (b"," * 1_500_000 + b"\n", "long_header"),
        (gzip.compress(gzip.compress(b"x,y\n1,a\n2,b\n")), "not_a_table"),
        (_parquet(**{" x": X, "x ": X, "y": Y}), "duplicate_header"),
        (_parquet(x=[b"\xff\x00"] * 40, y=Y), "encoding"),
    ],
    ids=[
        "sep",
        "quoted sep",
        "header only",
        "long name",
        "open quote",
        "commas",
        "gzip twice",
        "spaces",
        "bytes",
    ],
)
def test_both_refuse_a_file_alike(tmp_path: Path, body: bytes, code: str) -> None:
    """Same code, a message of readable length."""
    for read in (_admit, _guess):
        with pytest.raises(RejectedUpload) as caught:
            read(body, tmp_path)
        assert caught.value.code == code
        assert len(caught.value.message) < 500


def test_bytes_that_are_no_text_are_named_by_their_column(tmp_path: Path) -> None:
    """Not as a file that is cut off."""
    with pytest.raises(RejectedUpload, match="'raw'"):
        _admit(_parquet(n=X, raw=[b"\xff\xfe"] * 40, y=Y), tmp_path)


def test_init_leaves_out_what_an_upload_cannot_read(tmp_path: Path) -> None:
    """Lists and records are ignored by the settings it writes, and an upload by these settings is accepted."""
    body = _parquet(n=X, tags=[["p", "q"]] * 40, record=[{"a": 1}] * 40, y=Y)
    result = _guess(body, tmp_path)
    assert set(result.ignored) == {"tags", "record"}
    written = settings.load(settings_writer.write(result, "demo", "t.parquet"), "settings.yaml")
    assert _admit(body, tmp_path, written).rows_used == 40


def test_names_in_parquet_lose_their_spaces(tmp_path: Path) -> None:
    """As those of a text file do: the column of one is the column of the other."""
    assert _admit(_parquet(**{" n ": X, "y": Y}), tmp_path).schema.names == ("n", "y")


@pytest.mark.parametrize("zero", ["0E2", "0e+00", "0e0"])
def test_a_zero_with_an_exponent_is_no_code(tmp_path: Path, zero: str) -> None:
    """Unlike 007."""
    body = "x,y\n" + "".join(f"{zero if i == 3 else f'{i}E2'},{'ab'[i % 2]}\n" for i in range(40))
    assert _admit(body.encode(), tmp_path).schema.column("x").numeric


def test_init_shortens_what_it_quotes(tmp_path: Path) -> None:
    """A class may have five thousand letters."""
    rows = [f"{i % 7},{'L' * 5000 if i % 9 else 'b'}" for i in range(40)]
    result = _guess("\n".join(["n,y", *rows, ""]).encode(), tmp_path)
    assert result.checks
    assert max(map(len, result.checks)) < 400


@pytest.mark.parametrize("other", ["Yes", "YES", "ｙｅｓ"])
def test_init_asks_about_classes_that_look_alike(tmp_path: Path, other: str) -> None:
    """Two spellings of one class."""
    labels = ["yes", other, "no"]
    result = _guess(("n,y\n" + "".join(f"{i % 7},{labels[i % 3]}\n" for i in range(90))).encode(), tmp_path)
    assert any("'yes'" in check and repr(other) in check for check in result.checks)


def test_init_says_why_numbers_are_text(tmp_path: Path) -> None:
    """Beyond 64 bits, beyond float32, or the text among them; never an empty quotation."""
    rows = [
        f"{2**63 + i % 9},{'1e300' if i == 4 else i},{'Total' if i == 9 else i},{i % 5},{'ab'[i % 2]}"
        for i in range(60)
    ]
    checks = _guess("\n".join(["big,far,some,n,y", *rows, ""]).encode(), tmp_path).checks
    assert any(c.startswith("big:") and "64 bits" in c for c in checks)
    assert any(c.startswith("far:") and "3.4e38" in c for c in checks)
    assert not any("('')" in c for c in checks)


@pytest.mark.parametrize("row", ["1,2,3", "1"])
def test_a_file_of_bad_rows_is_refused_without_reading_them_all(
    tmp_path: Path, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred million rows of the wrong width must not become a hundred million objects."""
    read: list[str] = []
    reason = rejected_rows._form_reason
    monkeypatch.setattr(rejected_rows, "_form_reason", lambda kind, message: read.append(kind) or reason(kind, message))
    with pytest.raises(RejectedUpload, match=r"2,000 of 2,040 rows .*line 42") as caught:
        _admit(
            ("n,y\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(40)) + f"{row}\n" * 2000).encode(), tmp_path
        )
    assert caught.value.code == "too_many_bad_rows"
    assert len(read) == rejected_rows.most(2040, _settings().data.limits) + 1


def test_a_file_of_quotes_that_do_not_close_is_refused_without_reading_them_all(tmp_path: Path) -> None:
    """Their number is known as a lower bound, one beyond those that may be quarantined."""
    body = "n,y\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(40)) + '"1"x,2\n' * 2000
    with pytest.raises(RejectedUpload, match=r"at least 103 rows .*lines 42, 43, 44, …") as caught:
        _admit(body.encode(), tmp_path)
    assert caught.value.code == "too_many_bad_rows"


def test_a_rule_that_refuses_most_rows_is_refused_without_reading_them_all(tmp_path: Path) -> None:
    """Their number is then known as a lower bound."""
    text = "project: demo\ndata: {target: y, columns: {n: {min: 5}}}\nmodels: [{name: forest, class: a.b:C}]\n"
    parsed = settings.load(text.encode(), "settings.yaml")
    with pytest.raises(RejectedUpload, match=r"^at least 51 of 1,000 rows"):
        _admit(("n,y\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(1000))).encode(), tmp_path, parsed)


def test_a_line_that_no_reader_can_pass_is_named(tmp_path: Path) -> None:
    """Not as rows that were lost, and by both readers: a line longer than the reader's buffer ends the file for it."""
    body = f"n,t,y\n1,p,a\n2,q,b\n3,{'z' * 40_000_000},a\n4,p,b\n".encode()
    for read in (_admit, _guess):
        with pytest.raises(RejectedUpload, match="line 4") as caught:
            read(body, tmp_path)
        assert caught.value.code == "line_too_long"
