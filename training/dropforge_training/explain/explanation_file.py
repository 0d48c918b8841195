"""What the API needs to explain a model's predictions: its trees with the training weight of each node, or its coefficients.

Left out for estimators of other kinds, and when adding up does not give what the model predicts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from dropforge.inference import explanation as explain
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline

TOLERANCE = 1e-4
_CHECKED_ROWS = 20
_CHECKED = 60  # rows times classes: each class of a row is explained by itself, two rows at least
_Parts = tuple[dict[str, Any], dict[str, np.ndarray]]


def explanation(
    model: LabelledPipeline | NumberPipeline, manifest: BundleManifest, train: Any, heldout: Any, log: logging.Logger
) -> bytes:
    """Bytes of explain.npz, checked against the model on held-out rows; empty when the model cannot be explained exactly."""
    cleaner, preprocessor, estimator = (step for _, step in model.pipeline.steps[:3])
    created = _structure(estimator, lambda: preprocessor.transform(cleaner.transform(train)))
    if created is not None and isinstance(model, NumberPipeline):
        meta, arrays = created
        start = "base" if meta["kind"] == "trees" else "intercept"
        arrays = {**arrays, start: arrays[start] + model.rule.center}
        created = {**meta, "space": model.rule.transform or "prediction", "binary": False}, arrays
    if created is None or len(model.pipeline.steps) != 3:
        log.warning("no explanations", extra={"estimator": type(estimator).__name__})
        return b""
    meta, arrays = created
    body = explain.dump(meta, {**arrays, **_numbers(preprocessor, len(cleaner.numbers))})
    rows = heldout.iloc[: min(_CHECKED_ROWS, max(2, _CHECKED // max(1, len(manifest.classes))))]
    difference = _difference(explain.load(body, manifest), model, cleaner, rows)
    log.info("explanations checked", extra={"rows": len(rows), "max_abs_difference": difference, "bytes": len(body)})
    if not difference <= TOLERANCE:
        log.warning("no explanations: they do not add up to the prediction", extra={"difference": difference})
        return b""
    return body


def _difference(
    explainer: explain.Explainer, model: LabelledPipeline | NumberPipeline, cleaner: Any, rows: Any
) -> float:
    """Largest |probability from the explanation − the model's|; of a regression relative.

    A score's probability needs all classes: compared as their gaps.
    """
    clean = cleaner.transform(rows)
    feeds = {
        "numbers": clean[cleaner.numbers].to_numpy(dtype=np.float32),
        "texts": clean[cleaner.categories].to_numpy(dtype=object),
    }
    feeds = {k: v for k, v in feeds.items() if v.shape[1]}
    expected = model.raw(rows)  # what calibration, or the inverse transform, is applied to
    if isinstance(model, NumberPipeline):
        result = explainer.explain(feeds, [0.0] * len(rows))
        output = result.base + result.contributions.sum(axis=1)
        expected = expected + model.rule.center
        spread = float(np.std(expected)) or 1.0
        return float((np.abs(output - expected[:, 0]) / np.maximum(np.abs(expected[:, 0]), spread)).max())
    if model.positive:
        result = explainer.explain(feeds, [model.positive] * len(rows))
        output = result.base + result.contributions.sum(axis=1)
        at = list(model.classes_).index(model.positive)
        given = output if result.space == "probability" else 1 / (1 + np.exp(-output))
        return float(np.abs(given - expected[:, at]).max())
    outputs = []
    for label in model.classes_:
        result = explainer.explain(feeds, [str(label)] * len(rows))
        outputs.append(result.base + result.contributions.sum(axis=1))
    table = np.stack(outputs, axis=1)
    if result.space != "probability":
        table = np.exp(table - table.max(axis=1, keepdims=True))
        table /= table.sum(axis=1, keepdims=True)
    return float(np.abs(table - expected).max())


def _structure(estimator: Any, matrix: Callable[[], Any]) -> _Parts | None:
    """`matrix`: makes the training rows as the estimator gets them."""
    match estimator:
        case XGBClassifier() | XGBRegressor():
            created = _xgboost(estimator, np.asarray(matrix()[:1], dtype=np.float32))
        case HistGradientBoostingClassifier() | HistGradientBoostingRegressor():
            created = _hist_gradient_boosting(estimator)
        case RandomForestClassifier() | ExtraTreesClassifier():
            created = _forest(estimator.estimators_)
        case RandomForestRegressor() | ExtraTreesRegressor():
            created = _forest(estimator.estimators_, votes=False)
        case DecisionTreeClassifier():
            created = _forest([estimator])
        case LogisticRegression() | Ridge() | LinearRegression():
            created = _linear(estimator, np.asarray(matrix(), dtype=np.float64).mean(axis=0))
        case _:
            created = None
    return created


def _numbers(preprocessor: Any, count: int) -> dict[str, np.ndarray]:
    """How numbers reach the matrix: what fills the missing ones (NaN: nothing does), centre and scale."""
    fill, center, scale = np.full(count, np.nan), np.zeros(count), np.ones(count)
    step: Any = preprocessor.named_transformers_.get("numbers") if count else None
    parts: list[Any] = [s for _, s in step.steps] if isinstance(step, Pipeline) else [step]
    for part in parts:
        if hasattr(part, "statistics_"):
            fill = np.asarray(part.statistics_, dtype=np.float64)
        if hasattr(part, "scale_"):
            center, scale = np.asarray(part.mean_), np.asarray(part.scale_)
    return {"fill": fill, "center": center, "scale": scale}


def _linear(estimator: Any, mean: np.ndarray) -> _Parts:
    binary = len(getattr(estimator, "classes_", ())) == 2
    arrays = {
        "coefficients": np.atleast_2d(estimator.coef_),
        "intercept": np.atleast_1d(estimator.intercept_),
        "mean": mean,
    }
    return {"kind": "linear", "space": "log_odds" if binary else "score", "binary": binary}, arrays


def _forest(trees: list[Any], *, votes: bool = True) -> _Parts:
    """`votes`: a leaf holds counts of classes, which become fractions; else the mean number."""
    parts = []
    for t in (tree.tree_ for tree in trees):
        whole = t.value[:, 0, :].sum(axis=1, keepdims=True) if votes else 1.0
        value = t.value[:, 0, :] / whole / len(trees)
        split = t.children_left >= 0
        parts.append(
            {
                "feature": np.where(split, t.feature, -1),
                "threshold": _at_most(t.threshold),
                "missing_left": np.ones(len(split), dtype=bool),
                "left": t.children_left,
                "right": t.children_right,
                "cover": t.weighted_n_node_samples,
                "value": value,
            }
        )
    classes = parts[0]["value"].shape[1]
    return {"kind": "trees", "space": "probability", "binary": False}, _joined(parts, np.zeros(classes))


def _hist_gradient_boosting(estimator: Any) -> _Parts | None:
    outputs = len(estimator._predictors[0])
    parts = []
    for trees in estimator._predictors:
        for k, tree in enumerate(trees):
            n = tree.nodes
            if n["is_categorical"].any():
                return None
            value = np.zeros((len(n), outputs))
            value[:, k] = n["value"]
            parts.append(
                {
                    "feature": np.where(n["is_leaf"], -1, n["feature_idx"].astype(np.int64)),
                    "threshold": _at_most(n["num_threshold"]),
                    "missing_left": n["missing_go_to_left"].astype(bool),
                    "left": n["left"].astype(np.int64),
                    "right": n["right"].astype(np.int64),
                    "cover": n["count"].astype(np.float64),
                    "value": value,
                }
            )
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).ravel()
    space = "log_odds" if outputs == 1 else "score"
    return {"kind": "trees", "space": space, "binary": outputs == 1}, _joined(parts, base)


def _xgboost(estimator: Any, row: np.ndarray) -> _Parts | None:
    learner = json.loads(estimator.get_booster().save_raw("json"))["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        return None
    classes = len(getattr(estimator, "classes_", ()))  # a regressor has none
    outputs = classes if classes > 2 else 1
    parts = []
    for tree, k in zip(booster["model"]["trees"], booster["model"]["tree_info"], strict=True):
        if any(tree["split_type"]):
            return None
        left = np.array(tree["left_children"])
        condition = np.array(tree["split_conditions"], dtype=np.float32)
        value = np.zeros((len(left), outputs))
        value[:, k] = condition  # a leaf keeps its value where a split keeps its threshold
        parts.append(
            {
                "feature": np.where(left >= 0, np.array(tree["split_indices"]), -1),
                # XGBoost goes left below the threshold, everybody else up to it
                "threshold": np.nextafter(condition, np.float32(-np.inf)),
                "missing_left": np.array(tree["default_left"], dtype=bool),
                "left": left,
                "right": np.array(tree["right_children"]),
                "cover": np.array(tree["sum_hessian"], dtype=np.float64),
                "value": value,
            }
        )
    arrays = _joined(parts, np.zeros(outputs))
    margin = np.asarray(estimator.predict(row, output_margin=True), dtype=np.float64).reshape(-1)
    arrays["base"] = margin - _sum_of_leaves(arrays, row[0])
    return {"kind": "trees", "space": "log_odds" if outputs == 1 else "score", "binary": outputs == 1}, arrays


def _sum_of_leaves(arrays: dict[str, np.ndarray], row: np.ndarray) -> np.ndarray:
    """What the trees say of one row, all outputs: the rest of the margin is the model's intercept."""
    node = arrays["root"].copy()
    while (arrays["feature"][node] >= 0).any():
        split = arrays["feature"][node] >= 0
        x = row[np.maximum(arrays["feature"][node], 0)]
        to_left = np.where(np.isnan(x), arrays["missing_left"][node], x <= arrays["threshold"][node])
        node = np.where(split, np.where(to_left, arrays["left"][node], arrays["right"][node]), node)
    return np.asarray(arrays["value"][node].sum(axis=0))


def _joined(parts: list[dict[str, Any]], base: np.ndarray) -> dict[str, np.ndarray]:
    """All trees in one table; children by their place in it."""
    root = np.cumsum([0, *(len(p["feature"]) for p in parts[:-1])])
    for offset, part in zip(root, parts, strict=True):
        part["left"], part["right"] = part["left"] + offset, part["right"] + offset
    kinds = {"feature": np.int32, "left": np.int32, "right": np.int32, "threshold": np.float32, "cover": np.float32}
    joined = {k: np.concatenate([p[k] for p in parts]).astype(kinds.get(k, parts[0][k].dtype)) for k in parts[0]}
    return {**joined, "root": root, "base": base}


def _at_most(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 not above: a float32 x is at most one exactly when it is at most the other."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
