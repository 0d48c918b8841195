"""A linear model of columns cut into bins, which is a sum of one small tree a column: a member unlike boosted trees that is exported,
explained and blended as they are.

Each column contributes what its bin is worth: a coefficient times the bin's mean, and another one times its normal score (van der
Waerden), so that far-off values and skewed columns do no harm. Nothing is approximated afterwards: the tree has the same bins.
Beyond the outermost bins the contribution stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge

from dropforge_training.models.tree_conversion import Tree

_BINS = 32  # of a column
_CELLS = 4_000_000  # of the matrix that is fitted: of more rows a sample is taken
_ITERATIONS = 100


@dataclass(frozen=True, slots=True)
class _Column:
    """`edges`: a value up to edges[i], and above the one before, is in bin i, shape [bins - 1] (float32); `basis`: what a bin says,
    shape [bins + 1, functions], the last for a missing value; `rows`: of each bin and of the missing ones.
    """

    edges: np.ndarray
    basis: np.ndarray
    rows: np.ndarray

    def places(self, x: np.ndarray) -> np.ndarray:
        """The bin of each value, shape as x."""
        return np.where(np.isnan(x), len(self.rows) - 1, np.searchsorted(self.edges, x, side="left"))


class AdditiveTrees:
    """Logistic or, of 0 classes, ridge regression of the bins. `strength`: of the penalty on standardised functions, in rows."""

    def __init__(self, strength: float, *, seed: int, classes: int, monotone: tuple[int, ...] = ()) -> None:
        self._strength = strength
        self._seed = seed
        self._classes = classes
        self._monotone = monotone

    def fit(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> AdditiveTrees:
        """x: shape [rows, columns] (float32, NaN: missing); y: codes or numbers."""
        signs = self._monotone or (0,) * x.shape[1]
        self._columns = [_column(x[:, j], plain=signs[j] != 0) for j in range(x.shape[1])]
        sizes = [c.basis.shape[1] for c in self._columns]
        most = _CELLS // max(1, sum(sizes))
        chosen = np.arange(len(y))
        if len(y) > most:
            chosen = np.sort(np.random.default_rng(self._seed).permutation(len(y))[:most])
        parts = [c.basis[c.places(x[chosen, j])] for j, c in enumerate(self._columns)]
        matrix = np.concatenate(parts, axis=1) if parts else np.zeros((len(chosen), 0))
        given = None if weight is None else weight[chosen]
        logistic = LogisticRegression(C=1 / self._strength, max_iter=_ITERATIONS)
        fitted: Any = logistic if self._classes else Ridge(alpha=self._strength)
        fitted.fit(matrix, y[chosen], sample_weight=given)
        coefficients = np.atleast_2d(fitted.coef_)
        self._intercept = np.atleast_1d(fitted.intercept_)
        self._worth = []  # of each column's bins, shape [bins + 1, outputs]
        for column, part, sign in zip(
            self._columns, np.split(coefficients, np.cumsum(sizes)[:-1], axis=1), signs, strict=True
        ):
            allowed = np.where(part * sign < 0, 0.0, part)  # what would fall where it must rise says nothing
            self._worth.append(column.basis @ allowed.T)
        return self

    def margin(self, x: np.ndarray) -> np.ndarray:
        """Shape [rows, outputs]: one output of two classes (log-odds of the second) and of a number."""
        total = np.tile(self._intercept, (len(x), 1))
        for j, (column, worth) in enumerate(zip(self._columns, self._worth, strict=True)):
            total += worth[column.places(x[:, j])]
        return total

    def trees(self) -> list[Tree]:
        """One of each column and output, and one leaf for the intercept of each output."""
        none, zero = np.full(1, -1), np.zeros(1)
        leaves = [
            Tree(k, zero.astype(int), zero, zero.astype(bool), none, none, np.array([value]), np.ones(1))
            for k, value in enumerate(self._intercept)
        ]
        split = [(j, c, w) for j, (c, w) in enumerate(zip(self._columns, self._worth, strict=True)) if np.any(w)]
        return leaves + [_tree(c, w[:, k], j, k) for j, c, w in split for k in range(w.shape[1])]


def _column(x: np.ndarray, *, plain: bool) -> _Column:
    """plain: its bins' means alone, whose contribution rises or falls throughout."""
    known = np.sort(x[~np.isnan(x)])
    distinct = np.unique(known)
    if len(distinct) > _BINS:
        at = np.unique(known[(np.arange(1, _BINS) * len(known)) // _BINS])
        edges = at[at < distinct[-1]]
    else:
        edges = distinct[:-1]
    place = np.searchsorted(edges, known, side="left")
    rows = np.bincount(place, minlength=len(edges) + 1).astype(float)
    total = max(1.0, rows.sum())
    mean = np.bincount(place, weights=np.asarray(known, dtype=np.float64), minlength=len(rows)) / np.maximum(rows, 1)
    functions = [mean]
    if len(rows) > 2 and not plain:
        functions.append(norm.ppf((np.cumsum(rows) - rows / 2) / total))
    standard = [_standardised(f, rows, total) for f in functions]
    missing = float(np.isnan(x).sum())
    basis = np.append(np.column_stack(standard), np.zeros((1, len(standard))), axis=0)
    if missing:
        absent = np.zeros((len(basis), 1))
        absent[-1] = 1.0
        basis = np.append(basis, absent, axis=1)
    return _Column(edges.astype(np.float32), basis, np.append(rows, missing))


def _standardised(values: np.ndarray, rows: np.ndarray, total: float) -> np.ndarray:
    """Mean 0 and spread 1 over the rows of the bins; zeros of a column without spread."""
    centred = values - (values * rows).sum() / total
    spread = float(np.sqrt((centred**2 * rows).sum() / total))
    return np.asarray(centred / spread) if spread > 0 and np.isfinite(spread) else np.zeros(len(values))


def _tree(column: _Column, worth: np.ndarray, feature: int, output: int) -> Tree:
    """Missing values leave at the root; the others find their bin by halves."""
    nodes: list[tuple[float, int, int, float, float]] = []  # threshold, left, right, value, rows

    def add(low: int, high: int) -> int:
        place = len(nodes)
        nodes.append((0.0, -1, -1, float(worth[low]), float(column.rows[low])))
        if low < high:
            middle = (low + high) // 2
            children = add(low, middle), add(middle + 1, high)
            rows = sum(nodes[c][4] for c in children)
            nodes[place] = (float(column.edges[middle]), *children, 0.0, rows)
        return place

    nodes.append((np.inf, 1, 0, 0.0, float(column.rows.sum())))  # every number goes left
    add(0, len(column.edges))
    nodes[0] = (np.inf, 1, len(nodes), 0.0, nodes[0][4])
    nodes.append((0.0, -1, -1, float(worth[-1]), float(column.rows[-1])))
    threshold, left, right, value, rows = (np.array(field) for field in zip(*nodes, strict=True))
    zeros = np.zeros(len(nodes))
    return Tree(output, (zeros + feature).astype(int), threshold, zeros.astype(bool), left, right, value, rows)
