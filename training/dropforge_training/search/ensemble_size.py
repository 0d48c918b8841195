"""How many members an ensemble of trees may have: a bundle is converted, checked, loaded by a function, and scores single rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_MOST_TREES = 25_000  # of the last fit, one for each class and round: more make a bundle of a hundred megabytes
_MOST_NODES = 1_000_000  # of the last fit, about: 34 megabytes, which a function of one core opens in a second
_LEAST_NODES = 15  # of a tree whose nodes were not counted
# Milliseconds from one node of a tree to the next: 5,000 trees of 85 nodes took 10 to 14 ns on rows that they had just met, and
# 24 ns on others. It chooses among trials; what is served is measured (export.one_row_time).
_STEP = 2e-5


def members(rounds: Sequence[float], nodes: Sequence[float], classes: int) -> int:
    """How many members, of the first ones, make a bundle that can be loaded; one at least.

    rounds, nodes: of each member (0 nodes: not known).
    """
    trees = np.asarray(rounds, dtype=float) * (classes if classes > 2 else 1)
    fits = (np.cumsum(trees) <= _MOST_TREES) & (np.cumsum(nodes) <= _MOST_NODES)
    return max(1, int(fits.sum()))


def within(each: Sequence[float], milliseconds: float | None) -> int:
    """How many members, of the first ones, answer a row in so many milliseconds together (None: all); one at least.

    each: milliseconds of each member, see `estimated_milliseconds`.
    """
    if milliseconds is None:
        return len(each)
    return max(1, int((np.cumsum(each) <= milliseconds).sum()))


def estimated_milliseconds(trees: float, nodes: float) -> float:
    """Of one row on one core: each tree is walked from its root to a leaf, as deep as a balanced tree of its size.

    trees: that a row walks through; nodes: of all of them (0: not known).
    """
    size = max(nodes / max(trees, 1.0), _LEAST_NODES if not nodes else 1.0)
    return trees * math.log2(size + 1) * _STEP
