"""What training and the API do to a value alike, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dropforge.inference.number_steps import NumberStep


def finite(numbers: np.ndarray) -> np.ndarray:
    """Float64 with NaN for an infinity."""
    return np.where(np.isfinite(numbers), numbers, np.nan)


def shape_numbers(numbers: np.ndarray, steps: Sequence[NumberStep]) -> np.ndarray:
    """The fitted steps one after the other in double precision; float32 of the same shape. NaN stays NaN, an infinity becomes NaN."""
    shaped = finite(numbers)
    for step in steps:
        shaped = finite(step.transform(shaped))
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
