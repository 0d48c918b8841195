"""The search space of a candidate as settings.yaml changes it: `search: {max_depth: [3, 6], subsample: 0.8}`.

Two numbers are a new range of a numeric parameter, any list is the new choices of a categorical one, a single value fixes
the parameter. What is not named stays as the candidate has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from dropforge.errors import SettingsError

if TYPE_CHECKING:
    from dropforge_training.models.base import Candidate


class NarrowedTrial:
    """Stands in for the trial in `Candidate.search_space`: same calls, other ranges."""

    def __init__(self, trial: optuna.Trial, search: Mapping[str, Any], model: str) -> None:
        self._trial = trial
        self._search = search
        self._model = model
        self._asked: set[str] = set()

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        wanted = self._wanted(name)
        if wanted is None:
            return self._trial.suggest_int(name, low, high, step=step, log=log)
        low, high = self._bounds(name, wanted, int)
        return self._trial.suggest_int(name, low, high, step=1 if (high - low) % step else step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        wanted = self._wanted(name)
        if wanted is not None:
            low, high = self._bounds(name, wanted, float)
        return self._trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        wanted = self._wanted(name)
        if wanted is None:
            return self._trial.suggest_categorical(name, choices)
        given = wanted if isinstance(wanted, list) else [wanted]
        unknown = [v for v in given if v not in choices]
        if unknown or not given:
            raise self._wrong(name, f"{wanted!r} is not among {list(choices)}", f"choose among {list(choices)}")
        return self._trial.suggest_categorical(name, given)

    def check_all_used(self) -> None:
        """Raises SettingsError when settings.yaml names a parameter that the candidate does not search."""
        unknown = sorted(set(self._search) - self._asked)
        if unknown:
            known = ", ".join(sorted(self._asked))
            raise self._wrong(unknown[0], "is no parameter of this model's search", f"its parameters are {known}")

    def _wanted(self, name: str) -> Any:
        self._asked.add(name)
        return self._search.get(name)

    def _bounds(self, name: str, wanted: Any, kind: type) -> tuple[Any, Any]:
        given = wanted if isinstance(wanted, list) else [wanted, wanted]
        word = "whole numbers" if kind is int else "numbers"
        good = len(given) == 2 and all(
            isinstance(v, int | float) and not isinstance(v, bool) and kind(v) == v for v in given
        )
        if not good or given[0] > given[1]:
            raise self._wrong(
                name, f"{wanted!r} is no range of {word}", "give [lowest, highest], or one number to fix it"
            )
        return kind(given[0]), kind(given[1])

    def _wrong(self, name: str, what: str, fix: str) -> SettingsError:
        return SettingsError(
            f"settings.yaml: models: {self._model}: search.{name}: {what}", code="search_invalid", fix=fix
        )


def within(
    candidate: Candidate, ranges: Mapping[str, Any], model: str, points: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The points moved into today's search space: a number to the nearest allowed one; what the space lacks is left out.

    Raises SettingsError for wrong `ranges`.
    """
    trial = optuna.create_study().ask()
    narrowed = NarrowedTrial(trial, ranges, model)
    candidate.search_space(narrowed)
    narrowed.check_all_used()
    space = trial.distributions
    return [
        {
            name: near
            for name, value in point.items()
            if name in space and (near := _nearest(space[name], value)) is not None
        }
        for point in points
    ]


def _nearest(space: BaseDistribution, value: Any) -> Any:
    """None when there is none, as for a category that is gone."""
    if isinstance(space, CategoricalDistribution):
        return value if value in space.choices else None
    if not isinstance(space, IntDistribution | FloatDistribution) or not isinstance(value, int | float):
        return None
    inside = min(max(value, space.low), space.high)
    if space.step is not None:
        inside = space.low + round((inside - space.low) / space.step) * space.step
    return int(inside) if isinstance(space, IntDistribution) else float(min(inside, space.high))
