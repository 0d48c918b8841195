"""One rival on rows that are already split: python rival.py SYSTEM TRAIN.parquet TEST.parquet TARGET TASK SECONDS PREDICTED.npy

SYSTEM: autogluon (best_quality), flaml, catboost, hist_gradient_boosting (the last two with their defaults); TASK: classification
or regression. Writes probabilities of TEST's rows, classes in order of their texts, shape [rows, classes], or numbers, [rows];
prints JSON {seconds, milliseconds of one row}. Runs in an environment of the rival's own and imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

CORES = os.cpu_count() or 1
_ASKED = 5  # one-row predictions, of which the quickest counts


def main(system: str, train: str, test: str, target: str, task: str, seconds: str, out: str) -> None:
    """Fit, predict, write."""
    warnings.filterwarnings("ignore")
    rows, queries = pd.read_parquet(train), pd.read_parquet(test)
    dates = system == "autogluon"  # which makes its own columns of them
    x, other = (_plain(t.drop(columns=[target]), dates=dates) for t in (rows, queries))
    number = task == "regression"
    y, classes = (rows[target].to_numpy(float), 0) if number else _codes(rows[target])
    started = time.monotonic()
    fitted = SYSTEMS[system](x, y, other, classes, float(seconds))
    taken = time.monotonic() - started
    np.save(out, np.asarray(fitted(other), dtype=float))
    row, each = other.iloc[:1], []
    for _ in range(_ASKED):
        started = time.perf_counter()
        fitted(row)
        each.append(time.perf_counter() - started)
    print(json.dumps({"seconds": round(taken, 1), "milliseconds": round(min(each) * 1000, 2)}))


def _codes(labels: pd.Series) -> tuple[np.ndarray, int]:
    codes, names = pd.factorize(labels.astype(str), sort=True)
    return codes, len(names)


def _plain(x: pd.DataFrame, *, dates: bool) -> pd.DataFrame:
    """Texts and booleans as objects, dates as days unless `dates`: what every system reads."""
    columns = {}
    for c in x.columns:
        values = x[c]
        if pd.api.types.is_datetime64_any_dtype(values):
            columns[c] = (
                values if dates else ((values - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)).astype(float)
            )
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns[c] = values.astype(float)
        else:
            columns[c] = values.astype(object).where(values.notna(), None)
    return pd.DataFrame(columns)


def _texts(x: pd.DataFrame) -> list[str]:
    return [c for c in x.columns if x[c].dtype == object]


def _autogluon(x: pd.DataFrame, y: np.ndarray, _other: pd.DataFrame, classes: int, seconds: float) -> Any:
    from autogluon.tabular import TabularPredictor  # type: ignore[import-not-found] # in the rival's environment

    metric = {0: "root_mean_squared_error", 2: "roc_auc"}.get(classes, "log_loss")
    task = {0: "regression", 2: "binary"}.get(classes, "multiclass")  # it would guess that counts are classes
    model = TabularPredictor("__target", problem_type=task, path=tempfile.mkdtemp(), eval_metric=metric, verbosity=0)
    model.fit(x.assign(__target=y), time_limit=seconds, presets="best_quality", num_cpus=CORES)
    return model.predict if not classes else lambda rows: model.predict_proba(rows)[list(range(classes))]


def _flaml(x: pd.DataFrame, y: np.ndarray, other: pd.DataFrame, classes: int, seconds: float) -> Any:
    import flaml  # type: ignore[import-not-found] # in the rival's environment

    known = {c: pd.CategoricalDtype(sorted({*x[c].dropna(), *other[c].dropna()}, key=str)) for c in _texts(x)}
    metric, task = {0: "rmse", 2: "roc_auc"}.get(classes, "log_loss"), "classification" if classes else "regression"
    model = flaml.AutoML()
    model.fit(x.astype(known), y, task=task, metric=metric, time_budget=seconds, n_jobs=CORES, seed=1, verbose=0)
    queries = model.predict_proba if classes else model.predict
    return lambda rows: queries(rows.astype(known))


def _catboost(x: pd.DataFrame, y: np.ndarray, _other: pd.DataFrame, classes: int, _seconds: float) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor  # type: ignore[import-not-found] # as above

    texts = _texts(x)

    def as_texts(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{c: rows[c].fillna("(missing)").astype(str) for c in texts})

    kind = CatBoostClassifier if classes else CatBoostRegressor
    model = kind(cat_features=texts, thread_count=CORES, random_seed=1, verbose=False, allow_writing_files=False)
    model.fit(as_texts(x), y)
    queries = model.predict_proba if classes else model.predict
    return lambda rows: queries(as_texts(rows))


def _hist_gradient_boosting(x: pd.DataFrame, y: np.ndarray, _other: pd.DataFrame, classes: int, _seconds: float) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.preprocessing import OrdinalEncoder

    texts = _texts(x)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    if texts:
        encoder.fit(x[texts].astype(str))

    def matrix(rows: pd.DataFrame) -> np.ndarray:
        coded = encoder.transform(rows[texts].astype(str)) if texts else np.empty((len(rows), 0))
        return np.column_stack([rows.drop(columns=texts).to_numpy(float), coded])

    model = (HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor)(random_state=1)
    model.fit(matrix(x), y)
    queries = model.predict_proba if classes else model.predict
    return lambda rows: queries(matrix(rows))


SYSTEMS = {
    "autogluon": _autogluon,
    "flaml": _flaml,
    "catboost": _catboost,
    "hist_gradient_boosting": _hist_gradient_boosting,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
