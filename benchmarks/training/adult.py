"""Adult's official split for the training benchmark: 32,561 rows to train on, 16,281 to score, `fnlwgt` left out for everybody.

Needs numpy, pandas and scikit-learn alone, so that every system's own environment can import it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score

DATA = Path(__file__).parents[2] / ".cache" / "data"
_BINS = 10


def load(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Features and 0/1 labels of `reference` (adult.data) or `new` (adult.test)."""
    table = pd.read_csv(DATA / f"adult-{name}.csv", na_values=["?"])
    y = (table["income"] == ">50K").to_numpy(dtype=np.int64)
    return table.drop(columns=["income", "fnlwgt"]), y


def categories(x: pd.DataFrame) -> list[str]:
    return [c for c in x if not pd.api.types.is_numeric_dtype(x[c])]


def tell(started: float, y: np.ndarray, p: np.ndarray, **more: Any) -> None:
    """Print the figures of one model as JSON; `started` by time.monotonic, read before anything was fitted."""
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    ece = sum(abs(y[bins == b].mean() - p[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    figures = {
        "seconds": round(more.pop("ended", time.monotonic()) - started, 1),
        "auc": round(float(roc_auc_score(y, p)), 5),
        "log_loss": round(float(log_loss(y, p)), 5),
        "ece": round(float(ece), 5),
        **more,
    }
    json.dump(figures, sys.stdout)
