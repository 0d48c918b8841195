"""Columns of a model that are computed from those a caller sends: parts of dates, elapsed times, target means, words.

One definition for training and the prediction API, so that both give the same number to the last bit. Needs numpy alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from dropforge.inference.bundle_manifest import Derived

DATE_PARTS: Final = ("hour", "weekday", "month", "day_of_year")
_WORD = re.compile(r"\b\w\w+\b")  # as scikit-learn's CountVectorizer cuts texts


def of_dates(derived: Derived, days: Mapping[str, np.ndarray]) -> np.ndarray:
    """A part of a date, or the days between two; float32, shape [rows], NaN where a date is missing.

    days: by column float64 days since 1970-01-01, NaN where missing.
    """
    first = days[derived.sources[0]]
    if derived.part == "elapsed":
        return np.asarray(days[derived.sources[1]] - first, dtype=np.float32)
    known = np.isfinite(first)
    whole = np.floor(np.where(known, first, 0.0))
    match derived.part:
        case "hour":
            part = (first - whole) * 24.0
        case "weekday":  # 0: Monday; 1970-01-01 was a Thursday
            part = (whole + 3.0) % 7.0
        case "month":
            part = (_dates(whole).astype("datetime64[M]").astype(np.int64) % 12 + 1).astype(np.float64)
        case _:
            dates = _dates(whole)
            part = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + 1.0
    return np.where(known, part, np.nan).astype(np.float32)


def _dates(whole_days: np.ndarray) -> np.ndarray:
    return whole_days.astype(np.int64).astype("datetime64[D]")


def of_texts(derived: Derived, texts: Sequence[str]) -> np.ndarray:
    """The mean of the target by category, or whether a phrase occurs (1 or 0); float32, shape [texts]."""
    if derived.part == "target_mean":
        values = [derived.means.get(t, derived.default) for t in texts]
    else:
        words = derived.phrase.split(" ")  # most texts lack one of them, and need not be cut into words to know it
        lowered = ((t, t.lower()) for t in texts)
        values = [float(all(w in low for w in words) and derived.phrase in phrases(t)) for t, low in lowered]
    return np.array(values, dtype=np.float64).astype(np.float32)


def phrases(text: str) -> frozenset[str]:
    """Words of two letters and more in small letters, and pairs of neighbours."""
    words = _WORD.findall(text.lower())
    return frozenset((*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))))
