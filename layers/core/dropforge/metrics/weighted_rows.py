"""Rows with predictions, and what metrics share. A draw of a bootstrap is a weight a row: how often the row was drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np

Scorer: TypeAlias = "Callable[[np.ndarray], np.ndarray]"  # weights [draws, rows] → scores [draws]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a model predicts for rows. y, guess: codes, shape [rows]; probabilities: [rows, classes]; positive: code or None.

    Of a regression y and guess are numbers, and probabilities is guess as a column, shape [rows, 1]. `weight`: how much each row
    counts (data.weight), shape [rows]; None: all alike.
    """

    y: np.ndarray
    guess: np.ndarray
    probabilities: np.ndarray
    positive: int | None
    weight: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> Rows:
        """The rows at these places only."""
        weight = None if self.weight is None else self.weight[rows]
        return Rows(self.y[rows], self.guess[rows], self.probabilities[rows], self.positive, weight)


def of_numbers(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> Rows:
    """Rows of a regression. y, predicted, weight: shape [rows]."""
    return Rows(y, predicted, predicted[:, None], None, weight)


def normalised(probabilities: np.ndarray) -> np.ndarray:
    """Rows that sum to one: float32 sums are off by rounding."""
    result: np.ndarray = probabilities / probabilities.sum(axis=1, keepdims=True)
    return result


def mean(losses: np.ndarray) -> Scorer:
    """The weighted mean of losses of shape [rows]."""
    return lambda w: (w @ losses) / w.sum(axis=1)


def one_against_rest(one: Callable[[np.ndarray, np.ndarray], Scorer]) -> Callable[[Rows], Scorer]:
    """Of a metric of one class against the rest: of the positive class, or the mean over those that occur."""

    def statistic(rows: Rows) -> Scorer:
        import numpy as np

        p = normalised(rows.probabilities)
        if rows.positive is not None:
            return one(rows.y == rows.positive, p[:, rows.positive])
        each = [one(rows.y == k, p[:, k]) for k in np.unique(rows.y)]
        return lambda w: np.asarray(np.mean([single(w) for single in each], axis=0))

    return statistic
