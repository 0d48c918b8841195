"""Several boosters as one: the trees of all, their leaves in proportion to each booster's weight.

The margin of the sum is the (weighted) mean of the margins, so that the blend is still one XGBoost model: one tree ensemble in the
exported graph, exact tree contributions, nothing that serving would have to know.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from xgboost import XGBClassifier, XGBRegressor


def document(fitted: XGBClassifier | XGBRegressor) -> dict[str, Any]:
    """What XGBoost saves of a model as JSON."""
    saved: dict[str, Any] = json.loads(bytes(fitted.get_booster().save_raw("json")))
    return saved


def loaded(saved: dict[str, Any], like: XGBClassifier | XGBRegressor) -> XGBClassifier | XGBRegressor:
    """The model of a document, of the class and parameters of another one."""
    rounds = len(_trees_of(saved)["iteration_indptr"]) - 1
    created = type(like)(**{**like.get_params(), "n_estimators": rounds})
    created.load_model(bytearray(json.dumps(saved).encode()))
    return created


def merge(
    learners: Sequence[dict[str, Any]], like: XGBClassifier | XGBRegressor, weights: Sequence[float] | None = None
) -> XGBClassifier | XGBRegressor:
    """The blend of models fitted on the same rows and classes; probabilities (or numbers) come from the mean margin.

    learners: the document of each, which becomes the blend's. weights: of each model in the mean, in any unit; None: all alike.

    Raises ValueError when the classifiers do not start from the same base score: their margins cannot be averaged so.
    """
    scores = {d["learner"]["learner_model_param"]["base_score"] for d in learners}
    if len(scores) > 1:
        raise ValueError(f"the boosters start from different base scores: {sorted(scores)}")
    merged = learners[0]
    target = _trees_of(merged)
    trees, info = [], []
    given = list(weights or [1.0] * len(learners))
    for learner, weight in zip(learners, given, strict=True):
        model = _trees_of(learner)
        trees += [_lighter(t, weight / sum(given)) for t in model["trees"]]
        info += model["tree_info"]
    for number, tree in enumerate(trees):
        tree["id"] = number
    step = target["iteration_indptr"][1]  # trees of one round: one a class
    target["trees"], target["tree_info"] = trees, info
    target["iteration_indptr"] = list(range(0, len(trees) + 1, step))
    target["gbtree_model_param"]["num_trees"] = str(len(trees))
    return loaded(merged, like)


def _trees_of(learner: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = learner["learner"]["gradient_booster"]["model"]
    return result


def _lighter(tree: dict[str, Any], part: float) -> dict[str, Any]:
    """Leaf values stand where inner nodes have their threshold."""
    leaf = [child == -1 for child in tree["left_children"]]
    tree["split_conditions"] = [v * part if at else v for v, at in zip(tree["split_conditions"], leaf, strict=True)]
    tree["base_weights"] = [v * part for v in tree["base_weights"]]
    return tree
