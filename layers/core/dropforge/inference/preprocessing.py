"""The processing steps that training and the API share, so that both give the same value to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def shape_numbers(numbers: np.ndarray, low: float | None, high: float | None, *, log: bool) -> np.ndarray:
    """Clip, then sign(x)·ln(1+|x|), in double precision; float32 of the same shape. NaN stays NaN, an infinity becomes NaN."""
    shaped = np.where(np.isfinite(numbers), numbers, np.nan)
    if low is not None or high is not None:
        shaped = np.clip(shaped, low, high)
    if log:
        shaped = np.sign(shaped) * np.log1p(np.abs(shaped))
    return shaped.astype(np.float32)


def number_text(value: Any) -> str:
    """A number as the name of a category: 7, 7.0 and "7.0" are "7"; what is no number is its text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value).strip(" \t")
    if not math.isfinite(number):
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
