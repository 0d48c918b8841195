"""Examples that show what a model takes without showing a row it learned from."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge_training.export import example_rows, onnx_graph

KINDS = {"age": "integer", "pay": "number", "job": "category", "mail": "category", "note": "text", "member": "boolean"}


def _table(rows: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [20.0 + i for i in range(rows)],
            "pay": [1234.56 + 7 * i for i in range(rows)],
            "job": pd.Series(["nurse", "cook"] * (rows // 2), dtype=object),
            "mail": pd.Series([f"person{i}@example.org" for i in range(rows)], dtype=object),
            "note": pd.Series([f"note of person {i}" for i in range(rows)], dtype=object),
            "member": pd.array([True] * rows, dtype="boolean"),
            "since": pd.to_datetime("2020-03-04 05:06") + pd.to_timedelta(range(rows), unit="D"),
        }
    )


def test_an_example_holds_no_value_that_identifies() -> None:
    """Rounded medians, a category several rows share, no free text, no e-mail address, a year for a date; types as the table's."""
    x = _table(40)
    created = example_rows.row(x, {**KINDS, "since": "datetime"})
    assert list(created.dtypes) == list(x.dtypes)
    (shown,) = onnx_graph.records(created)
    assert shown == {
        "age": 40, "pay": 1400, "job": shown["job"], "mail": None, "note": None, "member": True,
        "since": "2020-01-01T00:00:00",
    }  # fmt: skip
    assert shown["job"] in {"nurse", "cook"}


@given(st.lists(st.text(min_size=1), min_size=1, max_size=30))
def test_a_category_is_shown_only_when_several_rows_share_it(values: list[str]) -> None:
    """Whatever the texts are: one that fewer than five rows have is never the example."""
    x = pd.DataFrame({"job": pd.Series(values, dtype=object)})
    shown = example_rows.row(x, {"job": "category"})["job"].iloc[0]
    assert shown is None or shown != shown or values.count(shown) >= example_rows.SHARED  # noqa: PLR0124 - NaN


def test_an_empty_column_has_an_empty_example() -> None:
    """Nothing is made up where nothing was seen."""
    x = pd.DataFrame({"age": pd.Series([None, None], dtype="float64"), "note": pd.Series([None, None], dtype=object)})
    assert onnx_graph.records(example_rows.row(x, {"age": "number", "note": "text"})) == [{"age": None, "note": None}]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1012.3, 1020.7, 1048.9], 1020.0),
        ([1990.0, 1996.0, 1999.0], 1996.0),
        ([0.99871, 0.99874, 0.99879], 0.99874),
        ([-1048.0, -1021.0, -1012.0], -1020.0),
        ([1234.56, 1371.1, 1507.0], 1400.0),
    ],
)
def test_an_example_lies_in_the_training_range(values: list[float], shown: float) -> None:
    """A narrow column far from zero takes as many digits as keep its example inside; no more."""
    x = pd.DataFrame({"pay": values})
    assert example_rows.row(x, {"pay": "number"})["pay"].iloc[0] == pytest.approx(shown, rel=1e-12)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20), st.sampled_from(["number", "integer"]))
def test_no_example_lies_outside_the_training_range(values: list[float], kind: str) -> None:
    """Whatever the numbers are: the example is one that the model has no warning for."""
    numbers = [float(round(v)) for v in values] if kind == "integer" else values
    shown = example_rows.row(pd.DataFrame({"pay": numbers}), {"pay": kind})["pay"].iloc[0]
    assert min(numbers) <= shown <= max(numbers)
