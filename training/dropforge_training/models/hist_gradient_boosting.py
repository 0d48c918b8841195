"""Gradient boosting with scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from dropforge_training.models.model_spec import ModelSpec, Trained, TrialFit, predicted, weighted_fit

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search.search_space import NarrowedTrial

_ROUNDS = 400
_STEP = 20  # rounds between two scores: scikit-learn bins the rows anew for each
_PATIENCE = 2  # steps without gain


class HistGradientBoosting(ModelSpec):
    """Histogram boosting without a further package; reads missing numbers itself; stops early."""

    rounds = "max_iter"
    tasks = ("classification", "regression")

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 7, 63),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 5, 50),
            "l2_regularization": trial.suggest_float("l2_regularization", 1e-3, 10.0, log=True),
        }

    def first(self) -> dict[str, Any]:
        return {"learning_rate": 0.1, "max_leaf_nodes": 23, "min_samples_leaf": 20, "l2_regularization": 1.0}

    def quick(self) -> dict[str, Any]:
        return {**self.first(), "learning_rate": 0.3}

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:  # noqa: ARG002 - OpenMP takes the cores it may use
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        return kind(**params, early_stopping=False, random_state=seed)

    def train(self, fit: TrialFit) -> Trained:
        fold = fit.fold
        booster = fit.unfitted(self).set_params(warm_start=True)
        best, at = float("-inf"), 0
        stored = np.empty((0, max(1, fit.classes)))
        for rounds in range(_STEP, _ROUNDS + 1, _STEP):
            weighted_fit(booster.set_params(max_iter=rounds), fold.x, fold.y, fold.weight)
            probabilities = predicted(booster, fold.x_valid)
            value = fit.score(probabilities)
            if value > best or not at:
                best, stored, at = value, probabilities, rounds
            if fit.callback(rounds * fit.params["learning_rate"], best) or rounds - at >= _PATIENCE * _STEP:
                break
        return Trained(stored, at)

    def constrained(self, estimator: Any, monotone: tuple[int, ...]) -> Any:
        return estimator.set_params(monotonic_cst=list(monotone))

    def number_step(self) -> Any:
        return "passthrough"
