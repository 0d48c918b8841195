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
    middle = coarse(float(pd.to_numeric(seen, errors="coerce").median()))
    return float(round(middle)) if kind == "integer" else middle


def common(seen: Any) -> Any:
    """The most frequent value, if at least SHARED rows have it; else None."""
    counts = seen.value_counts()
    return counts.index[0] if counts.iloc[0] >= SHARED else None


def coarse(number: float) -> float:
    """Two significant digits."""
    if number == 0 or not np.isfinite(number):
        return number
    return round(number, 1 - math.floor(math.log10(abs(number))))
