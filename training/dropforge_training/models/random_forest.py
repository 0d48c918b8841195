"""Random forest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.ensemble import RandomForestClassifier

from dropforge_training.models.base import Candidate

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search import NarrowedTrial


class RandomForest(Candidate):
    """Robust with default parameters; a good second opinion beside boosting."""

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        return {
            "n_estimators": trial.suggest_int("n_estimators", 50, 150, step=50),
            "max_depth": trial.suggest_int("max_depth", 8, 16),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 3, 20),
            "max_features": trial.suggest_float("max_features", 0.1, 0.6),
        }

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:  # noqa: ARG002 - the forest counts classes itself
        return RandomForestClassifier(**params, random_state=seed, n_jobs=jobs)
