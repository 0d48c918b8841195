"""A metric of the project's own: one function, named in settings.yaml, that tuning, the gate and the card use as any other.

    training: {metric: "models.metrics:net_gain"}

    def net_gain(y, predicted, weight):
        '''y: whether each row is of the positive class (of more classes their codes, of a regression numbers), shape [rows];
        predicted: the positive class's probability, [rows] (of more classes [rows, classes], of a regression numbers, [rows]);
        weight: how often each row counts, [rows]. Returns one number, larger is better.'''

The weights are what a bootstrap draws: a function that ignores them has intervals of width 0 and passes no gate.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

import numpy as np

from dropforge.errors import SettingsError

Own = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@cache
def load(path: str) -> Own:
    """The function at `package.module:function`. Raises SettingsError where there is none."""
    module_name, _, name = path.partition(":")
    try:
        result = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the metric {path} cannot be imported: {error}",
            code="metric_function",
            fix="give package.module:function; one of your own lies in the folder `models` beside settings.yaml: models.mine:gain",
        ) from error
    if not callable(result):
        raise SettingsError(
            f"the metric {path} is no function", code="metric_function", fix="name a function of three arguments"
        )
    function: Own = result
    return function


def arguments(y: np.ndarray, probabilities: np.ndarray, positive: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What such a function gets, see above. y: codes or numbers; probabilities: shape [rows, classes], or [rows, 1]."""
    if positive is not None:
        return y == positive, probabilities[:, positive]
    return y, probabilities[:, 0] if probabilities.shape[1] == 1 else probabilities
