"""Gradient boosting with scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.ensemble import HistGradientBoostingClassifier

from dropforge_training.models.base import Candidate

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search import NarrowedTrial


class HistGradientBoosting(Candidate):
    """Histogram boosting without a further package; reads missing numbers itself."""

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "max_iter": trial.suggest_int("max_iter", 50, 300, step=50),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 7, 63),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 5, 50),
            "l2_regularization": trial.suggest_float("l2_regularization", 1e-3, 10.0, log=True),
        }

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:  # noqa: ARG002 - OpenMP takes the cores it may use
        return HistGradientBoostingClassifier(**params, early_stopping=False, random_state=seed)

    def number_step(self) -> Any:
        return "passthrough"
