"""Contributions are Shapley values: the same as XGBoost's own, and the same as the definition computed by brute force."""

from __future__ import annotations

import logging
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline

from dropforge.errors import BundleRejected
from dropforge.inference import explanation as explain
from dropforge.inference.bundle_manifest import BundleManifest, Feature, GraphInput
from dropforge_training.explain import explanation_file
from dropforge_training.models import model_spec
from dropforge_training.models.hist_gradient_boosting import HistGradientBoosting
from dropforge_training.models.logistic_regression import LogisticRegression
from dropforge_training.models.random_forest import RandomForest
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.preprocessing.cleaner import LabelledPipeline

LOG = logging.getLogger("test")
NUMBERS, TEXTS = ["age", "hours", "gain"], ["job", "town"]
CANDIDATES: dict[str, tuple[model_spec.ModelSpec, dict[str, Any]]] = {
    "xgboost": (XGBoost(), {"n_estimators": 30, "max_depth": 4, "learning_rate": 0.3}),
    "forest": (RandomForest(), {"n_estimators": 12, "max_depth": 6}),
    "two small trees": (RandomForest(), {"n_estimators": 2, "max_depth": 3}),
    "boosting": (HistGradientBoosting(), {"max_iter": 8, "max_leaf_nodes": 9}),
    "linear": (LogisticRegression(), {"C": 1.0}),
}


def _table(rows: int = 600, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows).astype(float),
            "hours": rng.normal(40, 9, rows),
            "gain": rng.exponential(500, rows) * (rng.random(rows) < 0.3),
            "job": rng.choice(["clerk", "cook", "nurse", "smith"], rows).astype(object),
            "town": rng.choice(["north", "south"], rows).astype(object),
        }
    )
    signal = x["age"] / 20 + (x["job"] == "nurse") * 2 + x["gain"] / 800 + (x["hours"] > 45) * (x["town"] == "north")
    for column in x:
        x.loc[rng.random(rows) < 0.08, column] = None
    return x, (signal + rng.normal(0, 0.4, rows)).to_numpy()


def _pipeline(name: str, classes: int, positive: str = "") -> tuple[LabelledPipeline, BundleManifest, pd.DataFrame]:
    x, signal = _table()
    y = np.searchsorted(np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]), signal)
    candidate, params = CANDIDATES[name]
    cleaner = candidate.cleaner(NUMBERS, TEXTS, {}, {})
    clean = cleaner.fit(x).transform(x)
    preprocessor = candidate.preprocessor(cleaner)
    matrix = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
    estimator = candidate.estimator(params, seed=1, jobs=1, classes=classes).fit(matrix, y)
    labels = [f"c{i}" for i in range(classes)]
    pipeline = Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])
    manifest = BundleManifest(
        project="p", model="m", run_id="r", dataset_id="d", created_at="", target="y", probabilities_output="p",
        features=(
            *(Feature(n, "number") for n in NUMBERS),
            *(Feature(n, "category", tuple(cleaner.known_[n])) for n in TEXTS),
        ),
        inputs=(GraphInput("numbers", "float32", tuple(NUMBERS)), GraphInput("texts", "string", tuple(TEXTS))),
        classes=tuple(labels), positive_class=positive, threshold=0.5, onnx_sha256="",
    )  # fmt: skip
    return LabelledPipeline(pipeline, labels, 0.5, positive), manifest, x


def _feeds(model: LabelledPipeline, x: pd.DataFrame) -> dict[str, np.ndarray]:
    clean = model.pipeline.steps[0][1].transform(x)
    return {"numbers": clean[NUMBERS].to_numpy(np.float32), "texts": clean[TEXTS].to_numpy(object)}


@pytest.mark.parametrize("classes", [2, 3])
def test_the_same_as_xgboosts_own(classes: int) -> None:
    """Every contribution and the base within 1e-4 of pred_contribs, missing cells and all; one-hot columns summed."""
    model, manifest, x = _pipeline("xgboost", classes, "c1" if classes == 2 else "")
    explainer = explain.load(explanation_file.explanation(model, manifest, x, x, LOG), manifest)
    _, preprocessor, estimator = (s for _, s in model.pipeline.steps)
    clean = model.pipeline.steps[0][1].transform(x.iloc[:80])
    matrix = xgboost.DMatrix(np.asarray(preprocessor.transform(clean), dtype=np.float32))
    own = estimator.get_booster().predict(matrix, pred_contribs=True).reshape(80, -1, matrix.num_col() + 1)
    widths = [1, 1, 1, *(len(f.categories) + 1 for f in manifest.features[3:])]
    edges = np.cumsum([0, *widths[:-1]])
    for k, label in enumerate(manifest.classes if classes > 2 else ["c1"]):
        result = explainer.explain(_feeds(model, x.iloc[:80]), [label] * 80)
        wanted = np.add.reduceat(own[:, k, :-1], edges, axis=1)
        assert np.abs(result.contributions - wanted).max() <= 1e-4
        assert np.abs(result.base - own[:, k, -1]).max() <= 1e-4
        assert result.space == ("log_odds" if classes == 2 else "score")
    if classes > 2:  # rows of one request have labels of their own
        labels = [manifest.classes[i % classes] for i in range(80)]
        mixed = explainer.explain(_feeds(model, x.iloc[:80]), labels)
        wanted = np.stack([np.add.reduceat(own[i, i % classes, :-1], edges) for i in range(80)])
        assert np.abs(mixed.contributions - wanted).max() <= 1e-4


@pytest.mark.parametrize("positive", ["c0", "c1", ""], ids=["first", "second", "three classes"])
@pytest.mark.parametrize("name", CANDIDATES)
def test_they_add_up_to_the_prediction(name: str, positive: str) -> None:
    """Base and contributions sum to the model's output for the class explained, whichever class is the positive one."""
    classes = 2 if positive else 3
    model, manifest, x = _pipeline(name, classes, positive)
    explainer = explain.load(explanation_file.explanation(model, manifest, x, x, LOG), manifest)
    rows, probabilities = x.iloc[:40], model.pipeline.predict_proba(x.iloc[:40])
    outputs = []
    for label in [positive] if positive else manifest.classes:
        result = explainer.explain(_feeds(model, rows), [label] * 40)
        assert set(result.classes) == {label}
        outputs.append(result.base + result.contributions.sum(axis=1))
    table = np.stack(outputs, axis=1)
    if result.space == "probability":
        wanted = probabilities[:, [manifest.classes.index(positive)]] if positive else probabilities
    elif positive:
        table, wanted = 1 / (1 + np.exp(-table)), probabilities[:, [manifest.classes.index(positive)]]
    else:
        table, wanted = np.exp(table) / np.exp(table).sum(axis=1, keepdims=True), probabilities
    assert np.abs(table - wanted).max() <= 1e-5


def test_a_forests_contributions_are_shapley_values_by_definition() -> None:
    """For a few trees and every subset of columns: the average over all orders of what a column adds to the expectation."""
    model, manifest, x = _pipeline("two small trees", 2, "c1")
    forest = model.pipeline.steps[-1][1]
    explainer = explain.load(explanation_file.explanation(model, manifest, x, x, LOG), manifest)
    result = explainer.explain(_feeds(model, x.iloc[:3]), ["c1"] * 3)
    clean = model.pipeline.steps[0][1].transform(x.iloc[:3])
    matrix = np.asarray(model.pipeline.steps[1][1].transform(clean), dtype=np.float32)
    feature_of = [0, 1, 2, *[3] * (len(manifest.features[3].categories) + 1), *[4] * 3]
    for i, row in enumerate(matrix):
        wanted = np.zeros(5)
        for tree in (t.tree_ for t in forest.estimators_):
            used = sorted({int(f) for f in tree.feature if f >= 0})
            for column in used:
                rest = [u for u in used if u != column]
                for size in range(len(rest) + 1):
                    weight = factorial(size) * factorial(len(rest) - size) / factorial(len(used))
                    for known in combinations(rest, size):
                        gain = _expected(tree, 0, row, {*known, column}) - _expected(tree, 0, row, set(known))
                        wanted[feature_of[column]] += weight * gain / 2
        assert np.allclose(result.contributions[i], wanted, atol=1e-7)


def _expected(tree: Any, node: int, row: np.ndarray, known: set[int]) -> float:
    """The tree's answer when only these columns are known: other splits go both ways by training weight."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0:
        return float(tree.value[node, 0, 1] / tree.value[node, 0].sum())
    if int(tree.feature[node]) in known:
        return _expected(tree, left if row[tree.feature[node]] <= tree.threshold[node] else right, row, known)
    weights = tree.weighted_n_node_samples
    return float(sum(weights[c] * _expected(tree, c, row, known) for c in (left, right)) / weights[node])


def test_what_cannot_be_explained_exactly_is_not() -> None:
    """An estimator of another kind gets no file."""
    model, manifest, x = _pipeline("linear", 2, "c1")
    cleaner, preprocessor = (s for _, s in model.pipeline.steps[:2])
    matrix = np.asarray(preprocessor.transform(cleaner.transform(x)))
    model.pipeline.steps[-1] = ("estimator", GaussianNB().fit(matrix, np.arange(len(x)) % 2))
    assert explanation_file.explanation(model, manifest, x, x, LOG) == b""


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 no", b"x" * 200])
def test_a_broken_file_is_refused(raw: bytes) -> None:
    """Whatever the bytes are, they are refused as a bundle is."""
    _, manifest, _ = _pipeline("linear", 2, "c1")
    with pytest.raises(BundleRejected):
        explain.load(raw, manifest)
