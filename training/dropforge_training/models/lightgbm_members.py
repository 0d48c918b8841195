"""LightGBM's boosters as members of an ensemble of trees.

Of a regression on the logarithm of its target, the mean of logarithms falls short of the logarithm of the mean. The kinds of
LOG_LINK are fitted for the mean instead (Poisson and gamma deviance: McCullagh & Nelder 1989, ch. 6 and 8). Their margin is the
mean's logarithm, so that they blend with all others.
"""

from __future__ import annotations

import math
import re
from typing import Any

import lightgbm
import numpy as np

from dropforge_training.models.model_spec import Fold, RoundCallback, Trained, TrialFit

BOOSTED, RANDOM_THRESHOLDS = "lightgbm", "lightgbm_random_thresholds"
LOG_LINK = {"lightgbm_poisson": "poisson", "lightgbm_gamma": "gamma"}  # objective of each kind
_ROUNDS, _PATIENCE = 3000, 40
_SOME_ROUNDS = 10  # whose trees are counted
# What early stopping looks at by the tuning metric, larger is better; else the loss of the objective.
_WATCHED = {"roc_auc": "auc", "average_precision": "average_precision"}
_LOSSES = {0: ("regression", "rmse"), 2: ("binary", "binary_logloss")}


def parameters(p: dict[str, Any], seed: int, jobs: int, classes: int, monotone: tuple[int, ...]) -> dict[str, Any]:
    """LightGBM's names for the parameters of a trial."""
    given = {
        "objective": LOG_LINK.get(p["kind"]) or _LOSSES.get(classes, ("multiclass", ""))[0],
        "learning_rate": p["learning_rate"],
        "num_leaves": 2 ** min(p["max_depth"], 8),
        "min_data_in_leaf": int(np.clip(20 * p["min_child_weight"], 2, 100)),
        "bagging_fraction": p["subsample"],
        "bagging_freq": 1 if p["subsample"] < 1 else 0,
        "feature_fraction_bynode" if p["by_node"] else "feature_fraction": p["colsample"],
        "lambda_l2": p["reg_lambda"],
        "extra_trees": p["kind"] == RANDOM_THRESHOLDS,
        "seed": seed,
        "num_threads": jobs,
        "verbose": -1,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,  # the rows' bins serve trials of other leaf sizes too
    }
    if classes > 2:
        given["num_class"] = classes
    if any(monotone):
        given["monotone_constraints"] = list(monotone)
    return given


def fitted(
    p: dict[str, Any], given: dict[str, Any], x: np.ndarray, y: np.ndarray, weight: np.ndarray | None
) -> lightgbm.Booster:
    """A booster of a trial's parameters; `given`: the same as `parameters` names them."""
    rows = lightgbm.Dataset(x, _label(p["kind"], y), weight=weight, params=given)
    return lightgbm.train(given, rows, int(p.get("n_estimators", 300)), keep_training_booster=True)


def output(kind: str, booster: lightgbm.Booster, x: np.ndarray, classes: int, rounds: int | None = None) -> np.ndarray:
    """Probabilities, shape [rows, classes]; of a regression the margin, [rows, 1]. rounds: the first ones alone."""
    p = np.asarray(booster.predict(x, num_iteration=rounds, raw_score=kind in LOG_LINK))
    if classes == 2:
        return np.column_stack([1 - p, p])
    return p if classes else p.reshape(-1, 1)


def train(fit: TrialFit) -> Trained:
    """Boost until validation rows gain no more; see ModelSpec.train."""
    fold, classes, kind = fit.fold, fit.classes, fit.params["kind"]
    given = parameters(fit.params, fit.seed, fit.jobs, classes, fold.monotone)
    rows, valid = _datasets(fold, kind, fit.jobs)
    name = _LOSSES.get(classes, ("", "multi_logloss"))[1]
    if classes == 2 and (fit.metric == "roc_auc" or (fit.metric == "average_precision" and fold.positive == 1)):
        name = _WATCHED[fit.metric]
    stopping = _EarlyStopping(
        fit.callback,
        1.0 if name in _WATCHED.values() else -1.0,
        fit.params["learning_rate"],
        comparable=kind not in LOG_LINK,
    )
    booster = lightgbm.train(
        {**given, "metric": name}, rows, _ROUNDS, valid_sets=[valid], callbacks=[stopping], keep_training_booster=True
    )
    rounds = stopping.best_round + 1
    return Trained(output(kind, booster, fold.x_valid, classes, rounds), rounds, _nodes(booster, rounds))


def _label(kind: str, y: np.ndarray) -> np.ndarray:
    """What is fitted: of a mean's logarithm the numbers themselves, whose logarithm `y` is."""
    return np.exp(y) if kind in LOG_LINK else y


def _datasets(fold: Fold, kind: str, jobs: int) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
    """The fold's rows in bins, computed once; its validation rows."""
    name = "lightgbm_log_link" if kind in LOG_LINK else "lightgbm"
    if name not in fold.cache:
        binning = {"feature_pre_filter": False, "verbose": -1, "num_threads": jobs}
        label, label_valid = _label(kind, fold.y), _label(kind, fold.y_valid)
        rows = lightgbm.Dataset(fold.x, label, weight=fold.weight, params=binning, free_raw_data=False)
        valid = rows.create_valid(fold.x_valid, label_valid, weight=fold.weight_valid, params=binning)
        fold.cache[name] = rows, valid
    rows, valid = fold.cache[name]
    return rows, valid


def _nodes(booster: lightgbm.Booster, rounds: int) -> int:
    """Of the first rounds, going by some in the middle: to write all of them takes as long as many rounds."""
    some = booster.model_to_string(num_iteration=_SOME_ROUNDS, start_iteration=max(0, (rounds - _SOME_ROUNDS) // 2))
    leaves = [int(n) for n in re.findall(r"^num_leaves=(\d+)$", some, re.MULTILINE)]
    trees = rounds * int(booster.num_model_per_iteration())
    return round(2 * float(np.mean(leaves)) * trees)


class _EarlyStopping:
    """Stops after rounds without gain, or when the callback says so. comparable: whether other kinds' losses have the same units."""

    order = 30
    before_iteration = False

    def __init__(self, callback: RoundCallback, sign: float, rate: float, *, comparable: bool) -> None:
        self.best_round = 0
        self._best = -np.inf
        self._callback = callback
        self._sign = sign
        self._rate = rate
        self._comparable = comparable

    def __call__(self, env: Any) -> None:
        value = self._sign * float(env.evaluation_result_list[0][2])
        if value > self._best:
            self._best, self.best_round = value, env.iteration
        over = self._callback((env.iteration + 1) * self._rate, self._best if self._comparable else math.nan)
        if over or env.iteration - self.best_round >= _PATIENCE:
            raise lightgbm.callback.EarlyStopException(self.best_round, env.evaluation_result_list)
