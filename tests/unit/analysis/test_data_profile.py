"""What a profile's sketches tell of rows."""

from __future__ import annotations

import random
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


@pytest.mark.parametrize("seed", range(3))
def test_a_profile_is_the_same_by_lists_and_by_statements(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that are fetched and looked through give what one statement on them gives, field for field, with and without bins."""
    rng = random.Random(seed)
    rows = [_random_row(rng) for _ in range(600)]
    others = [*rows[:200], *(_random_row(rng) for _ in range(300)), (None, -50.0, "new", 400, "maybe")]
    listed = _profile(rows)
    again = _profile(others, listed)
    monkeypatch.setattr(profile_queries, "_LISTED", profile_queries._POINTS)  # those of more values are asked for
    monkeypatch.setattr(profile_queries, "_top", _by_rank)
    assert _profile(rows) == listed
    monkeypatch.setattr(profile_queries, "_LISTED", 0)  # bins are known: every column is asked for
    assert _profile(others, listed) == again
    assert len(listed.columns[0].edges) < 80 < listed.columns[1].distinct
    assert again.columns[1].below
    assert again.columns[2].other == listed.columns[2].other == 0


def _random_row(rng: random.Random) -> tuple[Any, ...]:
    number = None if rng.random() < 0.05 else rng.choice([0.0, -0.0, 1e12, rng.gauss(0, 1)])
    city = rng.choices([f"city {k}" for k in range(60)], range(1, 61))[0]
    return rng.randrange(40), number, city, rng.randrange(90), rng.choice(["yes", "no", None])


def _by_rank(db: Any, texts: str) -> list[tuple[str, int]]:
    """The most frequent texts by a window over all of them."""
    ranked = f"SELECT text, c, row_number() OVER (ORDER BY c DESC, text) AS n FROM {texts}"
    return [(t, c) for t, c in db.execute(f"SELECT text, c FROM ({ranked}) WHERE n <= 201 ORDER BY n").fetchall()]
