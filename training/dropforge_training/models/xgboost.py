"""Gradient boosting with XGBoost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xgboost import XGBClassifier

from dropforge_training.models.base import Candidate

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from dropforge_training.search import NarrowedTrial

_ROUNDS = 1500
_PATIENCE = 40


class XGBoost(Candidate):
    """Histogram boosting with early stopping; reads missing numbers itself."""

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "max_depth": trial.suggest_int("max_depth", 3, 8),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 20, log=True),
            "subsample": trial.suggest_float("subsample", 0.6, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 10, log=True),
        }

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:
        objective = "binary:logistic" if classes == 2 else "multi:softprob"
        given = {"n_estimators": _ROUNDS, **params}
        return XGBClassifier(**given, objective=objective, tree_method="hist", random_state=seed, n_jobs=jobs)

    def fit(self, estimator: Any, x: np.ndarray, y: np.ndarray, x_valid: np.ndarray, y_valid: np.ndarray) -> Any:
        estimator.set_params(early_stopping_rounds=_PATIENCE)
        return estimator.fit(x, y, eval_set=[(x_valid, y_valid)], verbose=False)

    def final_params(self, estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
        return {**params, "n_estimators": int(estimator.best_iteration) + 1}

    def number_step(self) -> Any:
        return "passthrough"
