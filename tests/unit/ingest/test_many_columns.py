"""Tables of many columns: read in groups of columns, which no result shows."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Schema
from dropforge.ingest import parquet_snapshot
from dropforge.ingest.admission import Admission
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import ReadingOptions, admit

from .conftest import settings

_TOGETHER, _COLUMNS, _ROWS = 10, 33, 40  # of a group, where there are hundreds in practice
_FAULTY = 24  # the place of a whole number in the last group
_KINDS = ("integer", "number", "category", "datetime", "boolean", "number")


def _cell(kind: str, rng: random.Random) -> str:
    day = date(2024, 1, 1) + timedelta(rng.randrange(300))
    match kind:
        case "integer":
            return str(rng.randrange(10**9))
        case "number":
            return rng.choice((f"{rng.gauss(0, 1):.4f}", " 7 ", "?", "1e3", ""))
        case "category":
            return rng.choice(("red", "green", "blue", ""))
        case "datetime":
            return day.isoformat()
        case "boolean":
            return rng.choice(("true", "false"))
        case _:
            return f"{day}T10:00:00{rng.choice(('Z', '+02:00'))}"


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups small enough that a small table has several."""
    monkeypatch.setattr(parquet_snapshot, "_TOGETHER", _TOGETHER)


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A table of every kind of column, with a cell that is no number, and one whose row violates a rule."""
    rng = random.Random(3)
    names = [f"c{i}" for i in range(_COLUMNS - 1)]
    kinds = [*(_KINDS[i % len(_KINDS)] for i in range(len(names) - 1)), "zoned"]
    rows = [[_cell(kind, rng) for kind in kinds] for _ in range(_ROWS)]
    rows[4][_FAULTY] = "seven"
    rows[9][6] = "-1"
    lines = [",".join([*names, "y"]), *(",".join([*row, ("no", "yes")[n % 2]]) for n, row in enumerate(rows))]
    file = tmp_path / "wide.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def _data(**more: object) -> DataSettings:
    columns = {f"c{_FAULTY}": {"type": "integer"}}
    limits = {"max_quarantined_share": 0.1}
    return settings(target="y", missing_markers=["?"], columns=columns, limits=limits, **more).data


def _admitted(file: Path, folder: Path, reference: Schema | None = None, *, keep: bool = True) -> Admission:
    folder.mkdir()
    rules = [{"name": "not negative", "expect": "c6 >= 0 or c0 < 0", "action": "quarantine"}]
    data = _data(rules=rules)
    return admit(file, data=data, reference=reference, workdir=folder, options=ReadingOptions(keep=keep))


def _content(admission: Admission) -> list[tuple[object, ...]]:
    with duckdb.connect() as db:
        return db.execute(f"SELECT * FROM read_parquet('{admission.snapshot}')").fetchall()


def test_columns_in_groups_are_the_table_that_one_statement_reads(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data set, rows in the order of the file, rows quarantined with the same reasons."""
    in_groups = _admitted(wide, tmp_path / "groups")
    monkeypatch.setattr(parquet_snapshot, "_TOGETHER", 10_000)
    at_once = _admitted(wide, tmp_path / "once")
    assert in_groups.reason_counts == {"not_integer": 1, "rule: not negative": 1}
    assert [r.line for r in in_groups.first_rejects] == [6, 11]
    assert (in_groups.dataset_id, in_groups.rows_used) == (at_once.dataset_id, _ROWS - 2)
    assert in_groups.first_rejects == at_once.first_rejects
    assert _content(in_groups) == _content(at_once)


def test_rows_of_a_connection_that_keeps_no_order_stay_whole(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells of one line stay in one row when groups of columns are read as the threads come to them."""
    monkeypatch.setattr(parquet_snapshot, "_TOGETHER", 10_000)
    reference = _admitted(wide, tmp_path / "reference")
    monkeypatch.setattr(parquet_snapshot, "_TOGETHER", _TOGETHER)
    (tmp_path / "unordered").mkdir()
    db = connect(tmp_path / "unordered", threads=4, ordered=False)
    second = admit(
        wide,
        data=_data(),
        reference=reference.schema,
        workdir=tmp_path / "unordered",
        connection=db,
        options=ReadingOptions(keep=False),
    )
    columns = ", ".join(f'"{c}"' for c in reference.schema.names)
    rows = db.execute(f"SELECT {columns} FROM {second.table} WHERE c6 >= 0").fetchall()
    db.close()
    assert sorted(rows, key=str) == sorted((row[: len(reference.schema.names)] for row in _content(reference)), key=str)
