"""The statistics, against scipy."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from dropforge.analysis import two_sample_tests as ours

counts = st.lists(st.integers(5, 500), min_size=2, max_size=12)


@given(x=st.floats(0.01, 500), df=st.integers(1, 100))
def test_the_chi_square_tail_is_scipys(x: float, df: int) -> None:
    """To ten digits over the range a table can give."""
    assert ours.chi2_sf(x, df) == pytest.approx(float(scipy.stats.chi2.sf(x, df)), rel=1e-9, abs=1e-14)


@given(pairs=st.lists(st.tuples(st.integers(20, 500), st.integers(20, 500)), min_size=2, max_size=12))
def test_the_contingency_test_is_scipys_where_nothing_is_pooled(pairs: list[tuple[int, int]]) -> None:
    """Statistic, degrees of freedom and p without Yates' correction."""
    a, b = zip(*pairs, strict=True)
    share = min(sum(a), sum(b)) / (sum(a) + sum(b))
    if min(x + y for x, y in pairs) * share < 5:
        return
    expected = scipy.stats.chi2_contingency([a, b], correction=False)
    statistic, df, p = ours.chi2_contingency(a, b)
    assert (statistic, df) == (pytest.approx(expected.statistic), expected.dof)
    assert p == pytest.approx(expected.pvalue, abs=1e-12)


def test_rare_categories_are_pooled() -> None:
    """Categories with fewer than five expected rows count as one; two samples of one category do not differ."""
    _, df, _ = ours.chi2_contingency([1000, 900, 1, 2, 1], [50, 45, 1, 0, 1])
    assert df == 1
    assert ours.chi2_contingency([100], [50])[2] == 1.0
    assert ours.chi2_contingency([0, 0], [5, 5])[2] == 1.0


@pytest.mark.parametrize(("n", "m"), [(50, 80), (200, 5000), (5000, 5000), (30000, 16000)])
@pytest.mark.parametrize("d", [0.01, 0.03, 0.08, 0.2])
def test_the_ks_p_value_is_near_scipys(n: int, m: int, d: float) -> None:
    """Within 0.02, and within a fifth where it matters: Stephens' correction against the asymptotic form."""
    expected = float(scipy.stats.kstwobign.sf(d * math.sqrt(n * m / (n + m))))
    p = ours.ks_p_value(d, n, m)
    assert p == pytest.approx(expected, abs=0.02) or p < expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    """The same hypotheses are rejected."""
    adjusted = scipy.stats.false_discovery_control(p)
    for rejected, q in zip(ours.benjamini_hochberg(p, 0.05), adjusted, strict=True):
        if abs(q - 0.05) > 1e-9:
            assert rejected == (q <= 0.05)


def test_the_distance_is_scipys_on_points() -> None:
    """Over the values themselves, the binned Wasserstein distance is the exact one."""
    points, a, b = [1.0, 2.0, 4.0, 8.0], [10, 20, 5, 5], [5, 10, 15, 10]
    widths = [y - x for x, y in pairwise(points)]
    assert ours.wasserstein(a, b, widths, 1.0) == pytest.approx(scipy.stats.wasserstein_distance(points, points, a, b))


def test_the_null_means_are_what_chance_gives() -> None:
    """Mean distance of two samples of one distribution, by simulation: within a tenth."""
    rng = random.Random(7)
    weights, points = [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 2.0, 3.0]
    variations, distances = [], []
    for _ in range(400):
        a = _counted(rng.choices(range(4), weights, k=500))
        b = _counted(rng.choices(range(4), weights, k=200))
        variations.append(ours.total_variation(a, b))
        distances.append(ours.wasserstein(a, b, [1.0, 1.0, 1.0], 1.0))
    a, b = [200, 150, 100, 50], [80, 60, 40, 20]
    assert ours.total_variation_null(a, b) == pytest.approx(sum(variations) / 400, rel=0.1)
    assert ours.wasserstein_null(a, b, [1.0, 1.0, 1.0], 1.0) == pytest.approx(sum(distances) / 400, rel=0.1)
    assert len(points) == 4


def _counted(values: list[int]) -> list[int]:
    return [values.count(i) for i in range(4)]


@given(a=counts)
def test_a_sample_does_not_differ_from_itself(a: list[int]) -> None:
    """All distances are zero and no p-value is small."""
    assert ours.total_variation(a, a) == 0
    assert ours.psi(a, a) == pytest.approx(0, abs=1e-12)
    assert ours.ks_statistic(a, a) == 0
    assert ours.chi2_contingency(a, a)[2] == pytest.approx(1)


def test_more_rows_show_smaller_changes() -> None:
    """The smallest detectable change shrinks with the rows; with none there is nothing to see."""
    sizes = [ours.smallest_detectable_shift(n, 30_000) for n in (50, 500, 5000)]
    assert sizes == sorted(sizes, reverse=True)
    assert ours.smallest_detectable_shift(0, 5) == math.inf
    assert ours.smallest_detectable_variation(5000, 5000, 5) < ours.smallest_detectable_variation(50, 5000, 5)


@given(n=st.integers(1, 400), fraction=st.floats(0.001, 0.999), above=st.floats(0.001, 1.0))
def test_the_bound_of_an_allocation_is_chernoffs(n: int, fraction: float, above: float) -> None:
    """Of alike parts of 0 or 1 it is exp(-n·KL(k/n ‖ p)), which no binomial tail exceeds."""
    mean = n * fraction
    observed = mean + above * (n - mean)
    share = observed / n
    divergence = share * math.log(share / fraction)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - fraction))
    outcomes = [(n, [(0.0, math.log(1 - fraction)), (1.0, math.log(fraction))])]
    bound = ours.allocation_p_value(outcomes, observed)
    assert bound == pytest.approx(math.exp(-n * divergence), rel=1e-6, abs=1e-15)
    assert bound >= float(scipy.stats.binom.sf(math.ceil(observed) - 1, n, fraction)) * (1 - 1e-9)


@given(
    new=st.lists(st.floats(1.01, 1e6), min_size=1, max_size=16),
    reference=st.lists(st.floats(0.001, 0.99), min_size=2, max_size=15, unique=True),
)
def test_the_gap_beyond_a_tail_is_scipys_f_distribution(new: list[float], reference: list[float]) -> None:
    """Mean logarithms of k and m exceedances: F with 2k and 2m degrees of freedom."""
    known = sorted([1.0, *reference], reverse=True)
    k, m = len(new), len(reference)
    far, near = sum(math.log(x) for x in new), sum(math.log(x / known[-1]) for x in known[:-1])
    expected = float(scipy.stats.f.sf(far / k / (near / m), 2 * k, 2 * m))
    assert ours.gap_p_value(new, known) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_no_gap_where_there_is_no_tail() -> None:
    """Nothing beyond, one reference value, or values that are not positive: nothing is concluded."""
    assert ours.gap_p_value([], [3.0, 2.0]) == 1.0
    assert ours.gap_p_value([9.0], [3.0]) == 1.0
    assert ours.gap_p_value([9.0], [3.0, 0.0]) == 1.0
    assert ours.gap_p_value([9.0], [3.0, 3.0]) == 1.0


@given(first=st.floats(1e-12, 1), second=st.floats(1e-12, 1))
def test_two_p_values_together_are_fishers(first: float, second: float) -> None:
    """Minus twice the logarithm of the product is chi-square with four degrees of freedom."""
    expected = float(scipy.stats.combine_pvalues([first, second], method="fisher").pvalue)
    assert ours.both(first, second) == pytest.approx(expected, rel=1e-9)
