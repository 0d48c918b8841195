"""Estimates of how many distinct texts a column has, from registers that add up over the shards of a table.

Registers are DuckDB's (HyperLogLog: Flajolet et al. 2007), read by `approx_count_distinct(…) EXPORT_STATE`; a register of a union is
the larger one of its parts. DuckDB cannot estimate from registers that were read, so that its estimator (Ertl 2017, algorithm 6)
stands here: the same number, held by a test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_HASH_BITS = 64
_ALPHA = 1 / (2 * math.log(2))


def united(registers: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Registers of the union; a part without cells has none."""
    return tuple(max(same) for same in zip(*(r for r in registers if r), strict=True))


def estimate(registers: Sequence[int]) -> int:
    """Distinct texts; 0 without registers."""
    m = len(registers)
    if not m:
        return 0
    last = _HASH_BITS - (m.bit_length() - 1)
    counts = [0] * (last + 2)
    for register in registers:
        counts[register] += 1
    z = m * _tau((m - counts[last + 1]) / m)
    for k in range(last, 0, -1):
        z = (z + counts[k]) * 0.5
    z += m * _sigma(counts[0] / m)
    return round(_ALPHA * m * m / z)


def _tau(x: float) -> float:
    if x in {0.0, 1.0}:
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x, before, y = math.sqrt(x), z, y * 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z = 1.0, x
    while True:
        x, before = x * x, z
        z += x * y
        y += y
        if z == before:
            return z
