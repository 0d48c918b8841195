"""What one row takes in the prediction API: measured on the graph that will be served, by the predictor that serves it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dropforge.errors import InvalidRequest
from dropforge.inference.predictor import Predictor

ROWS = 40  # different ones, which find less of the graph in the processor's cache than one row asked again and again
_ROUNDS = 3
_MOST_SECONDS = 1.0


def milliseconds(
    predictor: Predictor, rows: Sequence[Mapping[str, Any]], clock: Callable[[], float] = time.thread_time
) -> float:
    """Median of one-row predictions: cleaning, graph, calibration. NaN where the predictor takes none of the rows.

    By this thread's processor time: the session runs in it, and others on the machine do not count.
    """
    each: list[float] = []
    begun = clock()
    for row in [*rows] * _ROUNDS:
        started = clock()
        try:
            predictor.predict([row])
        except InvalidRequest:
            continue  # as training left out what is beyond float32
        each.append(clock() - started)
        if started - begun + each[-1] > _MOST_SECONDS:
            break
    return 1000 * float(np.median(each)) if each else math.nan
