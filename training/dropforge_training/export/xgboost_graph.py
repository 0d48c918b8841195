"""XGBoost models as one node of a graph, from arrays: onnxmltools walks their trees node by node, ten times as long.

Measured with 700 trees of 220,000 nodes: 6.3 s of processor time by its converter, which stays for what is not handled here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from onnxmltools.convert.xgboost.common import get_xgb_params
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

_OUTPUT = {"binary:logistic": "LOGISTIC", "multi:softprob": "SOFTMAX", "reg:squarederror": "NONE"}


def convert(scope: Any, operator: Any, container: Any) -> None:
    """As skl2onnx calls a converter."""
    estimator = operator.raw_operator
    learner = json.loads(bytes(estimator.get_booster().save_raw("json")))["learner"]
    objective, booster = learner["objective"]["name"], learner["gradient_booster"]
    stopped = hasattr(estimator, "best_iteration")  # fewer trees are used than there are
    if objective not in _OUTPUT or booster["name"] != "gbtree" or stopped or not _plain(booster["model"]["trees"]):
        convert_xgboost(scope, operator, container)
        return
    classes = None if objective.startswith("reg:") else [int(c) for c in estimator.classes_]
    prefix = "target" if classes is None else "class"
    attributes = _nodes(booster["model"], prefix)
    start = [float(b) for b in get_xgb_params(estimator)["base_score"]]
    if objective == "binary:logistic":
        # https://github.com/dmlc/xgboost/blob/main/src/common/math.h: the margin of a probability
        start = [float(-np.log(1 / np.float32(start[0]) - 1.0))]
    elif classes is not None and len(start) == 1:
        start = start * len(classes)
    attributes |= {"base_values": start, "post_transform": _OUTPUT[objective]}
    attributes |= {"n_targets": 1} if classes is None else {"classlabels_int64s": classes}
    name = "TreeEnsembleRegressor" if classes is None else "TreeEnsembleClassifier"
    container.add_node(
        name,
        operator.input_full_names,
        operator.output_full_names,
        op_domain="ai.onnx.ml",
        name=scope.get_unique_operator_name(name),
        **attributes,
    )


def _plain(trees: list[dict[str, Any]]) -> bool:
    """Whether every node of the arrays is one of a tree, and no split is by category."""
    return bool(trees) and all(t["tree_param"]["num_deleted"] == "0" and not any(t["split_type"]) for t in trees)


def _nodes(model: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Attributes of the trees' nodes and of their leaves: target_… of a regressor, class_… of a classifier.

    Trees of one round that split alike, as those of a forest that votes for several classes, are walked once: their leaves are one
    leaf with a number for each class.
    """
    walked = _walked(model)
    inner = _Nodes([model["trees"][group[0]] for group in walked], range(len(walked)))
    pairs = [(at, number) for at, group in enumerate(walked) for number in group]
    ends = _Nodes([model["trees"][number] for _, number in pairs], [at for at, _ in pairs])
    outputs = np.array([model["tree_info"][number] for _, number in pairs])
    return {
        "nodes_treeids": inner.tree.tolist(),
        "nodes_nodeids": inner.place.tolist(),
        "nodes_featureids": np.where(inner.leaf, 0, inner.column("split_indices")).tolist(),
        "nodes_modes": np.where(inner.leaf, "LEAF", "BRANCH_LT").tolist(),
        "nodes_values": np.where(inner.leaf, np.float32(0), inner.condition).tolist(),
        "nodes_truenodeids": np.where(inner.leaf, 0, inner.left).tolist(),
        "nodes_falsenodeids": np.where(inner.leaf, 0, inner.column("right_children")).tolist(),
        "nodes_missing_value_tracks_true": np.where(inner.leaf, 0, inner.column("default_left")).tolist(),
        f"{prefix}_treeids": ends.tree[ends.leaf].tolist(),
        f"{prefix}_nodeids": ends.place[ends.leaf].tolist(),
        f"{prefix}_ids": np.repeat(outputs, ends.sizes)[ends.leaf].tolist(),
        f"{prefix}_weights": ends.condition[ends.leaf].tolist(),
    }


class _Nodes:
    """The nodes of some trees in one table. `tree` and `place`: the number of a node's tree, and its own in it, shape [nodes]."""

    def __init__(self, trees: Sequence[dict[str, Any]], numbers: Iterable[int]) -> None:
        """numbers: of each tree."""
        self._trees = trees
        self.sizes = [len(t["left_children"]) for t in trees]
        self.tree = np.repeat(np.array(list(numbers)), self.sizes)
        self.place = np.concatenate([np.arange(n) for n in self.sizes])
        self.left = self.column("left_children")
        self.leaf = self.left < 0
        self.condition = self.column("split_conditions", np.float32)  # of a leaf its value

    def column(self, key: str, kind: Any = np.int64) -> np.ndarray:
        """What XGBoost's JSON has under this key, shape [nodes]."""
        return np.concatenate([np.array(t[key], dtype=kind) for t in self._trees])


def _walked(model: dict[str, Any]) -> list[list[int]]:
    """Places of the trees that a row walks through at once: a round's where they all split alike, else each by itself."""
    trees, outputs = model["trees"], int(model["iteration_indptr"][1])
    groups: list[list[int]] = []
    for start in range(0, len(trees), outputs):
        together = list(range(start, min(start + outputs, len(trees))))
        alike = all(_split_alike(trees[start], trees[number]) for number in together[1:])
        groups += [together] if alike else [[number] for number in together]
    return groups


def _split_alike(tree: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether every row ends in the same node of both."""
    if any(tree[key] != other[key] for key in ("left_children", "right_children", "split_indices", "default_left")):
        return False
    inner = np.array(tree["left_children"]) >= 0
    conditions, others = np.array(tree["split_conditions"]), np.array(other["split_conditions"])
    return bool((conditions[inner] == others[inner]).all())
