"""How long tuning may go on: trials, seconds, money, whichever ends first."""

from __future__ import annotations

from dataclasses import dataclass

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class TuningBudget:
    """`trials` and `money` are of the whole study; `seconds` is wall time, which each worker has for itself.

    `price_per_hour` is what one worker costs, in the currency of `money`; money None: no limit.
    """

    trials: int
    seconds: float
    money: float | None = None
    price_per_hour: float = 0.0
    workers: int = 1

    @property
    def wall_seconds(self) -> float:
        """Seconds a worker may spend: its own, or its share of what the money buys when that is less."""
        if self.money is None or self.price_per_hour <= 0:
            return self.seconds
        return min(self.seconds, self.money / self.price_per_hour * _HOUR / self.workers)

    def spent(self, worker_seconds: float) -> float:
        """Money that so many seconds of one worker cost."""
        return worker_seconds / _HOUR * self.price_per_hour
