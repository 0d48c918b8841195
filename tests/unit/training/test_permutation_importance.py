"""Permutation importance: the numbers of its definition, at a cost that does not grow by the square of the columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from dropforge.inference.bundle_manifest import Derived, Regression
from dropforge_training.evaluate.permutation_importance import importance
from dropforge_training.models.model_spec import ModelSpec
from dropforge_training.models.ridge_regression import RidgeRegression
from dropforge_training.preprocessing.cleaner import NumberPipeline, TableCleaner

DERIVED = (
    Derived("days from start to end", "elapsed", ("start", "end")),
    Derived("start (month)", "month", ("start",)),
    Derived("remark: late", "phrase", ("remark",), phrase="late"),
)


def _fitted(rows: int = 200) -> tuple[NumberPipeline, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(2)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    x = pd.DataFrame(
        {
            "start": start,
            "end": start + pd.to_timedelta(rng.integers(1, 90, rows), unit="D"),
            "size": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "shop": rng.choice(["north", "south", "west"], rows),
            "remark": rng.choice(["late again", "on time", "very late"], rows),
            "noise": rng.normal(size=rows),
        }
    )
    days = (x["end"] - x["start"]).dt.days
    y = np.asarray(days / 10 + 2 * x["size"].fillna(0) + 3 * (x["shop"] == "west") + x["remark"].str.contains("late"))
    spec: ModelSpec = RidgeRegression()
    numbers = ["start", "end", "size", "noise", *(d.name for d in DERIVED)]
    cleaner = TableCleaner(numbers, ["shop", "remark"], {}, derived=DERIVED)
    clean = cleaner.fit_transform(x, y)
    preprocessor = spec.preprocessor(cleaner)
    matrix = preprocessor.fit_transform(clean)
    estimator = spec.estimator({"alpha": 1.0}, seed=0, jobs=1, classes=0).fit(matrix, y)
    pipeline = Pipeline([("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)])
    return NumberPipeline(pipeline, Regression("", 0.0)), x, y


def _draw(x: pd.DataFrame, y: np.ndarray) -> Any:
    def draw(most: int) -> Any:
        return x.iloc[:most], lambda numbers: -float(np.sqrt(np.mean((numbers - y[: len(numbers)]) ** 2)))

    return draw


def test_the_fall_is_that_of_rows_with_the_raw_column_shuffled() -> None:
    """Also of a date whose distance to another one is a column, of categories and of words: as if each table were predicted anew."""
    model, x, y = _fitted()
    given = {f["column"]: f for f in importance(model, _draw(x, y), seed=5, seconds=60)}
    rng, score = np.random.default_rng(5), _draw(x, y)(len(x))[1]
    base = score(model.predict(x))
    for column in x.columns:
        orders = [rng.permutation(len(x)) for _ in range(3)]
        falls = [base - score(model.predict(x.assign(**{column: x[column].to_numpy()[o]}))) for o in orders]
        assert given[column]["mean"] == pytest.approx(np.mean(falls), rel=1e-3, abs=1e-6), column
    assert given["shop"]["mean"] > 0.1 > abs(given["noise"]["mean"])


def test_columns_are_cleaned_once_not_once_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two dates with a distance between them are cleaned again, the others are not: 300 columns took a minute."""
    model, x, y = _fitted()
    calls: list[int] = []
    whole = TableCleaner.transform
    monkeypatch.setattr(TableCleaner, "transform", lambda self, rows: (calls.append(len(rows)), whole(self, rows))[1])
    importance(model, _draw(x, y), seed=5, seconds=60)
    assert len(calls) == 3


def test_a_small_budget_of_time_takes_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty at least, and every column is measured."""
    model, x, y = _fitted()
    sizes: list[int] = []
    draw = _draw(x, y)
    given = importance(model, lambda most: (sizes.append(most), draw(most))[1], seed=5, seconds=0)
    assert sizes == [1000, 50]
    assert {f["column"] for f in given} == set(x.columns)
