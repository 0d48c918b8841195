"""Graphs of XGBoost models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
from onnxruntime import InferenceSession
from sklearn.pipeline import Pipeline
from xgboost import XGBClassifier, XGBRegressor

from dropforge_training.export import onnx_graph, xgboost_graph
from dropforge_training.models.tree_ensemble import TreeEnsemble
from dropforge_training.preprocessing.cleaner import TableCleaner


class _Operator:
    def __init__(self, model: Any) -> None:
        self.raw_operator = model
        self.inputs: list[Any] = []
        self.input_full_names = ["x"]
        self.output_full_names = ["label", "probabilities"]


class _Container:
    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def add_node(self, kind: str, inputs: Any, outputs: Any, op_domain: str, name: str, **attributes: Any) -> None:
        self.nodes.append((kind, attributes))
        helper.make_node(kind, inputs, outputs, domain=op_domain, name=name, **attributes)


class _Scope:
    def get_unique_operator_name(self, name: str) -> str:
        return name


def _node(converter: Any, model: Any) -> tuple[str, dict[str, Any]]:
    container = _Container()
    converter(_Scope(), _Operator(model), container)
    return container.nodes[0]


def _sorted_nodes(attributes: dict[str, Any], keys: list[str]) -> set[tuple[Any, ...]]:
    """Of each leaf: tree, output and weight; numbers of nodes are the converter's own."""
    return {tuple(float(np.float32(v)) for v in row) for row in zip(*(attributes[k] for k in keys), strict=True)}


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_a_graph_is_what_onnxmltools_gives(classes: int) -> None:
    """The same node with the same trees, leaves, start values and classes, as the walk from node to node finds them."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    x[::5, 1] = np.nan
    number = x[:, 0] + np.nan_to_num(x[:, 1])
    y = number if not classes else np.digitize(number, [0.0, 0.8][: classes - 1])
    model = (XGBClassifier if classes else XGBRegressor)(n_estimators=5, max_depth=3).fit(x, y)
    kind, ours = _node(xgboost_graph.convert, model)
    expected, theirs = _node(convert_xgboost, model)
    assert kind == expected
    prefix = "class" if classes else "target"
    leaves = [f"{prefix}_treeids", f"{prefix}_ids", f"{prefix}_weights"]
    assert _sorted_nodes(ours, leaves) == _sorted_nodes(theirs, leaves)
    splits = ["nodes_treeids", "nodes_featureids", "nodes_values", "nodes_missing_value_tracks_true"]
    assert _sorted_nodes(ours, splits) == _sorted_nodes(theirs, splits)
    assert ours["post_transform"] == theirs["post_transform"]
    assert np.allclose(ours["base_values"], theirs.get("base_values", [0.0] * len(ours["base_values"])), atol=1e-6)
    assert list(ours.get("classlabels_int64s", [])) == list(theirs.get("classlabels_int64s", []))


@pytest.mark.parametrize("kind", ["extra_trees", "linear", "lightgbm"])
def test_trees_that_split_alike_are_walked_once(kind: str) -> None:
    """Of four classes a forest's trees, or a column's bins, are one tree with four numbers a leaf; the probabilities are as before."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    x[::6, 2] = np.nan
    y = np.digitize(x[:, 0] + x[:, 1], [-0.8, 0.0, 0.8])
    candidate = TreeEnsemble()
    params = {**next(p for p in candidate.portfolio() if p["kind"] == kind), "n_estimators": 6}
    fitted = candidate.estimator(params, seed=2, jobs=1, classes=4).fit(x, y)
    model = candidate.blend([fitted])
    _, node = _node(xgboost_graph.convert, model)
    trees = model.get_booster().num_boosted_rounds() * 4
    assert max(node["nodes_treeids"]) + 1 == (trees if kind == "lightgbm" else trees // 4)
    graph, output = onnx_graph.to_onnx(
        Pipeline([("cleaner", TableCleaner(list("abcd"), [], {})), ("estimator", model)]), numbers=4, texts=0
    )
    served = InferenceSession(graph).run([output], {"numbers": x})[0]
    assert np.abs(served - model.predict_proba(x)).max() < 1e-6


def test_other_objectives_are_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of counts has an exponential behind its trees, which the library's converter adds."""
    seen: list[str] = []
    monkeypatch.setattr(xgboost_graph, "convert_xgboost", lambda *_: seen.append("library"))
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    model = XGBRegressor(n_estimators=2, objective="count:poisson").fit(x, np.arange(20))
    xgboost_graph.convert(_Scope(), _Operator(model), _Container())
    assert seen == ["library"]
