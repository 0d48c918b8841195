"""A table in many files is one upload: in any order, with copies, whatever its parts are kept in."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dropforge.config.settings import DataSettings
from dropforge.errors import InvalidRequest, RejectedUpload
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit
from dropforge.ingest.many_files import whole

DATA = DataSettings(target="label")
HEADER = "n,city,label"
ROWS = [f"{i},{('Bern', 'Zürich')[i % 2]},{('no', 'yes')[i % 3 % 2]}" for i in range(1000)]


@pytest.fixture
def joined(tmp_path: Path) -> Any:
    """Admit what `whole` makes of these names; each call has a folder of its own."""
    numbers = iter(range(100))

    def run(*given: str) -> tuple[Any, Admission]:
        folder = tmp_path / f"work-{next(numbers)}"
        folder.mkdir()
        result = whole(given, folder, DATA)
        again = folder / "admission"
        again.mkdir()
        return result, admit(result.file, data=DATA, reference=None, workdir=again)

    return run


def _parts(folder: Path, count: int, end: str = ".csv") -> list[Path]:
    folder.mkdir(parents=True)
    size = len(ROWS) // count
    files = []
    for k in range(count):
        body = "\n".join([HEADER, *ROWS[k * size : (k + 1) * size]]) + "\n"
        files.append(folder / f"part-{k:05d}{end}")
        files[-1].write_bytes(gzip.compress(body.encode()) if end.endswith(".gz") else body.encode())
    return files


def test_a_hundred_parts_are_one_data_set_in_any_order(joined: Any, tmp_path: Path) -> None:
    """As if they were one file; copies, markers and checksums are no parts; every row is accounted for."""
    (tmp_path / "one.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    parts = _parts(tmp_path / "orders", 100)
    (tmp_path / "orders" / "_SUCCESS").write_text("")
    (tmp_path / "orders" / ".part-00000.csv.crc").write_bytes(b"x")
    (tmp_path / "orders" / "part-00007 (copy).csv").write_bytes(parts[7].read_bytes())
    shuffled = [str(p) for p in parts]
    random.Random(3).shuffle(shuffled)
    expected = joined(str(tmp_path / "one.csv"))[1]
    for given in ((str(tmp_path / "orders"),), (f"{tmp_path}/orders/*.csv",), (*shuffled, shuffled[0])):
        result, admission = joined(*given)
        assert admission.dataset_id == expected.dataset_id
        assert admission.rows_in == admission.rows_used + admission.rows_quarantined == 1000
        assert (result.name, len(result.parts)) == ("orders.csv", 100)


def test_a_bad_row_of_a_part_is_quarantined_and_can_be_found(joined: Any, tmp_path: Path) -> None:
    """The lines of the whole say whose it is."""
    parts = _parts(tmp_path / "orders", 10)
    parts[4].write_text(parts[4].read_text() + "1,Bern\n")
    result, admission = joined(str(tmp_path / "orders"))
    line = admission.first_rejects[0].line
    assert admission.rows_quarantined == 1
    assert [p.file for p in result.parts if p.first <= line <= p.last] == [str(parts[4])]


def test_compressed_parts_and_parts_without_a_last_line_end_are_joined(joined: Any, tmp_path: Path) -> None:
    """By their content, and with every row on a line of its own."""
    _parts(tmp_path / "packed", 4, ".csv.gz")
    parts = _parts(tmp_path / "open", 4)
    for p in parts:
        p.write_text("\ufeff" + p.read_text().rstrip("\n"))
    ids = {joined(str(tmp_path / name))[1].dataset_id for name in ("packed", "open")}
    assert len(ids) == 1


def test_parquet_folders_are_read_with_their_partitions(joined: Any, tmp_path: Path) -> None:
    """Types stay; folders named column=value are a column."""
    db = duckdb.connect()
    db.execute(f"CREATE TABLE t AS SELECT * FROM read_csv('{_whole_file(tmp_path)}')")
    db.execute(f"COPY t TO '{tmp_path}/hive' (FORMAT parquet, PARTITION_BY (city))")
    _, admission = joined(str(tmp_path / "hive"))
    assert {c.name: c.kind for c in admission.schema.columns} == {
        "n": "integer",
        "label": "category",
        "city": "category",
    }
    assert admission.rows_used == 1000
    cities = (
        duckdb.connect()
        .sql(f"SELECT city, count(*) FROM read_parquet('{admission.snapshot}') GROUP BY 1 ORDER BY 1")
        .fetchall()
    )
    assert cities == [("Bern", 500), ("Zürich", 500)]


def _whole_file(folder: Path) -> Path:
    file = folder / "whole.csv"
    file.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return file


@pytest.mark.parametrize(
    ("bodies", "message"),
    [
        ({"a.csv": "x,label\n1,no\n", "b.csv": "label,x\nno,1\n"}, "another order"),
        ({"a.csv": "x,label\n1,no\n", "b.csv": "x,y,label\n1,2,no\n"}, "columns y"),
        ({"a.csv": "x,label\n1,no\n", "b.csv": "x;label\n1;no\n"}, "separated by"),
        ({"a.csv": "x,label\n1,no\n", "b.jsonl": '{"x": 1, "label": "no"}\n'}, "several formats"),
        ({"c=1/a.csv": "x,label\n1,no\n", "c=2/a.csv": "x,label\n2,no\n"}, "Parquet only"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(tmp_path: Path, bodies: dict[str, str], message: str) -> None:
    """Before anything is uploaded."""
    for name, body in bodies.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(body)
    with pytest.raises(RejectedUpload, match=message):
        whole([str(tmp_path / "set")], tmp_path, DATA)


@pytest.mark.parametrize("given", ["nothing", "empty", "*.nothing"])
def test_a_name_that_is_no_file_is_refused(tmp_path: Path, given: str) -> None:
    """With what to name."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest) as caught:
        whole([str(tmp_path / given)], tmp_path, DATA)
    assert caught.value.code == "no_file"
