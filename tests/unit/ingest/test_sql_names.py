"""A user's columns may have any name, also one that our SQL gives to something."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import dropforge.analysis
import dropforge.batch
import dropforge.datasets
import dropforge.ingest
import dropforge.monitoring
from dropforge.analysis import profile_queries
from dropforge.analysis.report.build_report import compare_files
from dropforge.batch.scoring_table import ModelContract, opened
from dropforge.config.settings import DataSettings, Settings
from dropforge.datasets.table_schema import ROW_HASH
from dropforge.errors import RejectedUpload
from dropforge.inference.bundle_manifest import Feature
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import admit

ROWS = 120
_SQL = re.compile(r"\b(SELECT|FROM|WHERE|AS|CASE|CAST|JOIN|OVER|FILTER|GROUP|ORDER|VALUES)\b(?!.*\n)")
_ODD = [
    '"',
    "'",
    "a b",
    "a.b",
    "é",
    "ß",
    "名",
    "a;--",
    "x\\y",
    "%s",
    "{c}",
    "$1",
    "?",
    "*",
    "-",
    "0",
    "1e5",
    "x'y\"z",
    "𐀀",
]


def _identifiers() -> list[str]:
    """Every word of the packages' SQL: aliases, tables, functions, keywords."""
    words: set[str] = set()
    for package in (dropforge.ingest, dropforge.datasets, dropforge.batch, dropforge.monitoring, dropforge.analysis):
        for file in Path(str(package.__file__)).parent.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.search(node.value):
                    words |= set(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", node.value.lower()))
    of_engine = {"rowid", "file_row_number", "filename", "file_index", "main", "memory", "tableoid", "columns"}
    numbered = {f"{c}{i}" for c in "rtvdbfcpxe" for i in range(3)}
    return sorted((words | of_engine | numbered) - {ROW_HASH})


def _groups() -> list[list[str]]:
    """The names in tables of some forty columns; every second one in capitals."""
    names = [n.upper() if k % 2 else n for k, n in enumerate([*_identifiers(), *_ODD])]
    random.Random(5).shuffle(names)
    return [names[k::6] for k in range(6)]


def _settings(target: str) -> Settings:
    return Settings.model_validate(
        {"project": "demo", "data": {"target": target}, "models": [{"name": "m", "class": "a.b:C"}]}
    )


def _table(names: Sequence[str]) -> list[str]:
    """Numbers, categories, whole numbers that count down and dates in turn, the target; at the end a row with a bad cell."""
    rng = random.Random(3)
    lines = [",".join('"' + n.replace('"', '""') + '"' for n in names)]
    for i in range(ROWS):
        values = [f"{rng.random():.3f}", rng.choice("abc"), str(ROWS - i), f"2024-01-{i % 28 + 1:02d}"]
        lines += [",".join([*(values[k % 4] for k in range(len(names) - 1)), "ny"[i % 2]])]
    return [*lines, ",".join(["oops", *lines[-1].split(",")[1:]])]


@pytest.mark.parametrize(
    "names",
    [pytest.param(names, marks=pytest.mark.campaign if n > 1 else ()) for n, names in enumerate(_groups())],
    ids=lambda names: names[0],
)
def test_a_file_is_loaded_profiled_and_scored_whatever_its_columns_are_called(tmp_path: Path, names: list[str]) -> None:
    """The bad row is quarantined, every other one is read into the columns of their names, and each score stands in its row."""
    file, lines = tmp_path / "u.csv", _table(names)
    file.write_text("\n".join(lines) + "\n")
    admission = admit(file, data=_settings(names[-1]).data, reference=None, workdir=tmp_path)
    assert (admission.rows_in, admission.rows_used, admission.schema.names) == (ROWS + 1, ROWS, tuple(names))
    read = duckdb.connect().sql(f"SELECT * FROM read_parquet('{admission.snapshot}')")
    assert read.columns == [*names, ROW_HASH]
    assert [row[2] for row in read.fetchall()] == [*range(ROWS, 0, -1)]
    with closing(connect(tmp_path)) as db:
        profile = profile_queries.build(db, profile_queries.in_memory(db, admission.snapshot), admission.schema)
    assert (profile.rows, profile.duplicates) == (ROWS, 0)
    scored = _scored(tmp_path, file, names[:3])
    assert len(scored) == ROWS + 1
    for line, original in zip(scored[1:], lines[1 : ROWS + 1], strict=True):
        assert line.startswith(f"{original},")
        assert float(line.rsplit(",", 1)[1]) == float(original.split(",", 1)[0])


def _scored(folder: Path, file: Path, features: Sequence[str]) -> list[str]:
    """The lines of the answer, whose probability of `hi` is the first column, in chunks of fifty rows."""
    columns = [Feature(n, k) for n, k in zip(features, ("number", "category", "integer"), strict=True)]
    with (
        closing(connect(folder)) as db,
        opened(
            file,
            workdir=folder,
            connection=db,
            data=DataSettings(target="-"),
            contract=ModelContract(columns),
        ) as rows,
    ):
        rows.read()
        for chunk in rows.chunks(50):
            x: Any = np.asarray(chunk[features[0]])
            rows.keep((x > 0.5).astype(int), np.stack([1 - x, x], axis=1))
        return rows.write(folder / "o.csv", ("lo", "hi")).read_text().splitlines()


@pytest.mark.parametrize("target", ["BAD", "label", "v", "rows"])
def test_two_files_are_compared_whatever_the_target_is_called(tmp_path: Path, target: str) -> None:
    """A row is quarantined on the way."""
    file = tmp_path / "u.csv"
    file.write_text("\n".join(_table(["h", "job", "n", "c", target])) + "\n")
    report = compare_files(file, file, _settings(target))
    assert (report.intake.rows_used, report.intake.rows_quarantined) == (ROWS, 1)


def test_two_columns_of_one_name_are_refused_in_every_format(tmp_path: Path) -> None:
    """Parquet tells a from A; DuckDB does not, and would rename one of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for names, code in ((["a", "A", "y"], "duplicate_header"), (["a", "", "b", "y"], "blank_header")):
        file = tmp_path / "u.parquet"
        pq.write_table(pa.Table.from_arrays([pa.array(["1", "2"])] * len(names), names=names), file)
        with pytest.raises(RejectedUpload) as caught:
            admit(file, data=DataSettings(target="y"), reference=None, workdir=tmp_path)
        assert caught.value.code == code
