"""The contract of a candidate. A new model is one subclass in one file and one entry in settings.yaml."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from dropforge.errors import SettingsError
from dropforge_training.processing import TableCleaner
from dropforge_training.steps import Steps

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from dropforge_training.search import NarrowedTrial


class Candidate(ABC):
    """What tuning needs to know of a model. Instances hold no state: one may serve many jobs.

    X has shape [rows, features after preprocessing] (float32), y holds class codes 0 … k-1.
    """

    @abstractmethod
    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        """Suggest the parameters of one trial; names and ranges appear in MLflow as they are."""

    @abstractmethod
    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:
        """An unfitted scikit-learn classifier."""

    def fit(self, estimator: Any, x: np.ndarray, y: np.ndarray, x_valid: np.ndarray, y_valid: np.ndarray) -> Any:  # noqa: ARG002 - for early stopping
        """Fit; a model that stops early looks at the validation rows."""
        return estimator.fit(x, y)

    def final_params(self, estimator: Any, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - for early stopping
        """Parameters for the last fit on all training rows, given the estimator of the best trial."""
        return params

    def processor(
        self, numbers: list[str], categories: list[str], markers: dict[str, tuple[str, ...]], steps: dict[str, Steps]
    ) -> TableCleaner:
        """First step: raw columns to clean ones, numbers first. The prediction API does the same from the manifest."""
        return TableCleaner(numbers, categories, markers, steps=steps)

    def preprocessor(self, cleaner: TableCleaner) -> ColumnTransformer:
        """Second step: clean columns to a dense float32 matrix. Trees take numbers unscaled (float32 exactness of the export)."""
        k, c = len(cleaner.numbers), len(cleaner.categories)
        steps = []
        if k:
            steps.append(("numbers", self.number_step(), list(range(k))))
        if c:
            steps.append(("categories", self.category_step(cleaner), list(range(k, k + c))))
        return ColumnTransformer(steps, sparse_threshold=0.0)

    def number_step(self) -> Any:
        """Median for missing numbers; `passthrough` for models that read NaN themselves."""
        return SimpleImputer(strategy="median", keep_empty_features=True)  # an all-missing column stays

    def category_step(self, cleaner: TableCleaner) -> Any:
        """One column a category; dense, because some models read the zeros of a sparse matrix as missing."""
        import numpy as np

        known = [np.array(v, dtype=object) for v in cleaner.known_categories()]
        return OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False, dtype=np.float32)


def own_code(candidate: Candidate) -> list[str]:
    """The folder of a model that is not of this package, to be kept with what is logged: whoever loads it needs the classes."""
    package, _, _ = type(candidate).__module__.partition(".")
    if package == __package__.partition(".")[0]:
        return []
    module = importlib.import_module(package)
    return [str(Path(f).parent) for f in [getattr(module, "__file__", None)] if f] or [str(p) for p in module.__path__][
        :1
    ]


def load(import_path: str) -> Candidate:
    """`package.module:Class` from settings.yaml. Raises SettingsError naming what is missing."""
    module_name, _, class_name = import_path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the model class {import_path} cannot be imported: {error}",
            code="model_class",
            fix="give package.module:Class; a class of your own lies in the folder `models` beside settings.yaml: models.mine:Mine",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Candidate)):
        raise SettingsError(
            f"{import_path} is no Candidate",
            code="model_class",
            fix="derive it from dropforge_training.models.base.Candidate",
        )
    made: Candidate = found()
    return made
