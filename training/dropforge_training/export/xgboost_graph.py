"""XGBoost models as one node of a graph, from arrays: onnxmltools walks their trees node by node, ten times as long.

Measured with 700 trees of 220,000 nodes: 6.3 s of processor time by its converter, which stays for what is not handled here.
"""

from __future__ import annotations

import json
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
    """Attributes of the trees' nodes and of their leaves: target_… of a regressor, class_… of a classifier."""

    def joined(key: str, kind: Any) -> np.ndarray:
        return np.concatenate([np.array(t[key], dtype=kind) for t in model["trees"]])

    left, right = joined("left_children", np.int64), joined("right_children", np.int64)
    conditions = joined("split_conditions", np.float32)  # of a leaf its value
    sizes = [len(t["left_children"]) for t in model["trees"]]
    tree = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(n) for n in sizes])
    leaf = left < 0
    return {
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": place.tolist(),
        "nodes_featureids": np.where(leaf, 0, joined("split_indices", np.int64)).tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LT").tolist(),
        "nodes_values": np.where(leaf, np.float32(0), conditions).tolist(),
        "nodes_truenodeids": np.where(leaf, 0, left).tolist(),
        "nodes_falsenodeids": np.where(leaf, 0, right).tolist(),
        "nodes_missing_value_tracks_true": np.where(leaf, 0, joined("default_left", np.int64)).tolist(),
        f"{prefix}_treeids": tree[leaf].tolist(),
        f"{prefix}_nodeids": place[leaf].tolist(),
        f"{prefix}_ids": np.repeat(model["tree_info"], sizes)[leaf].tolist(),
        f"{prefix}_weights": conditions[leaf].tolist(),
    }
