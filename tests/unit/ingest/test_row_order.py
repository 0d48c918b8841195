"""Rows keep the order of their file: their numbers, the data set's id and the scores beside them depend on it."""

from __future__ import annotations

import csv
import io
import json
import random
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge.config.settings import DataSettings
from dropforge.datasets.table_schema import Kind
from dropforge.ingest import cell_parsing, parquet_snapshot
from dropforge.ingest.admission import Admission
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import ReadingOptions, admit

from .conftest import settings

_MANY = [f"v{i}" for i in range(9)]  # DuckDB makes a join of IN with five and more
_CONTRACT: dict[str, Any] = {
    "target": "y",
    "missing_markers": ["?", "-", "none", "unknown", "n/a", "."],
    "columns": {
        "n": {"type": "integer", "unique": True, "min": 0},
        "grade": {"type": "category", "values": _MANY},
        "level": {"type": "integer", "values": list(range(9))},
        "flag": {"type": "boolean"},
    },
    "rules": [{"name": "some", "expect": "grade IN ('v0', 'v1', 'v2', 'v3', 'v4', 'v5') OR level >= 0 OR flag"}],
    "limits": {"max_quarantined_share": 0.5},
}


@pytest.fixture
def data() -> DataSettings:
    """Every condition that names more than four values."""
    return settings(**_CONTRACT).data


def test_typing_plans_no_join(tmp_path: Path, data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No column's kind, rule or marker of missing values is read by a join, behind which rows have no order."""
    lines = [f"{n},{_MANY[n % 9]},{n % 9},{('true', 'NO', 'y', '?')[n % 4]},{'ab'[n % 2]}" for n in range(40)]
    lines += ["7,v1,1,t,a", "50,other,1,t,a", "51,v1,12,t,b", "52,-,3,none,b", "53,unknown,.,n/a,a", "-4,none,-1,f,b"]
    file = tmp_path / "u.csv"
    file.write_text("\n".join(["n,grade,level,flag,y", *lines]) + "\n")
    plans, write = list[str](), parquet_snapshot.write

    def explained(db: Any, target: Path, rows: parquet_snapshot.LayeredRows, **options: Any) -> Any:
        plans.append(str(db.execute(f"EXPLAIN CREATE TABLE other AS {rows.typed()}").fetchall()[0][1]))
        return write(db, target, rows, **options)

    monkeypatch.setattr(parquet_snapshot, "write", explained)
    done = _admit(file, data)
    assert {r.code for r in done.first_rejects} == {
        "value_repeated",
        "not_a_category",
        "value_not_allowed",
        "below_minimum",
    }
    assert len(plans) == 1
    assert "join" not in plans[0].lower()


def _admit(file: Path, data: DataSettings, *, ordered: bool = True, keep: bool = True) -> Admission:
    with closing(connect(file.parent, threads=4, ordered=ordered)) as connection:
        return admit(
            file,
            data=data,
            reference=None,
            workdir=file.parent,
            connection=connection,
            options=ReadingOptions(keep=keep),
        )


# --- rows left out ------------------------------------------------------------------------------------------------------------
_TEXTS = st.sampled_from(["plain", 'a "quote"', "two\nlines", "a,comma", " spaced ", "", "ü"])
_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["good", "good", "good", "low", "rule", "short", "empty"]),
        _TEXTS,
    ),
    min_size=1,
    max_size=25,
)


def _rendered(rows: list[tuple[str, str]], end: str) -> tuple[str, list[tuple[int, str]]]:
    """A CSV text that begins with four good rows, and line and code of every row that is to be quarantined."""
    text, expected = io.StringIO(), list[tuple[int, str]]()
    text.write(f"n,note,y{end}")
    line = 2
    for k, (what, note) in enumerate([("good", "x")] * 4 + rows):
        if what == "empty":
            text.write(end)
            line += 1
            continue
        if what == "short":
            text.write(f"{k}{end}")
            expected.append((line, "too_few_fields"))
            line += 1
            continue
        number = {"low": -1, "rule": 77}.get(what, k)
        cells = io.StringIO()
        csv.writer(cells, lineterminator="", quoting=csv.QUOTE_NONNUMERIC).writerow([number, note, "ab"[k % 2]])
        text.write(cells.getvalue().replace("\n", end) + end)
        if what in {"low", "rule"}:
            expected.append((line, {"low": "below_minimum", "rule": "rule: not 77"}[what]))
        line += 1 + note.count("\n")
    return text.getvalue(), expected


@hypothesis_settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(rows=_ROWS, end=st.sampled_from(["\n", "\r\n"]))
def test_rows_left_out_are_those_of_the_file_and_of_a_second_reading(
    rows: list[tuple[str, str]], end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Line, code, reason and text are those of the file, and those that a second reading of all rows finds."""
    data = settings(
        target="y",
        columns={"n": {"type": "integer", "min": 0}, "note": {"type": "text"}},
        rules=[{"name": "not 77", "expect": "n <> 77"}],
        limits={"max_quarantined_share": 0.95},
    ).data
    text, expected = _rendered(rows, end)
    file = tmp_path_factory.mktemp("u") / "u.csv"
    file.write_bytes(text.encode())
    done = _admit(file, data, keep=False)
    assert [(r.line, r.code) for r in done.first_rejects] == expected
    again = _admit(file, data, ordered=False, keep=False)
    assert done.first_rejects == again.first_rejects
    assert [(r.name, r.violations) for r in done.rules] == [(r.name, r.violations) for r in again.rules]


@pytest.mark.parametrize("form", ["jsonl", "xlsx", "parquet"])
def test_rows_left_out_of_other_forms_are_those_of_a_second_reading(tmp_path: Path, form: str) -> None:
    """JSON lines, a workbook and a Parquet file with a column called as DuckDB calls a row's number."""
    import pandas as pd

    rng = random.Random(2)
    rows = [
        {"n": -1 if k in {3, 17} else k, "file_row_number": 77 if k in {9, 18} else rng.randrange(9), "y": "ab"[k % 2]}
        for k in range(20)
    ]
    table, file = pd.DataFrame(rows), tmp_path / f"u.{form}"
    match form:
        case "jsonl":
            file.write_text("\n".join(json.dumps(r) for r in rows[:5]) + "\n\n" + "\n".join(map(json.dumps, rows[5:])))
        case "xlsx":
            table.to_excel(file, index=False)
        case _:
            table.to_parquet(file, index=False)
    data = settings(
        target="y",
        columns={"n": {"type": "integer", "min": 0}},
        rules=[{"name": "not 77", "expect": "file_row_number <> 77"}],
        limits={"max_quarantined_share": 0.5},
    ).data
    done, again = (_admit(file, data, ordered=o, keep=False) for o in (True, False))
    first = {"jsonl": [4, 11, 19, 20], "xlsx": [5, 11, 19, 20], "parquet": [4, 10, 18, 19]}[form]
    assert [r.line for r in done.first_rejects] == first
    assert done.first_rejects == again.first_rejects


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "datetime", "category", "text"])
def test_no_cell_is_read_by_a_join(kind: Kind) -> None:
    """Of every kind the value and each of its faults: batch scoring, too, joins scores to rows by their order."""
    texts = kind in {"category", "text"}
    allowed: tuple[Any, ...] = tuple(_MANY) if texts else (True, False) if kind == "boolean" else tuple(range(9))
    rule = cell_parsing.Rule(allowed=allowed, required=True, forbidden=tuple(_MANY))
    cells = cell_parsing.Cells("f0", numeric=True, trimmed=True, seen=_MANY)
    conditions = [cell_parsing.parsed(0, kind), *cell_parsing.faults(0, kind, rule).values()]
    listed = ", ".join(f"({c}) AS x{k}" for k, c in enumerate(conditions))
    with closing(duckdb.connect()) as db:
        db.execute("CREATE TABLE raw AS SELECT 'v3' AS f0")
        relation = cell_parsing.layered("raw", [cells])
        plan = str(db.execute(f"EXPLAIN CREATE TABLE typed AS SELECT {listed} FROM {relation}").fetchall()[0][1])
    assert "join" not in plan.lower()
