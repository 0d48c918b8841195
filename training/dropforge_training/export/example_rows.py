"""Example rows made from the schema: what bundles, /model_info, the OpenAPI document and MLflow show is never a row of a person.

Each column by itself: a rounded median, a text that several rows share. So no row of the data is repeated, and
no value that only a few rows have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

SHARED: Final = 5  # rows that must have a category before it is shown
_COARSEST: Final = 2  # significant digits
_EXACT: Final = 17  # significant digits that tell any two doubles apart


def row(x: pd.DataFrame, kinds: Mapping[str, Any]) -> pd.DataFrame:
    """One row with the columns and types of `x`. `kinds`: kind of each column (dropforge.datasets.table_schema)."""
    created = x.iloc[:1].copy()
    for name in x.columns:
        created[name] = pd.Series([_value(x[name], kinds[name])], index=created.index).astype(x[name].dtype)
    return created.reset_index(drop=True)


def _value(column: Any, kind: str) -> Any:
    seen = column.dropna()
    if not len(seen):
        return None
    if kind in {"category", "text", "boolean"}:
        return common(seen)
    if kind == "datetime":
        return pd.Timestamp(year=pd.Timestamp(seen.median()).year, month=1, day=1)
    numbers = pd.to_numeric(seen, errors="coerce")
    middle = coarse(float(numbers.median()), float(numbers.min()), float(numbers.max()))
    return float(round(middle)) if kind == "integer" else middle


def common(seen: Any) -> Any:
    """The most frequent value, if at least SHARED rows have it; else None."""
    counts = seen.value_counts()
    return counts.index[0] if counts.iloc[0] >= SHARED else None


def coarse(number: float, low: float = -math.inf, high: float = math.inf) -> float:
    """The number with the fewest significant digits, two at least, that keep it between `low` and `high`.

    Two digits alone may leave a narrow range (2,000 is outside a column from 1,990 to 1,999), and a model warns of such a value.
    """
    if number == 0 or not np.isfinite(number):
        return number
    magnitude = math.floor(math.log10(abs(number)))
    rounded = (round(number, digits - 1 - magnitude) for digits in range(_COARSEST, _EXACT))
    return next((r for r in rounded if low <= r <= high), number)
