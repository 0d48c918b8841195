"""Gradient boosting by two libraries and a forest of random thresholds, selected into one ensemble of trees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from dropforge_training.models import lightgbm_members, tree_conversion, xgboost_ensemble
from dropforge_training.models.additive_trees import AdditiveTrees
from dropforge_training.models.model_spec import (
    Batch,
    ModelSpec,
    Trained,
    TrialFit,
    predicted,
    weighted_fit,
)
from dropforge_training.models.xgboost import XGBoost

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search.search_space import NarrowedTrial

_BOOSTED, _FOREST, _LINEAR = "xgboost", "extra_trees", "linear"
_LIGHTGBM, _RANDOM_THRESHOLDS = lightgbm_members.BOOSTED, lightgbm_members.RANDOM_THRESHOLDS
_TREES = 100  # of a forest
_STEP = 4  # of its trees between two looks at the budget
_FOREST_ROWS = 50_000  # from which each tree has a sample of so many
_NODES = 200_000  # of a forest, about: more make a bundle of tens of megabytes
_VOTE = 5.0  # margin between a forest's vote of all trees for one of two classes and of none: a probability of 0.993
# Where a search begins, in this order: good alone on some tables each, and unlike each other, so that they blend well.
_PORTFOLIO: tuple[dict[str, Any], ...] = (
    {"kind": _BOOSTED, "learning_rate": 0.1, "max_depth": 5, "min_child_weight": 0.5, "subsample": 1.0,
     "colsample": 0.25, "by_node": False, "reg_lambda": 1.0},
    {"kind": _RANDOM_THRESHOLDS, "learning_rate": 0.05, "max_depth": 6, "min_child_weight": 1.0, "subsample": 1.0,
     "colsample": 0.8, "by_node": False, "reg_lambda": 0.1},
    {"kind": _LINEAR, "learning_rate": 0.1, "max_depth": 5, "min_child_weight": 1.0, "subsample": 1.0,
     "colsample": 1.0, "by_node": False, "reg_lambda": 3.0},
    {"kind": _FOREST, "learning_rate": 0.1, "max_depth": 6, "min_child_weight": 0.5, "subsample": 1.0,
     "colsample": 0.4, "by_node": True, "reg_lambda": 1.0},
    {"kind": _BOOSTED, "learning_rate": 0.05, "max_depth": 6, "min_child_weight": 1.0, "subsample": 0.8,
     "colsample": 0.6, "by_node": False, "reg_lambda": 1.0},
    {"kind": _BOOSTED, "learning_rate": 0.06, "max_depth": 10, "min_child_weight": 0.05, "subsample": 0.7,
     "colsample": 0.4, "by_node": True, "reg_lambda": 0.1},
    {"kind": _BOOSTED, "learning_rate": 0.1, "max_depth": 2, "min_child_weight": 5.0, "subsample": 0.8,
     "colsample": 0.3, "by_node": False, "reg_lambda": 10.0},
    {"kind": _LIGHTGBM, "learning_rate": 0.05, "max_depth": 5, "min_child_weight": 1.0, "subsample": 0.9,
     "colsample": 0.8, "by_node": False, "reg_lambda": 1.0},
)  # fmt: skip


# Two more for the mean of a target that is fitted on its logarithm, behind the first kinds of each library.
_OF_THE_MEAN: tuple[dict[str, Any], ...] = tuple(
    {"kind": kind, "learning_rate": 0.05, "max_depth": 5, "min_child_weight": 0.5, "subsample": 0.9,
     "colsample": 0.6, "by_node": False, "reg_lambda": 1.0}
    for kind in lightgbm_members.LOG_LINK
)  # fmt: skip
_FIRST_KINDS = 4
# Before the others where a round is many trees. Of 26 classes (16,000 rows of letters) the first had a log loss of 0.118 after 100
# rounds, which takes 0.42 with the first of the portfolio within the same time.
_FEW_ROUNDS: tuple[dict[str, Any], ...] = (
    {"kind": _BOOSTED, "learning_rate": 0.3, "max_depth": 6, "min_child_weight": 0.3, "subsample": 0.8,
     "colsample": 0.5, "by_node": True, "reg_lambda": 1.0},
    {"kind": _LIGHTGBM, "learning_rate": 0.15, "max_depth": 6, "min_child_weight": 0.25, "subsample": 0.8,
     "colsample": 0.5, "by_node": True, "reg_lambda": 1.0},
)  # fmt: skip
_MANY = 10  # classes


class TreeEnsemble(ModelSpec):
    """XGBoost, LightGBM, extremely randomised trees (Geurts et al. 2006) and a linear model of bins: one XGBoost model."""

    kinds: tuple[str, ...] = (_BOOSTED, _LIGHTGBM, _RANDOM_THRESHOLDS, _FOREST, _LINEAR)

    rounds = "n_estimators"
    blends = True
    tasks = ("classification", "regression")

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        """All kinds share their parameters, so that the sampler learns from each of them; a forest uses two of them."""
        return {
            "kind": trial.suggest_categorical("kind", list(self.kinds)),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "max_depth": trial.suggest_int("max_depth", 2, 10),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.05, 20, log=True),
            "subsample": trial.suggest_float("subsample", 0.6, 1.0),
            "colsample": trial.suggest_float("colsample", 0.1, 1.0),
            "by_node": trial.suggest_categorical("by_node", [False, True]),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 20, log=True),
        }

    def first(self) -> dict[str, Any]:
        return dict(_PORTFOLIO[0])

    def portfolio(self) -> list[dict[str, Any]]:
        return [dict(point) for point in _PORTFOLIO]

    def quick(self) -> dict[str, Any]:
        return {**self.first(), "learning_rate": 0.3}

    def enough(self, params: dict[str, Any]) -> float:
        return 0.0 if params["kind"] in {_FOREST, _LINEAR} else XGBoost().enough(params)

    def varies(self, params: dict[str, Any]) -> bool:
        """A forest is a mean over many seeds already, and nothing of a linear model is left to chance."""
        return params["kind"] not in {_FOREST, _LINEAR}

    def splits_alike(self, params: dict[str, Any]) -> bool:
        return params["kind"] in {_FOREST, _LINEAR}

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:
        if params["kind"] == _BOOSTED:
            return XGBoost().estimator(_for_xgboost(params), seed=seed, jobs=jobs, classes=classes)
        return _Converted(params, seed=seed, jobs=jobs, classes=classes)

    def reads_batches(self, params: dict[str, Any]) -> bool:
        return bool(params["kind"] == _BOOSTED)

    def fit_batches(self, unfitted: Sequence[Any], rows: Iterable[Batch], classes: int) -> list[Any]:
        return XGBoost().fit_batches(unfitted, rows, classes)

    def constrained(self, estimator: Any, monotone: tuple[int, ...]) -> Any:
        if isinstance(estimator, _Converted):
            return estimator.set_params(monotone=monotone)
        return XGBoost().constrained(estimator, monotone)

    def train(self, fit: TrialFit) -> Trained:
        if fit.params["kind"] == _BOOSTED:
            return XGBoost().train(replace(fit, params=_for_xgboost(fit.params)))
        by_kind = {_FOREST: _train_forest, _LINEAR: _train_linear}
        return by_kind.get(fit.params["kind"], lightgbm_members.train)(fit)

    def for_log_means(self) -> ModelSpec:
        return _LogTargetTreeEnsemble()

    def for_classes(self, classes: int) -> ModelSpec:
        return _ManyClassesTreeEnsemble() if classes >= _MANY else self

    def number_step(self) -> Any:
        return "passthrough"

    def blend(self, fitted: list[Any], weights: Sequence[float] | None = None) -> Any:
        like = next((f for f in fitted if not isinstance(f, _Converted)), None) or fitted[0].like_
        documents = [f.converted() if isinstance(f, _Converted) else xgboost_ensemble.document(f) for f in fitted]
        return xgboost_ensemble.merge(documents, like, weights)

    def output(self, fitted: Any, x: np.ndarray) -> np.ndarray:
        return fitted.output(x) if isinstance(fitted, _Converted) else super().output(fitted, x)

    def blended(self, outputs: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
        return XGBoost().blended(outputs, weights)


class _ManyClassesTreeEnsemble(TreeEnsemble):
    """The same with what learns most in few rounds first: each round has a tree for each class."""

    def first(self) -> dict[str, Any]:
        return dict(_FEW_ROUNDS[0])

    def portfolio(self) -> list[dict[str, Any]]:
        return [*(dict(p) for p in _FEW_ROUNDS), *super().portfolio()]


class _LogTargetTreeEnsemble(TreeEnsemble):
    """The same for numbers of at least zero that are fitted on ln(1 + number): members for the mean among them."""

    kinds = (*TreeEnsemble.kinds, *lightgbm_members.LOG_LINK)

    def portfolio(self) -> list[dict[str, Any]]:
        points = super().portfolio()
        return [*points[:_FIRST_KINDS], *(dict(p) for p in _OF_THE_MEAN), *points[_FIRST_KINDS:]]


def _for_xgboost(params: dict[str, Any]) -> dict[str, Any]:
    same = {k: v for k, v in params.items() if k not in {"kind", "colsample", "by_node"}}
    return {**same, "colsample_bynode" if params["by_node"] else "colsample_bytree": params["colsample"]}


class _Converted(BaseEstimator):  # type: ignore[misc] # scikit-learn publishes no types
    """Fits LightGBM, a forest or a linear model, which predict by themselves until they are blended."""

    def __init__(
        self, params: dict[str, Any], *, seed: int, jobs: int, classes: int, monotone: tuple[int, ...] = ()
    ) -> None:
        self.params = params
        self.seed = seed
        self.jobs = jobs
        self.classes = classes
        self.monotone = monotone

    def fit(self, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> _Converted:
        p = self.params
        if p["kind"] == _FOREST:
            forest = _forest(p, int(p.get("n_estimators", _TREES)), self.seed, self.jobs, self.classes, len(y))
            if any(self.monotone):
                forest.set_params(monotonic_cst=list(self.monotone))
            self.fitted_ = weighted_fit(forest, x, y, sample_weight)
        elif p["kind"] == _LINEAR:
            self.fitted_ = _linear(p, self.seed, self.classes, self.monotone).fit(x, y, sample_weight)
        else:
            given = lightgbm_members.parameters(p, self.seed, self.jobs, self.classes, self.monotone)
            self.fitted_ = lightgbm_members.fitted(p, given, x, y, sample_weight)
        like = XGBoost().estimator({"n_estimators": 1, "max_depth": 1}, seed=0, jobs=self.jobs, classes=self.classes)
        self.like_ = weighted_fit(like, x, y, sample_weight)
        return self

    def output(self, x: np.ndarray) -> np.ndarray:
        """As ModelSpec.blended takes it: probabilities, shape [rows, classes], or numbers, [rows, 1]."""
        if self.params["kind"] == _FOREST:
            return _votes(self.fitted_, x, self.classes)
        if self.params["kind"] == _LINEAR:
            return _of_margin(self.fitted_.margin(x), self.classes)
        return lightgbm_members.output(self.params["kind"], self.fitted_, x, self.classes)

    def converted(self) -> dict[str, Any]:
        """What XGBoost would save of a model with the same margins."""
        if self.params["kind"] == _FOREST:
            trees = tree_conversion.of_forest(self.fitted_.estimators_, *_margin(self.classes))
        elif self.params["kind"] == _LINEAR:
            trees = self.fitted_.trees()
        else:
            trees = tree_conversion.of_lightgbm(self.fitted_.model_to_string())
        return tree_conversion.document(trees, self.like_)


# --- linear model of bins ---------------------------------------------------------------------------------------------------------
def _linear(p: dict[str, Any], seed: int, classes: int, monotone: tuple[int, ...]) -> AdditiveTrees:
    return AdditiveTrees(p["reg_lambda"], seed=seed, classes=classes, monotone=monotone)


def _train_linear(fit: TrialFit) -> Trained:
    fold = fit.fold
    model = _linear(fit.params, fit.seed, fit.classes, fold.monotone).fit(fold.x, fold.y, fold.weight)
    return Trained(_of_margin(model.margin(fold.x_valid), fit.classes))


def _of_margin(margin: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities, shape [rows, classes]; of a regression the margin itself, [rows, 1]."""
    if classes == 2:
        return np.column_stack([expit(-margin[:, 0]), expit(margin[:, 0])])
    return np.asarray(softmax(margin, axis=1)) if classes else margin


# --- forest ----------------------------------------------------------------------------------------------------------------------
def _forest(p: dict[str, Any], trees: int, seed: int, jobs: int, classes: int, rows: int) -> Any:
    """Leaves as small as a class or number wants them, as long as the forest stays within its nodes."""
    pure = 4 if classes else 1  # rows of a leaf where nothing limits it, about: those of one class stay together
    drawn = min(rows, _FOREST_ROWS)
    least = 2 * drawn * _TREES * (classes if classes > 2 else 1) // (_NODES * pure)
    kind = ExtraTreesClassifier if classes else ExtraTreesRegressor
    return kind(
        trees,
        max_features=p["colsample"],
        min_samples_leaf=max(1 if classes else 2, least),
        bootstrap=rows > drawn,
        max_samples=drawn if rows > drawn else None,
        n_jobs=jobs,
        random_state=seed,
    )


def _margin(classes: int) -> tuple[float, float]:
    """Factor of a forest's mean vote, and what is added: of two classes it is zero where half of the trees vote for each."""
    known = {0: (1.0, 0.0), 2: (2 * _VOTE, -_VOTE)}
    return known[classes] if classes in known else (_vote(classes), 0.0)


def _vote(classes: int) -> float:
    """Margin between all votes and none that makes a forest as sure of many classes as of two, when its trees agree."""
    return _VOTE + math.log(classes - 1)


def _train_forest(fit: TrialFit) -> Trained:
    """A forest does not overfit by more trees: it stops for the budget alone."""
    fold, classes = fit.fold, fit.classes
    forest = _forest(fit.params, 0, fit.seed, fit.jobs, classes, len(fold.y)).set_params(warm_start=True)
    if any(fold.monotone):
        forest.set_params(monotonic_cst=list(fold.monotone))
    now = float("-inf")
    for trees in range(_STEP, _TREES + 1, _STEP):
        weighted_fit(forest.set_params(n_estimators=trees), fold.x, fold.y, fold.weight)
        if trees & (trees - 1) == 0:  # after each doubling: scoring takes time too
            now = fit.score(_votes(forest, fold.x_valid, classes))
        if trees < _TREES and fit.callback(trees / _TREES, now):
            return Trained(_votes(forest, fold.x_valid, classes), trees, _forest_nodes(forest, classes))
    return Trained(_votes(forest, fold.x_valid, classes), nodes=_forest_nodes(forest, classes))


def _forest_nodes(forest: Any, classes: int) -> int:
    """Of the converted forest: a tree for each class, where there are more than two."""
    return int(sum(t.tree_.node_count for t in forest.estimators_)) * (classes if classes > 2 else 1)


def _votes(forest: Any, x: np.ndarray, classes: int) -> np.ndarray:
    """What the converted forest says of the rows, shape [rows, classes]; of a regression [rows, 1]."""
    votes = predicted(forest, x)
    return np.asarray(softmax(votes * _vote(classes), axis=1)) if classes else votes
