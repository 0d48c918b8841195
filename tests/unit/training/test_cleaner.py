"""The first step of a pipeline: raw columns to clean ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dropforge_training.preprocessing.cleaner import MISSING_TOKEN, TableCleaner, decide


def cleaned(column: list[object], *, fit_on: list[object] | None = None, most: int = 100) -> list[str]:
    """The cleaned category column."""
    cleaner = TableCleaner([], ["c"], {"c": ("?",)}, most)
    cleaner.fit(pd.DataFrame({"c": pd.Series(column if fit_on is None else fit_on, dtype=object)}))
    return list(cleaner.transform(pd.DataFrame({"c": pd.Series(column, dtype=object)}))["c"])


def test_every_kind_of_missing_text_is_one_token() -> None:
    """Null, NaN, the empty text and the column's markers read as missing, blanks around a value do not matter."""
    assert cleaned(["a", None, float("nan"), "", " ", "?", " ? ", " a\t"]) == ["a", *[MISSING_TOKEN] * 6, "a"]


def test_unseen_categories_are_as_missing() -> None:
    """A category that was not there in training is what the model knows as "don't know"."""
    assert cleaned(["a", "new"], fit_on=["a", "b"]) == ["a", MISSING_TOKEN]


def test_rare_categories_give_way_to_frequent_ones() -> None:
    """Of too many categories the most frequent stay; equally frequent ones by name."""
    assert cleaned(["z", "z", "y", "x", "w"], most=2) == ["z", "z", MISSING_TOKEN, MISSING_TOKEN, "w"]


def test_a_column_without_any_value_is_no_error() -> None:
    """An all-missing category column is missing everywhere, in training and later."""
    assert cleaned([None, "?"]) == [MISSING_TOKEN] * 2
    assert cleaned(["a"], fit_on=[None]) == [MISSING_TOKEN]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([1, 2], dtype="int64"), [1, 2]),
        (pd.Series([True, None, False], dtype=object), [1, np.nan, 0]),
        (
            pd.to_datetime(pd.Series(["1970-01-02", None, "1969-12-31T12:00"], dtype=object), format="ISO8601"),
            [1, np.nan, -0.5],
        ),
        (pd.Series([None, None], dtype=object), [np.nan, np.nan]),
        (pd.Series([16_777_217.0]), [16_777_216.0]),
    ],
    ids=["integer", "boolean", "datetime", "all missing", "float32"],
)
def test_numbers_become_float32(values: pd.Series, expected: list[float]) -> None:
    """Booleans are 0 and 1, dates days since 1970-01-01, missing is NaN, all in the graph's precision."""
    out = TableCleaner(["n"], [], {}).fit(pd.DataFrame({"n": values})).transform(pd.DataFrame({"n": values}))
    assert out["n"].dtype == np.float32
    assert np.array_equal(out["n"].to_numpy(), np.array(expected, dtype=np.float32), equal_nan=True)


def test_the_threshold_decides_for_the_positive_class() -> None:
    """At the threshold the positive class is predicted, whichever column it is; multiclass takes the most probable."""
    p = np.array([[0.7, 0.3], [0.69, 0.31]])
    classes = np.array(["a", "b"], dtype=object)
    assert list(decide(p, classes, 0.31, "b")) == ["a", "b"]
    assert list(decide(p, classes, 0.7, "a")) == ["a", "b"]
    assert list(decide(np.array([[0.2, 0.5, 0.3]]), np.array(["a", "b", "c"], dtype=object), 0.9, "")) == ["b"]
