"""Counts of the shards of a table add up to those of the table."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dropforge.analysis import profile_queries, row_counts
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.row_counts import RowCounts
from dropforge.analysis.shard_counts import ShardCounts
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.ingest.duckdb_connection import connect, name

from ...differences import differences

SCHEMA = Schema(
    columns=(
        Column(name="age", kind="integer"),
        Column(name="pay", kind="number"),
        Column(name="city", kind="category"),
        Column(name="note", kind="text"),
        Column(name="member", kind="boolean"),
        Column(name="at", kind="datetime"),
        Column(name="until", kind="datetime"),
        Column(name="label", kind="category"),
    ),
    target="label",
    classes=("no", "yes"),
)
ROWS = 3000


def _table(db: Any, seed: int) -> None:
    """Rows with missing cells, 300 categories, free text, duplicates and contradicting labels."""

    def draw(salt: int, modulus: int) -> str:
        return f"(hash(i * 64 + {seed * 1000 + salt}) % {modulus})"

    moment = "TIMESTAMP '2020-01-01' + to_seconds({})"
    columns = {
        "age": f"CASE WHEN {draw(1, 10)} > 0 THEN ({draw(2, 40)} + {draw(3, 40)})::BIGINT END",
        "pay": f"CASE WHEN {draw(4, 20)} > 0 THEN round(10000 / (1 + {draw(5, 9973)}), 4) END",
        "city": f"'city ' || (1 + 300 / (1 + {draw(6, 400)}))::INT || {draw(7, 2)}",
        "note": f"CASE WHEN {draw(8, 10)} > 0 THEN 'Grüße ' || {draw(9, 1700)} END",
        "member": f"{draw(10, 5)} < 2",
        "at": moment.format(draw(11, 10**6)),
        "until": f"CASE WHEN {draw(12, 10)} > 0 THEN {moment.format(draw(13, 10**6))} END",
    }
    features = ", ".join(map(name, columns))
    named = ", ".join(f"{sql} AS {name(column)}" for column, sql in columns.items())
    # The last 500 rows repeat earlier ones, some with another label.
    label = f"CASE hash(n * 7 + {seed}) % 4 WHEN 0 THEN 'yes' WHEN 1 THEN NULL ELSE 'no' END"
    rows = f"SELECT n, CASE WHEN n > {ROWS} - 500 THEN (n - {ROWS} + 500) * 3 ELSE n END AS i FROM range(1, {ROWS} + 1) r(n)"
    db.execute(
        f"CREATE TABLE snapshot AS SELECT *, hash({features}, label) AS {name(ROW_HASH)} FROM "
        f"(SELECT n, {named}, {label} AS label FROM ({rows}))"
    )


def _sharded(db: Any, folder: Path, cuts: list[int], like: Profile | None, order: random.Random) -> Profile:
    shards = []
    for k, (low, high) in enumerate(zip([0, *cuts], [*cuts, ROWS], strict=True)):
        shard = folder / f"shard-{k}"
        shard.mkdir()
        counts = RowCounts(f"(SELECT * EXCLUDE (n) FROM snapshot WHERE n > {low} AND n <= {high})", SCHEMA)
        row_counts.write(db, counts, shard, like)
        shards.append((shard, counts))
    order.shuffle(shards)
    merged = ShardCounts(
        SCHEMA,
        [shard for shard, _ in shards],
        lambda axes: [row_counts.count_pairs(db, counts, axes, ROWS) for _, counts in shards],
    )
    return profile_queries.profile(db, merged, like)


@pytest.mark.parametrize("shards", [1, 7, 12])
def test_profile_of_shards_is_that_of_the_table(tmp_path: Path, shards: int) -> None:
    """Wherever a table is cut and in whatever order its shards come, its profile is the same, with and without a reference."""
    rng = random.Random(shards)
    profiles = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        with closing(connect(folder)) as db:
            _table(db, number)
            like = profiles[0] if profiles else None
            whole = profile_queries.build(db, "snapshot", SCHEMA, like)
            cuts = sorted(rng.sample(range(ROWS), shards - 1))
            merged = _sharded(db, folder, cuts, like, rng)
        assert whole.duplicates
        assert whole.conflicts
        assert not differences(whole.model_dump(), merged.model_dump())
        profiles.append(whole)


def test_a_shard_without_rows_adds_nothing(tmp_path: Path) -> None:
    """A shard whose rows were all quarantined leaves the profile as it is."""
    with closing(connect(tmp_path)) as db:
        _table(db, 3)
        merged = _sharded(db, tmp_path, [1000, 1000, ROWS], None, random.Random(1))
        whole = profile_queries.build(db, "snapshot", SCHEMA)
    assert not differences(whole.model_dump(), merged.model_dump())
