"""The contract of a candidate. A new model is one subclass in one file and one entry in settings.yaml."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import has_fit_parameter

from dropforge.errors import SettingsError
from dropforge.metrics import Task
from dropforge_training.preprocessing.cleaner import TableCleaner
from dropforge_training.preprocessing.transforms import Steps

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search.search_space import NarrowedTrial


@dataclass(frozen=True, slots=True)
class Fold:
    """Preprocessed training rows and the validation rows a trial is scored on.

    x, x_valid: shape [rows, features after preprocessing] (float32); y, y_valid: class codes. `positive`: code of the class
    that a binary metric is about. Of a regression y and y_valid are numbers after `transform`, less `center`. `weight`,
    `weight_valid`: how much each row counts, shape [rows]; None: all alike. `monotone`: see ModelSpec.constrained; empty: no
    constraint. `cache`: what a model computes of the rows once (its own matrix form), shared by all trials. `places`: of the
    validation rows among the training rows; None: not known.
    """

    x: np.ndarray
    y: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    positive: int = 1
    transform: str = ""
    center: float = 0.0
    weight: np.ndarray | None = None
    weight_valid: np.ndarray | None = None
    monotone: tuple[int, ...] = ()
    cache: dict[str, Any] = field(default_factory=dict)
    places: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """One fit on one fold: probabilities of its validation rows, shape [rows, classes] (of a regression numbers, [rows, 1]); the
    rounds it took (0: has none), and the nodes of its trees, about (0: not known).
    """

    probabilities: np.ndarray
    rounds: int = 0
    nodes: int = 0


# Called between rounds with the progress of the fit (in units that a model's trials share) and its score so far, larger is
# better. True: end the fit with what there is. Raises TrialPruned for a hopeless one.
RoundCallback = Callable[[float, float], bool]
# Scores probabilities of the fold's validation rows, larger is better.
Score = Callable[[Any], float]


@dataclass(frozen=True, slots=True)
class TrialFit:
    """One fit of a trial on one fold.

    `params`, `seed`, `jobs` and `classes` (0: a regression) are those of ModelSpec.estimator; `metric`: the name of the tuning
    metric, which `score` computes of the fold's validation rows. A model fitted in rounds calls `callback` between them.
    """

    params: dict[str, Any]
    fold: Fold
    seed: int
    jobs: int
    classes: int
    metric: str
    score: Score
    callback: RoundCallback

    def unfitted(self, model: ModelSpec, **changed: Any) -> Any:
        """The model's estimator of these parameters, those of `changed` replaced, held to the fold's constraints."""
        params = {**self.params, **changed}
        return prepared(
            model, params, seed=self.seed, jobs=self.jobs, classes=self.classes, monotone=self.fold.monotone
        )


class Batch(NamedTuple):
    """Some rows of a matrix, shape [rows, features] (float32), with what is fitted on them and their weights, shape [rows]."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


class ModelSpec(ABC):
    """What tuning needs to know of a model. Instances hold no state: one may serve many jobs.

    X has shape [rows, features after preprocessing] (float32), y holds class codes 0 … k-1, or of a regression numbers (float64).
    """

    tasks: tuple[Task, ...] = ("classification",)  # what it can be trained for

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "processor" in vars(cls):  # an override of the old name would be passed over in silence
            raise SettingsError(
                f"{cls.__name__}.processor is called cleaner now", code="old_name", fix="rename the method to cleaner"
            )

    @abstractmethod
    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        """Suggest the parameters of one trial; names and ranges appear in MLflow as they are."""

    @abstractmethod
    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:
        """An unfitted scikit-learn classifier; of 0 classes a regressor."""

    def constrained(self, estimator: Any, monotone: tuple[int, ...]) -> Any:  # noqa: ARG002 - for models that can
        """The unfitted estimator with predictions (of a classifier: of code 1) that only rise (1) or fall (-1) with a matrix column.

        monotone: one sign a column, 0 for no constraint. Raises SettingsError for a model that cannot hold to it.
        """
        raise SettingsError(
            f"{type(self).__name__} cannot hold predictions to a direction, which data.monotone asks for",
            code="monotone_model",
            fix="remove the model, or data.monotone; tree_ensemble, xgboost, hist_gradient_boosting and random_forest can",
        )

    def for_log_means(self) -> ModelSpec:
        """The model whose search has members for the mean of numbers from zero that are fitted on ln(1 + number), if it knows any.

        An estimator of its parameters is this model's too.
        """
        return self

    def for_classes(self, classes: int) -> ModelSpec:  # noqa: ARG002 - for overriders
        """The model whose search suits so many classes (0: a regression). An estimator of its parameters is this model's too."""
        return self

    rounds: str = ""  # the parameter of the estimator that counts boosting rounds, when `train` finds their number

    def first(self) -> dict[str, Any]:
        """Parameters of the first trial: a good default, so that even a budget of one trial gives a usable model."""
        return {}

    def portfolio(self) -> list[dict[str, Any]]:
        """Parameters that a search begins with, `first` and then these in order, before its sampler chooses."""
        return [self.first()]

    def quick(self) -> dict[str, Any]:
        """Parameters that learn in fewer rounds, tried next where the budget ended the first trial early; empty: there are none."""
        return {}

    def train(self, fit: TrialFit) -> Trained:
        """Fit once on a fold. A model fitted in rounds overrides this: it calls `fit.callback` between rounds and stops early."""
        fold = fit.fold
        return Trained(predicted(weighted_fit(fit.unfitted(self), fold.x, fold.y, fold.weight), fold.x_valid))

    def blend(self, fitted: list[Any], weights: Sequence[float] | None = None) -> Any:
        """One estimator that gives the mean of these, which differ in parameters and seed; `blends` tells who can.

        weights: of each one in the mean, in any unit; None: all alike.
        """
        raise NotImplementedError(f"{type(self).__name__} does not blend {len(fitted)} estimators")

    def reads_batches(self, params: dict[str, Any]) -> bool:  # noqa: ARG002 - for overriders
        """Whether `fit_batches` fits an estimator of these parameters."""
        return False

    def fit_batches(self, unfitted: Sequence[Any], rows: Iterable[Batch], classes: int) -> list[Any]:
        """The estimators fitted on rows that need not be in memory at once. `rows` can be read several times, in one order."""
        raise NotImplementedError(
            f"{type(self).__name__} does not fit {len(unfitted)} estimators on {rows} of {classes} classes"
        )

    def enough(self, params: dict[str, Any]) -> float:  # noqa: ARG002 - for overriders
        """Progress of a fit, as its rounds report it, below which a fit of `quick`'s parameters within the same time is better."""
        return 0.0

    blends: bool = False

    def splits_alike(self, params: dict[str, Any]) -> bool:  # noqa: ARG002 - for overriders
        """Whether the trees of all classes have the same splits, so that a row walks through them once (export.xgboost_graph)."""
        return False

    def output(self, fitted: Any, x: np.ndarray) -> np.ndarray:
        """What one fitted estimator predicts, as `predicted` gives it."""
        return predicted(fitted, x)

    def blended(self, outputs: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
        """What `blend` of estimators with these outputs (as `predicted` gives them) and weights would give, shape as each has."""
        return np.average(np.stack(outputs), axis=0, weights=weights)

    def varies(self, params: dict[str, Any]) -> bool:  # noqa: ARG002 - for overriders
        """Whether a blend gains by a second estimator of these parameters and another seed."""
        return True

    def cleaner(
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
        known = [np.array(v, dtype=object) for v in cleaner.known_categories()]
        return OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False, dtype=np.float32)


def prepared(
    candidate: ModelSpec, params: dict[str, Any], *, seed: int, jobs: int, classes: int, monotone: tuple[int, ...]
) -> Any:
    """The candidate's unfitted estimator, held to `monotone` where that is not empty (see ModelSpec.constrained)."""
    created = candidate.estimator(params, seed=seed, jobs=jobs, classes=classes)
    return candidate.constrained(created, monotone) if any(monotone) else created


def weighted_fit(estimator: Any, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Any:
    """The estimator fitted; with sample weights where there are any. Raises SettingsError for one that takes none."""
    if weight is None:
        return estimator.fit(x, y)
    if not has_fit_parameter(estimator, "sample_weight"):
        raise SettingsError(
            f"{type(estimator).__name__} takes no sample weights, which data.weight or training.class_weights asks for",
            code="weight_model",
            fix="remove the model, or the weights",
        )
    return estimator.fit(x, y, sample_weight=weight)


def predicted(fitted: Any, x: Any) -> np.ndarray:
    """Probabilities, shape [rows, classes]; of a fitted regressor its numbers as a column, shape [rows, 1]."""
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(x))
    return np.asarray(fitted.predict(x), dtype=np.float64).reshape(-1, 1)


def own_code(candidate: ModelSpec) -> list[str]:
    """The folder of a model that is not of this package, to be kept with what is logged: whoever loads it needs the classes."""
    package, _, _ = type(candidate).__module__.partition(".")
    if package == __package__.partition(".")[0]:
        return []
    module = importlib.import_module(package)
    return [str(Path(f).parent) for f in [getattr(module, "__file__", None)] if f] or [str(p) for p in module.__path__][
        :1
    ]


def load(import_path: str, task: Task = "classification") -> ModelSpec:
    """`package.module:Class` from settings.yaml. Raises SettingsError naming what is missing, or a model of another task."""
    module_name, _, class_name = import_path.partition(":")
    try:
        result = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the model class {import_path} cannot be imported: {error}",
            code="model_class",
            fix="give package.module:Class; a class of your own lies in the folder `models` beside settings.yaml: models.mine:Mine",
        ) from error
    if not (isinstance(result, type) and issubclass(result, ModelSpec)):
        raise SettingsError(
            f"{import_path} is no ModelSpec",
            code="model_class",
            fix="derive it from dropforge_training.models.model_spec.ModelSpec",
        )
    try:
        inspect.signature(result.train).bind("self", "fit")
    except TypeError as error:
        raise SettingsError(
            f"{import_path}.train is called with one TrialFit, and takes other arguments: {error}",
            code="model_class",
            fix="write `def train(self, fit)`; params, fold, seed, jobs, classes, metric, score and callback are fields of `fit`",
        ) from error
    if task not in result.tasks:
        raise SettingsError(
            f"{import_path} is a model of {' and '.join(result.tasks)}; data.task is {task}",
            code="model_task",
            fix="choose another class under models:, or say in the class which tasks it knows: tasks = (…)"
            if task == "classification"
            else "choose tree_ensemble:TreeEnsemble, xgboost:XGBoost, random_forest:RandomForest, "
            "hist_gradient_boosting:HistGradientBoosting or ridge_regression:RidgeRegression of dropforge_training.models",
        )
    created: ModelSpec = result()
    return created
