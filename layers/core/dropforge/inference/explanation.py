"""Why a prediction: the share of each feature in it, exact, with numpy alone.

Trees: Shapley values of the path-dependent game (Lundberg et al., "From local explanations to global understanding with
explainable AI for trees", 2020): a split on a feature that is left out goes both ways, in the shares of the training weight.
For one leaf with value v, with z_j the share of weight that goes the leaf's way at the splits on feature j, and o_j whether
the row goes it, the game is v·Π(o_j or z_j). Its Shapley values are integrals of the multilinear extension (Owen, "Multilinear
extensions of games", 1972): φ_i = v·(o_i − z_i)·∫₀¹ Π_{j≠i} (z_j·(1−t) + o_j·t) dt, a polynomial in t that Gauss–Legendre
quadrature with ⌈d/2⌉ nodes integrates without error.

Linear models: coefficient times (value − mean over the training rows).

One-hot columns are summed into the feature they come from.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dropforge.errors import BundleRejected, InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest

EXPLAIN_FILE: Final = "explain.npz"
_BLOCK: Final = 1 << 12  # (row, leaf) pairs worked on at once: they stay in the cache


@dataclass(frozen=True, slots=True)
class Explanation:
    """For each row: `base` [rows] plus the sum of `contributions` [rows, features] is the model's output for `classes` [rows].

    `space` says what output: log_odds, probability, or score (the logarithm of a softmax's unnormalised probability); of a
    regression prediction, or log1p where the model was fitted on the logarithm. Its `classes` are empty texts.
    """

    space: str
    classes: list[str]
    features: tuple[str, ...]
    base: np.ndarray
    contributions: np.ndarray


class Explainer:
    """A model's structure, ready to explain. Safe to share between threads."""

    def __init__(self, manifest: BundleManifest, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._classes = manifest.classes
        self._positive = manifest.classes.index(manifest.positive_class) if manifest.positive_class else -1
        self._space = str(meta["space"])
        self._binary = bool(meta["binary"])  # one output: of the second class
        self._encoder = Encoder(manifest, arrays["fill"], arrays["center"], arrays["scale"])
        self.features = self._encoder.features
        self._model: _Trees | _Linear = (
            _Trees(arrays, self._encoder.feature_of) if meta["kind"] == "trees" else _Linear(arrays, self._encoder)
        )

    def explain(self, feeds: Mapping[str, np.ndarray], labels: Sequence[str] | Sequence[float]) -> Explanation:
        """Of the positive class for two classes, else of each row's label. `feeds` are the graph's inputs."""
        matrix = self._encoder.matrix(feeds)
        if not self._classes:  # a regression has one output
            base, contributions = self._model.explain(matrix, np.zeros(len(matrix), dtype=np.intp))
            return Explanation(self._space, [""] * len(matrix), self.features, base, contributions)
        codes = [self._classes.index(str(label)) if self._positive < 0 else self._positive for label in labels]
        outputs = np.zeros(len(codes), dtype=np.intp) if self._binary else np.array(codes, dtype=np.intp)
        base, contributions = self._model.explain(matrix, outputs)
        if self._binary:
            sign = np.where(np.array(codes) == 1, 1.0, -1.0)
            base, contributions = base * sign, contributions * sign[:, None]
        return Explanation(self._space, [self._classes[c] for c in codes], self.features, base, contributions)


class Encoder:
    """The pipeline's second step: clean columns to the matrix the model saw. Numbers first, then one column a category."""

    def __init__(self, manifest: BundleManifest, fill: np.ndarray, center: np.ndarray, scale: np.ndarray) -> None:
        self._fill, self._center, self._scale = fill, center, scale
        self._numbers = next((i for i in manifest.inputs if i.dtype != "string"), None)
        self._texts = next((i for i in manifest.inputs if i.dtype == "string"), None)
        # A part of a date, a category's mean, a phrase belong to the column they come from; days between two dates to neither.
        origin = {d.name: d.sources[0] for d in manifest.derived if len(d.sources) == 1}
        column_of = [origin.get(n, n) for n in (self._numbers.features if self._numbers else ())]
        kinds = {f.name: f for f in manifest.features}
        self._codes: list[dict[str, int]] = []
        for name in self._texts.features if self._texts else ():
            known = (*kinds[name].categories, manifest.missing_token)
            self._codes.append({c: len(column_of) + i for i, c in enumerate(known)})
            column_of += [name] * len(known)
        self.features = tuple(dict.fromkeys(column_of))
        self.feature_of = np.array([self.features.index(n) for n in column_of], dtype=np.int64)

    def matrix(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32, shape [rows, columns]."""
        rows = len(next(iter(feeds.values())))
        out = np.zeros((rows, len(self.feature_of)), dtype=np.float32)
        if self._numbers:
            given = feeds[self._numbers.name]
            filled = np.where(np.isnan(given), self._fill, given)
            out[:, : given.shape[1]] = (filled - self._center) / self._scale
        if self._texts:
            for k, codes in enumerate(self._codes):
                for i, text in enumerate(feeds[self._texts.name][:, k].tolist()):
                    at = codes.get(text)
                    if at is not None:
                        out[i, at] = 1.0
        return out


class _Linear:
    def __init__(self, arrays: Mapping[str, np.ndarray], encoder: Encoder) -> None:
        self._coefficients, self._intercept, self._mean = arrays["coefficients"], arrays["intercept"], arrays["mean"]
        self._feature_of, self._count = encoder.feature_of, len(encoder.features)

    def explain(self, matrix: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = self._coefficients[outputs]
        columns = weights * (matrix.astype(np.float64) - self._mean)
        summed = np.zeros((len(matrix), self._count))
        for row in range(len(matrix)):
            summed[row] = np.bincount(self._feature_of, columns[row], self._count)
        return weights @ self._mean + self._intercept[outputs], summed


@dataclass(frozen=True, slots=True)
class _Leaves:
    """Leaves whose paths split on the same number of columns d. Shapes [leaves, d]; `value` [leaves, outputs].

    A row goes the leaf's way at column j when low < x ≤ high, or when x is missing and `missing` is true.
    """

    column: np.ndarray
    low: np.ndarray
    high: np.ndarray
    missing: np.ndarray
    share: np.ndarray
    value: np.ndarray


class _Trees:
    def __init__(self, arrays: Mapping[str, np.ndarray], feature_of: np.ndarray) -> None:
        self._feature_of = feature_of
        self._count = int(feature_of.max()) + 1
        self._base = arrays["base"].astype(np.float64).copy()
        groups: list[_Leaves] = []
        for leaves in _paths(arrays):
            self._base += (leaves.share.prod(axis=1)[:, None] * leaves.value).sum(axis=0)
            if leaves.column.shape[1]:
                groups.append(leaves)
        # By output, where each has leaves of its own: a boosted tree is of one class. A forest's leaves are of all of them.
        filled = sum(int(np.count_nonzero(g.value)) for g in groups)
        self._apart = len(self._base) > 1 and filled <= sum(len(g.value) for g in groups)
        self._groups = [[_of_output(g, k) for g in groups] for k in range(len(self._base))] if self._apart else [groups]

    def explain(self, matrix: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        summed = np.zeros((len(matrix), self._count))
        if not self._apart:
            self._explain(self._groups[0], matrix, outputs, summed)
            return self._base[outputs], summed
        for output in np.unique(outputs):
            rows = np.flatnonzero(outputs == output)
            part = np.zeros((len(rows), self._count))
            self._explain(self._groups[output], matrix[rows], outputs[rows], part)
            summed[rows] = part
        return self._base[outputs], summed

    def _explain(self, groups: Sequence[_Leaves], matrix: np.ndarray, outputs: np.ndarray, summed: np.ndarray) -> None:
        for leaves in groups:
            for start in range(0, len(leaves.column), _BLOCK):
                part = slice(start, start + _BLOCK)
                step = max(1, _BLOCK // len(leaves.column[part]))
                for row in range(0, len(matrix), step):
                    rows = slice(row, row + step)
                    self._add(leaves, part, matrix[rows], outputs[rows], summed[rows])

    def _add(self, leaves: _Leaves, part: slice, matrix: np.ndarray, outputs: np.ndarray, summed: np.ndarray) -> None:
        column, share = leaves.column[part], leaves.share[part]
        count, d = column.shape
        rows = len(matrix)
        t, weight = _quadrature(d)
        with np.errstate(invalid="ignore"):  # NaN compares false, as it should
            x = matrix[:, column]  # [rows, leaves, d]
            goes = (x > leaves.low[part]) & (x <= leaves.high[part]) | np.isnan(x) & leaves.missing[part]
        value = leaves.value[part].T[outputs]  # [rows, leaves]
        products = [np.ones((rows, count)) for _ in t]  # one array a node: long vectors, little memory
        for j in range(d):
            for product, at in zip(products, t, strict=True):
                np.multiply(product, share[:, j] * (1 - at) + goes[:, :, j] * at, out=product)
        away = sum(w / (1 - at) * p for w, at, p in zip(weight, t, products, strict=True)) * -value
        offset = np.arange(rows)[:, None] * self._count
        for j in range(d):
            z = share[:, j]
            along = sum(p * (w / (z * (1 - at) + at)) for w, at, p in zip(weight, t, products, strict=True))
            created = np.where(goes[:, :, j], along * ((1 - z) * value), away)  # `away` is the same for every column
            bins = offset + self._feature_of[column[:, j]]
            summed += np.bincount(bins.ravel(), created.ravel(), rows * self._count).reshape(rows, self._count)


def _of_output(leaves: _Leaves, output: int) -> _Leaves:
    """Those that say something of the output."""
    own = leaves.value[:, output] != 0
    parts = (leaves.column, leaves.low, leaves.high, leaves.missing, leaves.share, leaves.value)
    return _Leaves(*(part[own] for part in parts))


def _quadrature(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], exact up to degree d − 1."""
    nodes, weights = np.polynomial.legendre.leggauss(max(1, -(-d // 2)))
    return (nodes + 1) / 2, weights / 2


def _paths(arrays: Mapping[str, np.ndarray]) -> list[_Leaves]:
    """Every leaf's path with the splits on one column merged, level by level over all trees at once."""
    feature, threshold, missing_left = arrays["feature"], arrays["threshold"], arrays["missing_left"]
    left, right, cover, value = arrays["left"], arrays["right"], arrays["cover"], arrays["value"]
    node = arrays["root"].astype(np.int64)
    length = np.zeros(len(node), dtype=np.int64)
    column = np.zeros((len(node), 0), dtype=np.int32)
    low, high, share = (np.zeros((len(node), 0)) for _ in range(3))
    missing = np.zeros((len(node), 0), dtype=bool)
    done: dict[int, list[_Leaves]] = {}
    while len(node):
        leaf = feature[node] < 0
        for d in np.unique(length[leaf]):
            at = leaf & (length == d)
            created = _Leaves(
                column[at, :d],
                low[at, :d],
                high[at, :d],
                missing[at, :d],
                share[at, :d],
                value[node[at]].astype(np.float64),
            )
            done.setdefault(int(d), []).append(created)
        keep = ~leaf
        node, length, column, missing = node[keep], length[keep], _wider(column[keep], -1), _wider(missing[keep], True)
        low, high, share = _wider(low[keep], -np.inf), _wider(high[keep], np.inf), _wider(share[keep], 1.0)
        split = feature[node]
        same = column == split[:, None]
        position = np.where(same.any(axis=1), same.argmax(axis=1), length)
        length = np.maximum(length, position + 1)
        rows = np.arange(len(node))
        column[rows, position] = split
        whole = cover[node].astype(np.float64)
        lows, highs, shares, missings = (np.concatenate([a, a]) for a in (low, high, share, missing))
        for child, at in ((left[node], rows), (right[node], rows + len(rows))):
            part = np.where(whole > 0, cover[child] / np.where(whole > 0, whole, 1), 0)
            shares[at, position] *= part
            missings[at, position] &= missing_left[node] == (at is rows)
        highs[rows, position] = np.minimum(high[rows, position], threshold[node])
        lows[rows + len(rows), position] = np.maximum(low[rows, position], threshold[node])
        node = np.concatenate([left[node], right[node]]).astype(np.int64)
        length, column = np.concatenate([length, length]), np.concatenate([column, column])
        low, high, share, missing = lows, highs, shares, missings
    return [
        _Leaves(*(np.concatenate([getattr(g, f) for g in groups]) for f in _Leaves.__dataclass_fields__))
        for _, groups in sorted(done.items())
    ]


def _wider(table: np.ndarray, filler: float) -> np.ndarray:
    """One more column."""
    return np.pad(table, ((0, 0), (0, 1)), constant_values=filler)


def dump(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file of a bundle: numpy arrays and a JSON text, nothing that could run."""
    out = io.BytesIO()
    np.savez_compressed(out, meta=np.frombuffer(json.dumps(dict(meta)).encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def load(raw: bytes, manifest: BundleManifest) -> Explainer:
    """Raises BundleRejected for a file that is not one."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            arrays = dict(stored)
        return Explainer(manifest, json.loads(arrays.pop("meta").tobytes()), arrays)
    except (ValueError, KeyError, OSError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleRejected(
            f"{EXPLAIN_FILE} cannot be read: {error}", code="bundle_broken", fix="train again, or roll back"
        ) from None


def not_explainable(model: str) -> InvalidRequest:
    """The error for a model without an explanation file."""
    return InvalidRequest(
        f"{model} carries no explanation: neither trees nor linear, or trained before there were any",
        code="not_explainable",
        fix="leave out explain=true, or train tree_ensemble, random_forest, xgboost, hist_gradient_boosting or logistic_regression",
    )
