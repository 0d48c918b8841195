"""How many members an ensemble of trees may have: a bundle is converted, checked, loaded by a function, and scores single rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_MOST_TREES = 25_000  # of the last fit, one for each class and round: more make a bundle of a hundred megabytes
_MOST_NODES = 600_000  # of the last fit, about: as many megabytes of bundle as 25,000 trees of moderate size
_LEAST_NODES = 15  # of a tree whose nodes were not counted
_STEP = 3e-5  # milliseconds from one node of a tree to the next, of a graph that no cache holds


def members(rounds: Sequence[float], nodes: Sequence[float], classes: int, milliseconds: float | None = None) -> int:
    """How many members, of the first ones, keep to the limits together; one at least.

    rounds, nodes: of each member (0 nodes: not known). milliseconds: that a row may take, see `estimated_milliseconds`; None: any.
    """
    trees = np.asarray(rounds, dtype=float) * (classes if classes > 2 else 1)
    fits = (np.cumsum(trees) <= _MOST_TREES) & (np.cumsum(nodes) <= _MOST_NODES)
    if milliseconds is not None:
        each = [estimated_milliseconds(t, n) for t, n in zip(trees, nodes, strict=True)]
        fits &= np.cumsum(each) <= milliseconds
    return max(1, int(fits.sum()))


def estimated_milliseconds(trees: float, nodes: float) -> float:
    """Of one row on one core: each tree is walked from its root to a leaf, as deep as a balanced tree of its size."""
    size = max(nodes / max(trees, 1.0), _LEAST_NODES if not nodes else 1.0)
    return trees * math.log2(size + 1) * _STEP
