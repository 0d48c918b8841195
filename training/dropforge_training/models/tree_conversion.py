"""Trees of LightGBM and of scikit-learn's forests as an XGBoost model, so that members of several libraries become one ensemble.

All of them add up one number a tree and output, and a float32 value goes the same way in each format: LightGBM and scikit-learn go
left up to the threshold, XGBoost below it. No library writes another one's format, hence by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xgboost import XGBClassifier, XGBRegressor

from dropforge_training.models import xgboost_ensemble

_ROOT = 2_147_483_647  # XGBoost's parent of a root
_NO_MISSING, _MISSING_IS_NAN = 0, 2  # of LightGBM's decision types


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree that adds `value` to `output` where a row ends. All arrays have shape [nodes]; the root is node 0.

    A row goes left where its `feature` is at most `threshold`, and, where that is missing, where `missing_left` is true.
    `left` and `right` are -1 at leaves; `cover`: training weight that went through the node.
    """

    output: int
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    cover: np.ndarray


def of_lightgbm(model: str) -> list[Tree]:
    """The trees of a LightGBM model text (Booster.model_to_string), its start values in the first ones, in order of their rounds."""
    head, *blocks = model.partition("\nend of trees")[0].split("\nTree=")
    outputs = int(_fields(head)["num_tree_per_iteration"])
    return [_of_lightgbm(_fields(block), number % outputs) for number, block in enumerate(blocks)]


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _of_lightgbm(fields: dict[str, str], output: int) -> Tree:
    """Inner nodes keep their numbers; leaf n, which LightGBM writes as child ~n, comes behind them."""

    def numbers(key: str, kind: Any = np.float64) -> np.ndarray:
        return np.array(fields.get(key, "").split(), dtype=kind)

    leaves = int(fields["num_leaves"])
    inner = leaves - 1
    value, none, zero = numbers("leaf_value"), np.full(leaves, -1), np.zeros(leaves)
    if not inner:  # a tree without a split
        return Tree(output, zero.astype(int), zero, zero.astype(bool), none, none, value, np.ones(1))
    decision, threshold = numbers("decision_type", np.int64), numbers("threshold")
    if (decision & 1).any():
        raise ValueError("splits by category have no place in this format")
    missing = (decision >> 2) & 3
    # Where no value was missing in training, LightGBM reads a missing one as zero.
    to_left = np.where(missing == _MISSING_IS_NAN, (decision & 2) > 0, threshold >= 0)
    if not ((missing == _NO_MISSING) | (missing == _MISSING_IS_NAN)).all():
        raise ValueError("zeros read as missing have no place in this format")
    children = [numbers(side, np.int64) for side in ("left_child", "right_child")]
    left, right = (np.concatenate([np.where(c >= 0, c, inner + ~c), none]) for c in children)
    return Tree(
        output,
        np.concatenate([numbers("split_feature", np.int64), none * 0]),
        np.concatenate([threshold, zero]),
        np.concatenate([to_left, zero.astype(bool)]),
        left,
        right,
        np.concatenate([np.zeros(inner), value]),
        np.concatenate([numbers("internal_weight"), numbers("leaf_weight")]),
    )


def of_forest(estimators: Sequence[Any], scale: float, shift: float) -> list[Tree]:
    """A forest whose margin is `scale` times the mean vote, plus `shift` in all: of two classes for the second one, of a regression
    (scale 1) the mean itself.
    """
    trees = []
    for number in estimators:
        t = number.tree_
        votes = t.value[:, 0, :]
        if hasattr(number, "classes_"):
            votes = votes / votes.sum(axis=1, keepdims=True)
            votes = votes[:, 1:] if votes.shape[1] == 2 else votes
        split = t.children_left >= 0
        trees += [
            Tree(
                output,
                np.where(split, t.feature, 0),
                t.threshold,
                np.asarray(t.missing_go_to_left, dtype=bool),
                t.children_left,
                t.children_right,
                (scale * votes[:, output] + shift) / len(estimators),
                t.weighted_n_node_samples,
            )
            for output in range(votes.shape[1])
        ]
    return trees


def as_xgboost(trees: Sequence[Tree], like: XGBClassifier | XGBRegressor) -> XGBClassifier | XGBRegressor:
    """A model whose margin is the sum of the trees. like: see `document`."""
    return xgboost_ensemble.loaded(document(trees, like), like)


def document(trees: Sequence[Tree], like: XGBClassifier | XGBRegressor) -> dict[str, Any]:
    """What XGBoost would save as JSON of such a model.

    like: a model fitted on the same rows, classes and weights. Its start value is taken over, so that both can be blended, and
    subtracted from the first tree of each output.
    """
    learner = xgboost_ensemble.document(like)
    model = learner["learner"]["gradient_booster"]["model"]
    features = int(learner["learner"]["learner_model_param"]["num_feature"])
    start = _start(like, learner, features)
    ordered = _in_rounds(trees, len(start))
    model["trees"] = [
        _written(_siblings_together(tree), number, features, start[number] if number < len(start) else 0.0)
        for number, tree in enumerate(ordered)
    ]
    model["tree_info"] = [t.output for t in ordered]
    model["iteration_indptr"] = list(range(0, len(ordered) + 1, len(start)))
    model["gbtree_model_param"]["num_trees"] = str(len(ordered))
    return learner


def _start(like: Any, learner: dict[str, Any], features: int) -> np.ndarray:
    """Margin of a model before its first tree, shape [outputs]."""
    model = learner["learner"]["gradient_booster"]["model"]
    outputs = model["iteration_indptr"][1]
    zero, leaf = np.zeros(1), np.full(1, -1)
    none = _written(Tree(0, zero, zero, zero, leaf, leaf, zero, zero), 0, features, 0.0)
    empty = json.loads(json.dumps(learner))
    empty["learner"]["gradient_booster"]["model"] |= {
        "trees": [{**none, "id": k} for k in range(outputs)],
        "tree_info": list(range(outputs)),
        "iteration_indptr": [0, outputs],
        "gbtree_model_param": {**model["gbtree_model_param"], "num_trees": str(outputs)},
    }
    before = type(like)()
    before.load_model(bytearray(json.dumps(empty).encode()))
    row = np.zeros((1, features), dtype=np.float32)
    return np.asarray(before.predict(row, output_margin=True), dtype=np.float64).reshape(-1)


def _siblings_together(tree: Tree) -> Tree:
    """The same tree with each right child behind its left one: XGBoost reads no other place for it."""
    inner = np.flatnonzero(tree.left >= 0)
    place = np.zeros(len(tree.left), dtype=np.int64)
    place[tree.left[inner]] = 1 + 2 * np.arange(len(inner))
    place[tree.right[inner]] = 2 + 2 * np.arange(len(inner))
    order = np.argsort(place)

    def child(side: np.ndarray) -> np.ndarray:
        return np.where(side >= 0, place[side], -1)[order]

    return Tree(
        tree.output,
        tree.feature[order],
        tree.threshold[order],
        tree.missing_left[order],
        child(tree.left),
        child(tree.right),
        tree.value[order],
        tree.cover[order],
    )


def _in_rounds(trees: Sequence[Tree], outputs: int) -> list[Tree]:
    """One tree for each output, and again: as XGBoost numbers them."""
    by_output = [[t for t in trees if t.output == k] for k in range(outputs)]
    return [tree for together in zip(*by_output, strict=True) for tree in together]


def _written(tree: Tree, number: int, features: int, start: float) -> dict[str, Any]:
    """The tree as XGBoost's JSON has it; leaf values stand where inner nodes have their threshold. Leaves are lowered by `start`."""
    nodes = len(tree.left)
    leaf = tree.left < 0
    parents = np.full(nodes, _ROOT)
    inner = np.flatnonzero(~leaf)
    parents[tree.left[inner]], parents[tree.right[inner]] = inner, inner
    return {
        "base_weights": np.where(leaf, tree.value - start, 0.0).tolist(),
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": np.asarray(tree.missing_left, dtype=int).tolist(),
        "id": number,
        "left_children": tree.left.tolist(),
        "loss_changes": [0.0] * nodes,
        "parents": parents.tolist(),
        "right_children": tree.right.tolist(),
        "split_conditions": np.where(leaf, tree.value - start, _above(tree.threshold)).tolist(),
        "split_indices": np.asarray(tree.feature, dtype=int).tolist(),
        "split_type": [0] * nodes,
        "sum_hessian": np.asarray(tree.cover, dtype=float).tolist(),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(features),
            "num_nodes": str(nodes),
            "size_leaf_vector": "1",
        },
    }


def _above(threshold: np.ndarray) -> np.ndarray:
    """The smallest float32 above: a float32 x is below it exactly when x is at most the threshold."""
    rounded = np.asarray(threshold, dtype=np.float64).astype(np.float32)
    down = np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    # scikit-learn's threshold is infinite where all values go left and missing ones right; the text XGBoost exports has no infinity.
    above = np.minimum(np.nextafter(down, np.float32(np.inf)), np.finfo(np.float32).max)
    return above.astype(np.float64)
