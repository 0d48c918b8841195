"""How the seconds of a job are shared out: the search, out-of-fold fits, the last fit, evaluation and export.

`budget.seconds` is what a user waits for. What comes after the search is estimated from the trials' fits, and reserved.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

_EXPORT: Final = (
    0.35  # seconds of evaluation, export and checks for each second of the last fit, where nothing else is known
)
_NODE: Final = (
    16e-6  # seconds of blend, conversion, explanations and checks for each node of a tree, the graph built from arrays
)
_BASE: Final = 5.0  # seconds of what does not depend on the model's size: reading rows back, the card, MLflow
_MOST_BASE: Final = 0.25  # of the budget: a small one is not eaten up by what it is meant for
_YARDSTICK: Final = (
    0.0125  # seconds that a yardstick takes on a machine whose jobs of 60 s end in 60 s without more for what follows
)
_STEPS: Final = 20_000  # of one reading of it, a fifth
_READINGS: Final = 5
_SLOWEST: Final = 3.0  # pace that is reckoned with: a machine that is slower still would leave nothing for the search
_EXPLANATION: Final = 0.25  # of the time left after the last fit that measuring the importance of columns may take
_LEAST_EXPLANATION: Final = 0.03  # of the budget, where nothing is left


@dataclass(frozen=True, slots=True)
class Member:
    """Seconds of one estimator of the last fit: to fit it on all training rows, and to export it."""

    fit: float
    export: float

    @classmethod
    def of(cls, fit: float, nodes: float = 0.0, pace: float = 1.0) -> Member:
        """nodes: of its trees; 0: not known. pace: see Shares."""
        return cls(fit, nodes * _NODE * pace or fit * _EXPORT)


@dataclass(frozen=True, slots=True)
class Shares:
    """What follows the search, in units of one estimator of the last fit.

    `members`: estimators of the last fit; `folds`: out-of-fold fits wanted; `fold_rows`: fraction of the rows each is fitted on;
    `pace`: see `pace`; `growth`: rows that the last fit reads for each row in memory.
    """

    members: int = 1
    folds: int = 0
    fold_rows: float = 0.8
    pace: float = 1.0
    growth: float = 1.0

    def seconds(self, unit: Member, budget: float, *, members: int | None = None, folds: int | None = None) -> float:
        """Of everything after the search, with as many members and out-of-fold fits as given, or as wanted."""
        m = self.members if members is None else members
        f = self.folds if folds is None else folds
        return m * (unit.fit * (self.growth + f * self.fold_rows) + unit.export) + self.base(budget)

    def least(self, unit: Member, budget: float) -> float:
        """With one estimator and one out-of-fold fit: what no search may touch."""
        return self.seconds(unit, budget, members=1, folds=min(1, self.folds))

    def reserve(self, unit: Member, budget: float) -> float:
        """Seconds that the search leaves: for everything wanted, but no more than half of the budget, and never too few."""
        return max(self.least(unit, budget), min(self.seconds(unit, budget), budget / 2))

    def trial_seconds(self, left: float, budget: float, trials: int, ratio: float) -> float:
        """The longest a trial may take so that `trials` of its length and the least of what follows fit into `left`.

        ratio: seconds of one estimator's fit on all rows for each second of a trial.
        """
        return max(0.0, (left - self.base(budget)) / (trials + self.least(Member.of(ratio), 0.0)))

    def affordable(self, unit: Member, budget: float, left: float) -> Shares:
        """The most that `left` allows: first the rows beyond memory, then one out-of-fold fit, members, more out-of-fold fits.

        One member at least, on the rows in memory.
        """
        if self.growth > 1 and self.least(unit, budget) > left:
            return replace(self, growth=1.0).affordable(unit, budget, left)
        for members in range(self.members, 0, -1):
            if members == 1 or self.seconds(unit, budget, members=members, folds=min(1, self.folds)) <= left:
                break
        folds = self.folds
        while folds and self.seconds(unit, budget, members=members, folds=folds) > left:
            folds -= 1
        return replace(self, members=members, folds=folds)

    def base(self, budget: float) -> float:
        """Seconds after the search that do not depend on the model's size."""
        return min(_BASE * self.pace, _MOST_BASE * budget)


def pace(clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as long as where the constants were measured something takes here and now, at least 1.

    By the median of a few readings of a loop, 30 ms or less on most machines: of a slow processor, or of one shared with others.
    """
    readings = []
    for _ in range(_READINGS):
        started, total = clock(), 0
        for step in range(_STEPS):
            total += step * step % 7
        readings.append(clock() - started)
    return min(_SLOWEST, max(1.0, statistics.median(readings) * _READINGS / _YARDSTICK))


@dataclass(slots=True)
class Deadline:
    """When a job must end: `budget` seconds after it began, less those that others have spent for it."""

    budget: float
    now: Callable[[], float] = time.monotonic
    spent: float = 0.0  # by earlier attempts, or by the workers that tuned
    _started: float = field(default=math.nan)

    def __post_init__(self) -> None:
        self._started = self.now()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.spent + self.now() - self._started

    def left(self) -> float:
        """Seconds until the end, 0 at least."""
        return self.budget - self.elapsed()

    def explanation_seconds(self) -> float:
        """For measuring which columns count, when the model is fitted: a part of what is left, and a second at least."""
        return max(1.0, _EXPLANATION * self.left(), _LEAST_EXPLANATION * self.budget)

    def allows_fit(self, seconds: float, after: float) -> bool:
        """Whether another out-of-fold fit of so many seconds leaves `after` seconds for what follows."""
        return self.left() >= seconds + after
