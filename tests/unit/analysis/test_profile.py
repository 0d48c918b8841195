"""Profiles of parts add up to the profile of the whole."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropforge.analysis import measure
from dropforge.analysis.profile import ROW_SKETCH, Profile, distinct_of, merge, shared_rows
from dropforge.data.engine import connect, name
from dropforge.data.schema import ROW_HASH, Column, Schema

from ...conftest import repeats

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
ROW = st.tuples(
    st.none() | st.integers(-50, 120),
    st.none() | st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)),
    st.none() | st.sampled_from(["Bern", "Oslo", "Rome", "=1", "it's"]),
    st.none() | st.integers(0, 20_000),
    st.none() | st.sampled_from(["yes", "no"]),
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
        return measure.build(db, "snapshot", SCHEMA, like)


@pytest.mark.repeated
@settings(max_examples=repeats(6, 100), deadline=None)
@given(st.lists(ROW, min_size=1, max_size=60), st.lists(ROW, max_size=60), st.lists(ROW, min_size=1, max_size=60))
def test_profiles_of_two_halves_merge_to_that_of_the_whole(reference: Rows, first: Rows, second: Rows) -> None:
    """Counts, extremes, pair counts, sketches and distinct values exactly; sums to rounding."""
    like = _profile(reference)
    merged, whole = merge(_profile(first, like), _profile(second, like)), _profile([*first, *second], like)
    assert (merged.rows, merged.duplicates, merged.sketch) == (whole.rows, whole.duplicates, whole.sketch)
    assert merged.pairs == whole.pairs
    for one, both in zip(merged.columns, whole.columns, strict=True):
        exact = {"rows", "missing", "distinct", "edges", "minimum", "maximum", "fences", "outliers", "sketch", "other"}
        assert one.model_dump(include=exact) == both.model_dump(include=exact)
        assert _counted(one) == _counted(both)
        assert one.total == pytest.approx(both.total, rel=1e-9, abs=1e-3)
        assert one.squares == pytest.approx(both.squares, rel=1e-9, abs=1e-3)
    for part in ("by_class", "products"):
        sums = [[(s.first, s.second, s.group, s.n) for s in getattr(p, part)] for p in (merged, whole)]
        assert sums[0] == sums[1]
        for s, t in zip(getattr(merged, part), getattr(whole, part), strict=True):
            assert (s.x, s.xx, s.xy) == pytest.approx((t.x, t.xx, t.xy), rel=1e-9, abs=1e-2)


def _counted(column: Any) -> Any:
    return {v: c for v, c in zip(column.values, column.counts, strict=True) if c} if column.values else column.counts


def test_a_sketch_counts_few_exactly_and_many_about() -> None:
    """Below its size a sketch is the set itself; above, the estimate is within ten per cent here."""
    assert distinct_of((1, 5, 9), 256) == 3
    spread = [int((i + 0.5) * 2**64 / 50_000) for i in range(256)]
    assert distinct_of(spread, 256) == pytest.approx(50_000, rel=0.1)


def test_rows_that_the_reference_has_are_seen() -> None:
    """Half of the upload is old: the estimate is near one half; nothing in common is none."""
    old = [(i, i / 7, "Bern", i % 90, "yes") for i in range(2000)]
    new = [*old[:800], *((-i - 1, i / 3, "Rome", i % 80, "no") for i in range(800))]
    like = _profile(old)
    share, seen = shared_rows(like, _profile(new, like))
    assert share == pytest.approx(0.5, abs=0.08)
    assert 100 < seen <= ROW_SKETCH
    assert shared_rows(like, _profile(new[800:], like))[0] == 0
