"""Linear regression with a penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn import linear_model
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from dropforge_training.models.model_spec import ModelSpec

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search.search_space import NarrowedTrial


class RidgeRegression(ModelSpec):
    """The plain linear baseline of a regression: every other model should beat it, or is not worth its cost."""

    tasks = ("regression",)

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        # Not less: two columns of one meaning, equal up to rounding, would get coefficients of thousands that cancel each other,
        # and neither a model nor its float32 graph should rest on a rounding.
        return {"alpha": trial.suggest_float("alpha", 1.0, 10_000.0, log=True)}

    def first(self) -> dict[str, Any]:
        return {"alpha": 1.0}

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:  # noqa: ARG002 - one thread suffices
        return linear_model.Ridge(**params, random_state=seed)

    def number_step(self) -> Any:
        """Scaled, unlike for trees: the penalty weighs all columns alike, and a smooth model survives float32 rounding."""
        impute = SimpleImputer(strategy="median", keep_empty_features=True)
        return Pipeline([("impute", impute), ("scale", StandardScaler())])
