"""The callback of a running trial: pruning, the budget, a worker that has to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import optuna

from dropforge_training.interruption import Interrupted

_FEWEST_ROUNDS = 3  # before a trial's pace is known


class TrialCallback:
    """Called during one trial: prunes it at rungs of progress and after folds, cuts it when the budget ends.

    A rung is a doubling of the progress, so that a trial costs a handful of comparisons however many rounds it has.
    """

    _FOLD = 100  # rungs of a fold come before the next fold's

    def __init__(
        self, trial: optuna.Trial, stop: Callable[[], bool], left: Sequence[float], *, first: bool, enough: float = 0.0
    ) -> None:
        """left: seconds that the trial may take in all when it ends in its first, second, … fold. enough: progress that a first trial
        must be able to reach by then: else it ends after a few rounds, and leaves the time to one that learns faster.
        """
        self.fold = 0
        self.cut = False
        self.longest = 0.0  # seconds of a round
        self._trial = trial
        self._stop = stop
        self._last = time.monotonic()
        self._round = 0.0  # seconds of the last round, or fit of a candidate that has none
        self._begun = -1  # the last fold that had a round
        # Of every fold at once, at the start: the time left shrinks by the clock alone while one trial runs.
        self._deadlines = [self._last + seconds for seconds in left]
        self._rung = 0
        self._first = first
        self._enough = enough if first else 0.0
        self._rounds = 0
        self._shortest = math.inf  # of the rounds

    def __call__(self, progress: float, score: float) -> bool:
        """Whether the fit ends here; see model_spec.RoundCallback."""
        if self._stop():
            raise Interrupted
        # Before a fold's first round its rows are made ready, once: how long that took says nothing of the next round.
        step = self._since_last()
        if self._begun == self.fold:
            self._measured(step)
        self._begun = self.fold
        if self._late(self.fold) or self._hopeless(progress):
            self.cut = True
            return True
        if self.fold == 0 and progress >= 2**self._rung:
            while progress >= 2**self._rung:
                self._rung += 1
            self._report(score, self._rung)
        return False

    def after_fold(self, fold: int, mean: float) -> bool:
        """True when the budget leaves no time for another one."""
        if self._stop():
            raise Interrupted
        self._report(mean, self._FOLD * (fold + 1))
        step = self._since_last()
        if self._begun != fold:
            self._measured(step)
        self.cut = self._late(fold + 1) or self.cut
        return self.cut

    def _late(self, fold: int) -> bool:
        """Whether another round, as long as the last one, would end after the budget: it is not begun."""
        return self._last + self._round > self._deadlines[fold]

    def _hopeless(self, progress: float) -> bool:
        """Whether rounds as quick as the quickest so far would not bring the first fold to `enough` in time."""
        if self.fold or self._rounds < _FEWEST_ROUNDS or progress >= self._enough:
            return False
        more = max(0.0, self._deadlines[0] - self._last) / max(self._shortest, 1e-9)
        return progress + more * progress / (self._rounds + 1) < self._enough

    def _since_last(self) -> float:
        """Seconds since the last look at the clock."""
        before, self._last = self._last, time.monotonic()
        return self._last - before

    def _measured(self, step: float) -> None:
        self._round = step
        self._rounds += 1
        self._shortest = min(self._shortest, step)
        self.longest = max(self.longest, step)

    def _report(self, score: float, step: int) -> None:
        if math.isfinite(score):
            self._trial.report(score, step)
            if not self._first and self._trial.should_prune():
                raise optuna.TrialPruned
