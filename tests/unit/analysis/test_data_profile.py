"""What a profile's sketches tell of rows."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dropforge.analysis import profile_queries
from dropforge.analysis.data_profile import ROW_SKETCH, Profile, shared_rows
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest.duckdb_connection import connect, name

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="integer"),
        Column(name="pay", kind="number"),
        Column(name="city", kind="category"),
        Column(name="at", kind="datetime"),
        Column(name="label", kind="category"),
    ),
    target="label",
)
Rows = list[tuple[Any, ...]]


def _profile(rows: Rows, like: Profile | None = None) -> Profile:
    with TemporaryDirectory() as folder:
        db = connect(Path(folder))
        db.execute("CREATE TABLE t (age BIGINT, pay DOUBLE, city VARCHAR, days BIGINT, label VARCHAR)")
        if rows:
            cells = ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
            db.execute(f"INSERT INTO t VALUES {cells}", [v for row in rows for v in row])
        features = "age, pay, city, days, label"
        db.execute(
            f"CREATE TABLE snapshot AS SELECT age, pay, city, TIMESTAMP '2020-01-01' + to_days(days::INT) AS at, label, "
            f"hash({features}) AS {name(ROW_HASH)} FROM t"
        )
        return profile_queries.build(db, "snapshot", SCHEMA, like)


def test_rows_that_the_reference_has_are_seen() -> None:
    """Half of the upload is old: the estimate is near one half; nothing in common is none."""
    old = [(i, i / 7, "Bern", i % 90, "yes") for i in range(2000)]
    new = [*old[:800], *((-i - 1, i / 3, "Rome", i % 80, "no") for i in range(800))]
    like = _profile(old)
    share, seen = shared_rows(like, _profile(new, like))
    assert share == pytest.approx(0.5, abs=0.08)
    assert 100 < seen <= ROW_SKETCH
    assert shared_rows(like, _profile(new[800:], like))[0] == 0
