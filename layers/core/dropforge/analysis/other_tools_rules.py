"""What the default rules of other tools would say of the same counts: for comparison, never for the verdict.

From their published rules: Evidently 0.7 (stattests registry), SageMaker Model Monitor (constraints.json, "Simple"
comparison), NannyML (Jensen-Shannon, threshold of mean + 3 standard deviations over ten reference chunks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dropforge.analysis import two_sample_tests as st

_SMALL_REFERENCE = 1000
_FEW_VALUES = 5
_CHUNKS = 10


@dataclass(frozen=True, slots=True)
class NumberTests:
    """Of a column of numbers: p of Kolmogorov-Smirnov, Wasserstein distance in standard deviations of the reference."""

    ks_p: float
    wasserstein: float


def verdicts(
    a: Sequence[int], b: Sequence[int], *, distinct: int, rows_reference: int, numbers: NumberTests | None = None
) -> dict[str, bool]:
    """Drift or not by tool. `a`, `b`: counts over the same bins, reference and new; `numbers`: None for a category."""
    continuous = numbers if distinct > _FEW_VALUES else None
    return {
        "Evidently": _evidently(a, b, rows_reference, continuous),
        "SageMaker": (st.ks_statistic(a, b) if numbers else _largest_change(a, b)) > 0.1,
        "NannyML": jensen_shannon(a, b, 2.0) > _chunk_threshold(a),
    }


def _evidently(a: Sequence[int], b: Sequence[int], rows_reference: int, continuous: NumberTests | None) -> bool:
    if rows_reference > _SMALL_REFERENCE:
        return (continuous.wasserstein if continuous else jensen_shannon(a, b, math.e)) >= 0.1
    if continuous:
        return continuous.ks_p <= 0.05
    # Its chi-square takes the reference's shares as known without error.
    share = st.shares(a)
    n = sum(b)
    expected = [(n * p, x) for p, x in zip(share, b, strict=True) if p > 0]
    if any(x and not p for p, x in zip(share, b, strict=True)):
        return True
    return st.chi2_sf(sum((x - e) ** 2 / e for e, x in expected), max(1, len(expected) - 1)) < 0.05


def jensen_shannon(a: Sequence[float], b: Sequence[float], base: float) -> float:
    """Distance: square root of the divergence in logarithms of `base`."""
    p, q = st.shares(a), st.shares(b)
    total = 0.0
    for x, y in zip(p, q, strict=True):
        m = (x + y) / 2
        total += (x * math.log(x / m) if x else 0.0) / 2 + (y * math.log(y / m) if y else 0.0) / 2
    return math.sqrt(max(0.0, total) / math.log(base))


def _chunk_threshold(reference: Sequence[int]) -> float:
    """Mean + 3 deviations of the distance between the reference and a tenth of it, from its large-sample distribution.

    The divergence in bits is about chi-square with k-1 degrees over 8·m·ln 2 (Lin 1991 with a second-order expansion).
    """
    m = max(1.0, sum(reference) / _CHUNKS)
    k = sum(1 for c in reference if c)
    return (math.sqrt(max(0.5, k - 1.5)) + 3 * math.sqrt(0.5)) / math.sqrt(8 * m * math.log(2))


def _largest_change(a: Sequence[int], b: Sequence[int]) -> float:
    return max((abs(x - y) for x, y in zip(st.shares(a), st.shares(b), strict=True)), default=0.0)
