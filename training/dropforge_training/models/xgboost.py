"""Gradient boosting with XGBoost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost
from scipy.special import softmax
from xgboost import XGBClassifier, XGBRegressor

from dropforge_training.models import xgboost_ensemble
from dropforge_training.models.model_spec import Batch, Fold, ModelSpec, RoundCallback, Score, Trained, TrialFit

if TYPE_CHECKING:
    import optuna

    from dropforge_training.search.search_space import NarrowedTrial

_ROUNDS = 3000
_PATIENCE = 40
_ENOUGH = 4.0  # rounds x learning rate: a boosted model of fewer has hardly left its start value
_NODE_BYTES = 36  # of a saved booster, for each node
_LEAST = 1e-12  # probability whose logarithm is taken for that of zero
# What early stopping looks at: the tuning metric where XGBoost knows it, else the smooth loss. True: larger is better.
_WATCHED = {"roc_auc": ("auc", True), "average_precision": ("aucpr", True), "mae": ("mae", False)}


_LOSSES = {0: "rmse", 2: "logloss"}  # by number of classes, 0 of a regression; mlogloss for more


class XGBoost(ModelSpec):
    """Histogram boosting with early stopping; reads missing numbers itself."""

    rounds = "n_estimators"
    blends = True
    tasks = ("classification", "regression")

    def search_space(self, trial: optuna.Trial | NarrowedTrial) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "max_depth": trial.suggest_int("max_depth", 3, 8),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 10, log=True),
            "subsample": trial.suggest_float("subsample", 0.8, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.1, 0.8),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 10, log=True),
        }

    def first(self) -> dict[str, Any]:
        return {
            "learning_rate": 0.1,
            "max_depth": 5,
            "min_child_weight": 0.5,
            "subsample": 1.0,
            "colsample_bytree": 0.25,
            "reg_lambda": 1.0,
        }

    def quick(self) -> dict[str, Any]:
        return {**self.first(), "learning_rate": 0.3}

    def enough(self, params: dict[str, Any]) -> float:
        return _ENOUGH if params["learning_rate"] < self.quick()["learning_rate"] else 0.0

    def estimator(self, params: dict[str, Any], *, seed: int, jobs: int, classes: int) -> Any:
        given = {"n_estimators": 300, **params}
        kind = XGBClassifier if classes else XGBRegressor
        return kind(**given, objective=_objective(classes), tree_method="hist", random_state=seed, n_jobs=jobs)

    def train(self, fit: TrialFit) -> Trained:
        fold, classes = fit.fold, fit.classes
        rows, valid = _matrices(fold)
        name, larger = _WATCHED.get(fit.metric, (_LOSSES.get(classes, "mlogloss"), False))
        if classes > 2 and name == "aucpr":
            name, larger = "mlogloss", False
        given = {"objective": _objective(classes), "tree_method": "hist", "seed": fit.seed, **fit.params}
        own = None
        if name == "aucpr" and fold.positive == 0:  # XGBoost's is about code 1 always
            own = _own_metric(name, fit.score)
            given["disable_default_eval_metric"] = True
        else:
            given["eval_metric"] = name
        if classes > 2:
            given["num_class"] = classes
        if fold.monotone:
            given["monotone_constraints"] = str(fold.monotone)
        limit = int(given.pop("n_estimators", _ROUNDS))
        stopping = _EarlyStopping(
            fit.callback, name, 1.0 if larger else -1.0, float(fit.params.get("learning_rate", 0.3))
        )
        booster = xgboost.train(
            {**given, "nthread": fit.jobs},
            rows,
            limit,
            evals=[(valid, "valid")],
            custom_metric=own,
            callbacks=[stopping],
            verbose_eval=False,
        )
        p = booster.predict(valid, iteration_range=(0, stopping.best_round + 1))
        if classes == 2:
            p = np.column_stack([1 - p, p])
        rounds = stopping.best_round + 1
        nodes = len(booster.save_raw("ubj")) // _NODE_BYTES * rounds // booster.num_boosted_rounds()
        return Trained(p if classes else p.reshape(-1, 1), rounds, nodes)

    def reads_batches(self, params: dict[str, Any]) -> bool:  # noqa: ARG002 - as ModelSpec
        return True

    def fit_batches(self, unfitted: Sequence[Any], rows: Iterable[Batch], classes: int) -> list[Any]:
        """The numbers of the cells' bins, which `hist` looks at alone, lie on disk, one or two bytes for each, and are read for each
        level of each tree; in memory are a batch and some forty bytes a row. The model is the one of bins in memory.
        """
        with tempfile.TemporaryDirectory(prefix="dropforge-bins-") as folder:
            matrix = xgboost.ExtMemQuantileDMatrix(_Batches(rows, Path(folder, "bins")))
            try:
                return [_fitted_on(matrix, estimator, classes) for estimator in unfitted]
            finally:
                del matrix  # it has files in the folder

    def constrained(self, estimator: Any, monotone: tuple[int, ...]) -> Any:
        return estimator.set_params(monotone_constraints=str(monotone))

    def number_step(self) -> Any:
        return "passthrough"

    def blend(self, fitted: list[Any], weights: Sequence[float] | None = None) -> Any:
        if len(fitted) == 1:
            return fitted[0]
        return xgboost_ensemble.merge([xgboost_ensemble.document(f) for f in fitted], fitted[0], weights)

    def blended(self, outputs: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
        """The blend's margin is the mean margin: of probabilities the mean of their logarithms, but for a constant a row."""
        table = np.stack(outputs)
        if table.shape[-1] == 1:
            return np.average(table, axis=0, weights=weights)
        return np.asarray(softmax(np.average(np.log(np.maximum(table, _LEAST)), axis=0, weights=weights), axis=-1))


class _Batches(xgboost.DataIter):  # type: ignore[misc] # xgboost publishes no types
    """Batches as XGBoost reads them, several times. `files`: what the names of its own begin with."""

    def __init__(self, batches: Iterable[Batch], files: Path) -> None:
        super().__init__(cache_prefix=str(files))
        self._batches = batches
        self._now = iter(batches)

    def reset(self) -> None:
        """Begin again."""
        self._now = iter(self._batches)

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next batch; False: there is none."""
        batch = next(self._now, None)
        if batch is None:
            return False
        input_data(data=batch.x, label=batch.y, weight=batch.weight)
        return True


def _fitted_on(matrix: Any, estimator: Any, classes: int) -> Any:
    """The estimator as its own `fit` would leave it, which takes no matrix of bins."""
    given = {**estimator.get_xgb_params(), **({"num_class": classes} if classes > 2 else {})}
    booster = xgboost.train(given, matrix, estimator.get_num_boosting_rounds())
    fitted = type(estimator)(**estimator.get_params())
    fitted.load_model(bytearray(booster.save_raw("json")))
    return fitted


class _EarlyStopping(xgboost.callback.TrainingCallback):  # type: ignore[misc] # xgboost publishes no types
    """Stops after rounds without gain, or when the callback returns True. Progress: rounds x learning rate."""

    def __init__(self, callback: RoundCallback, metric: str, sign: float, rate: float) -> None:
        super().__init__()
        self.best_round = 0
        self._best = -np.inf
        self._callback = callback
        self._metric = metric
        self._sign = sign
        self._rate = rate

    def after_iteration(self, _model: Any, epoch: int, evals_log: Any) -> bool:
        value = self._sign * float(evals_log["valid"][self._metric][-1])
        if value > self._best:
            self._best, self.best_round = value, epoch
        return self._callback((epoch + 1) * self._rate, self._best) or epoch - self.best_round >= _PATIENCE


def _own_metric(name: str, score: Score) -> Callable[[np.ndarray, Any], tuple[str, float]]:
    """The fold's own score as XGBoost takes one: of the probabilities of code 1."""

    def metric(p: np.ndarray, _rows: Any) -> tuple[str, float]:
        return name, score(np.column_stack([1 - p, p]))

    return metric


def _objective(classes: int) -> str:
    return {0: "reg:squarederror", 2: "binary:logistic"}.get(classes, "multi:softprob")


def _matrices(fold: Fold) -> tuple[Any, Any]:
    """Quantised once for a fold: binning costs as much as dozens of rounds."""
    if "rows" not in fold.cache:
        fold.cache["rows"] = xgboost.QuantileDMatrix(fold.x, fold.y, weight=fold.weight)
        fold.cache["valid"] = xgboost.QuantileDMatrix(
            fold.x_valid, fold.y_valid, weight=fold.weight_valid, ref=fold.cache["rows"]
        )
    return fold.cache["rows"], fold.cache["valid"]
