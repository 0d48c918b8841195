"""Values outside the reference's range, of few rows: by their number and by how far they lie."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable

import pytest
from tests.conftest import repeats

from dropforge.analysis import tail_tests
from dropforge.analysis.data_profile import EXTREMES, ColumnProfile


def _profile(values: list[float], edges: tuple[float, ...] = ()) -> ColumnProfile:
    """As a table of few rows has it, every value with a bin of its own in the reference."""
    different = sorted(set(values))
    edges = edges or tuple(different)
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_left(edges, value)] += 1
    return ColumnProfile(
        name="x",
        kind="number",
        rows=len(values),
        missing=0,
        distinct=len(different),
        edges=edges,
        counts=tuple(counts),
        minimum=different[0],
        maximum=different[-1],
        below=sum(v < edges[0] for v in values),
        lowest=tuple(different[:EXTREMES]),
        highest=tuple(different[::-1][:EXTREMES]),
    )


def _p_value(old: list[float], new: list[float]) -> float:
    before = _profile(old)
    after = _profile(new, before.edges)
    return tail_tests.p_value(before, after, after.below, after.counts[-1])


DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda rng: rng.random(),
    "normal": lambda rng: rng.gauss(100, 10),
    "lognormal": lambda rng: rng.lognormvariate(0, 1),
    "pareto": lambda rng: rng.paretovariate(1),
    "cauchy": lambda rng: math.tan(math.pi * (rng.random() - 0.5)),
    "mostly_zero": lambda rng: 0.0 if rng.random() < 0.9 else rng.lognormvariate(7, 1),
}


@pytest.mark.repeated
@pytest.mark.parametrize("rows", [(60, 60), (250, 120)])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_unchanged_values_are_rejected_no_more_often_than_the_level(name: str, rows: tuple[int, int]) -> None:
    """At two levels, within three standard deviations of chance: bounded, light, heavy tails, ties."""
    rng, draw, runs = random.Random(f"{name} {rows}"), DISTRIBUTIONS[name], repeats(300, 20_000)
    found = [_p_value(*([draw(rng) for _ in range(n)] for n in rows)) for _ in range(runs)]
    for level in (0.05, 0.002):
        assert sum(p <= level for p in found) <= runs * level + 3 * math.sqrt(runs * level)


@pytest.mark.parametrize("factor", [1000.0, -1.0])
def test_six_values_far_beyond_all_others_are_no_chance(factor: float) -> None:
    """Of 150: in another unit, or without their sign; by their number alone one clean file in 64 would have as many."""
    rng = random.Random(5)
    old, new = ([rng.lognormvariate(3, 0.5) for _ in range(150)] for _ in range(2))
    assert _p_value(old, new) > 0.05
    assert _p_value(old, [x * factor if i < 6 else x for i, x in enumerate(new)]) < 0.0005


def test_three_values_are_chance_however_far_they_lie() -> None:
    """A column may have a few wild values of its own: that all three are in one of two files happens to one in eight."""
    rng = random.Random(6)
    old, new = ([rng.gauss(100, 10) for _ in range(150)] for _ in range(2))
    assert _p_value(old, [x * 1000 if i < 3 else x for i, x in enumerate(new)]) > 0.05


def test_a_reference_without_extremes_is_compared_by_number_alone() -> None:
    """As an earlier version stored it: six values beyond it are not enough for a column among many, sixteen are."""
    rng = random.Random(7)
    old, new = ([rng.gauss(100, 10) for _ in range(150)] for _ in range(2))
    before = _profile(old).model_copy(update={"lowest": (), "highest": ()})
    for far, low, high in ((6, 1e-2, 1.0), (16, 0.0, 1e-3)):
        after = _profile([x * 1000 if i < far else x for i, x in enumerate(new)], before.edges)
        assert low < tail_tests.p_value(before, after, 0, after.counts[-1]) <= high
