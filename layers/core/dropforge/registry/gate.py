"""Which candidate becomes the challenger. Decides on numbers that the training jobs stored; loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dropforge.messages import JobResult

# Metrics where less is better; every other one grows with quality.
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})


@dataclass(frozen=True, slots=True)
class Choice:
    """The winner (None: no candidate has the metric) and the reasons in words."""

    winner: JobResult | None
    reasons: tuple[str, ...]


def best(results: Sequence[JobResult], metric: str) -> Choice:
    """The candidate with the best held-out `metric`. Ties go to the one named first in settings.yaml."""
    scored = [r for r in results if metric in r.metrics]
    unscored = [f"{r.model}: no {metric} among its metrics" for r in results if metric not in r.metrics]
    if not scored:
        return Choice(None, (*unscored, f"no candidate has a held-out {metric}"))
    sign = -1 if metric in LOWER_IS_BETTER else 1
    winner = max(scored, key=lambda r: sign * r.metrics[metric])
    ranking = sorted(scored, key=lambda r: -sign * r.metrics[metric])
    table = ", ".join(f"{r.model} {r.metrics[metric]:.4f}" for r in ranking)
    return Choice(winner, (f"{winner.model} has the best held-out {metric} ({table})", *unscored))
