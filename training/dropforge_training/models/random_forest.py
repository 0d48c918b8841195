"""Random forest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from dropforge_training.models.model_spec import ModelSpec, Trained, TrialFit, predicted, weighted_fit

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search.search_space import NarrowedTrial

_STEP = 25  # trees between two looks at the budget


class RandomForest(ModelSpec):
    """Robust with default parameters; a good second opinion beside boosting."""

    rounds = "n_estimators"  # of a trial that was ended early
    tasks = ("classification", "regression")

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        return {
            "n_estimators": trial.suggest_int("n_estimators", 50, 150, step=50),
            "max_depth": trial.suggest_int("max_depth", 8, 16),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 3, 20),
            "max_features": trial.suggest_float("max_features", 0.1, 0.6),
        }

    def first(self) -> dict[str, Any]:
        return {"n_estimators": 100, "max_depth": 14, "min_samples_leaf": 4, "max_features": 0.2}

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:
        kind = RandomForestClassifier if classes else RandomForestRegressor
        return kind(**params, random_state=seed, n_jobs=jobs)

    def constrained(self, estimator: Any, monotone: tuple[int, ...]) -> Any:
        return estimator.set_params(monotonic_cst=list(monotone))

    def train(self, fit: TrialFit) -> Trained:
        """A forest does not overfit by more trees: it stops for the budget alone."""
        fold, limit = fit.fold, int(fit.params["n_estimators"])
        forest = fit.unfitted(self, n_estimators=0).set_params(warm_start=True)
        for trees in [*range(_STEP, limit, _STEP), limit]:
            weighted_fit(forest.set_params(n_estimators=trees), fold.x, fold.y, fold.weight)
            if trees < limit and fit.callback(trees / _STEP, fit.score(predicted(forest, fold.x_valid))):
                return Trained(predicted(forest, fold.x_valid), trees)  # all trees would take the last fit longer, too
        return Trained(predicted(forest, fold.x_valid))
