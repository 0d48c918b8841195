"""The search space of a candidate as settings.yaml changes it: `search: {max_depth: [3, 6], subsample: 0.8}`.

Two numbers are a new range of a numeric parameter, any list is the new choices of a categorical one, a single value fixes
the parameter. What is not named stays as the candidate has it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from dropforge.errors import SettingsError

if TYPE_CHECKING:
    from dropforge_training.models.model_spec import ModelSpec

Where = Callable[[str], str]  # names the place of a key of `search`: settings.yaml:12: models.0.search.max_depth

_DRAWS = 300  # of the search space, to see its conditional parameters too


class Asks(Protocol):
    """What a search space is asked of: an Optuna trial, or a draw without a study."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """As optuna.Trial.suggest_int, within the narrowed range."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """As optuna.Trial.suggest_float, within the narrowed range."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """As optuna.Trial.suggest_categorical, of the narrowed choices."""


class NarrowedTrial:
    """Stands in for the trial in `ModelSpec.search_space`: same calls, other ranges.

    `ranges`: the model's `search` of settings.yaml; `where`: names the place of a key in it, for errors.
    """

    def __init__(self, trial: Asks, ranges: Mapping[str, Any], where: Where) -> None:
        self._trial = trial
        self._ranges = ranges
        self._where = where
        self.widened: set[str] = set()  # parameters whose range reaches beyond the model's own

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """As optuna.Trial.suggest_int, within the narrowed range."""
        config = self._ranges.get(name)
        if config is None:
            return self._trial.suggest_int(name, low, high, step=step, log=log)
        lowest, highest = self._bounds(name, config, int, (low, high), log=log)
        return self._trial.suggest_int(name, lowest, highest, step=1 if (highest - lowest) % step else step, log=log)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """As optuna.Trial.suggest_float, within the narrowed range."""
        config = self._ranges.get(name)
        if config is None:
            return self._trial.suggest_float(name, low, high, step=step, log=log)
        lowest, highest = self._bounds(name, config, float, (low, high), log=log)
        # A step that does not divide the range would leave its end out.
        whole = step is not None and math.isclose((highest - lowest) / step, round((highest - lowest) / step))
        return self._trial.suggest_float(name, lowest, highest, step=step if whole else None, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """As optuna.Trial.suggest_categorical, of the narrowed choices."""
        config = self._ranges.get(name)
        if config is None:
            return self._trial.suggest_categorical(name, choices)
        given = config if isinstance(config, list) else [config]
        unknown = [v for v in given if v not in choices]
        if unknown or not given:
            raise self._wrong(name, f"{config!r} is not among {list(choices)}", f"choose among {list(choices)}")
        return self._trial.suggest_categorical(name, given)

    def _bounds(self, name: str, config: Any, kind: type, own: tuple[Any, Any], *, log: bool) -> tuple[Any, Any]:
        given = config if isinstance(config, list) else [config, config]
        word = "whole numbers" if kind is int else "numbers"
        good = len(given) == 2 and all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and kind(v) == v for v in given
        )
        if not good or given[0] > given[1]:
            raise self._wrong(
                name, f"{config!r} is no range of {word}", "give [lowest, highest], or one number to fix it"
            )
        least = 1 if kind is int else 0
        if log and (given[0] < least or given[0] <= 0):
            raise self._wrong(
                name,
                f"{config!r} reaches down to {given[0]:g}, but it is searched on a logarithmic scale",
                f"begin above 0; the model's own range is [{own[0]:g}, {own[1]:g}]",
            )
        if given[0] < own[0] or given[1] > own[1]:
            self.widened.add(name)
        return kind(given[0]), kind(given[1])

    def _wrong(self, name: str, what: str, fix: str) -> SettingsError:
        return invalid(self._where, name, what, fix)


def invalid(where: Where, name: str, what: str, fix: str) -> SettingsError:
    """The error for one key of a model's `search`."""
    return SettingsError(f"{where(name)}: {what}", code="search_invalid", fix=fix)


class _Draw:
    """A point of a search space without a study; remembers what was asked."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.distributions[name] = IntDistribution(low, high, log=log, step=step)
        return self._dice.randrange(low, high + 1, step)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.distributions[name] = FloatDistribution(low, high, log=log, step=step)
        return self._dice.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.distributions[name] = CategoricalDistribution(choices)
        return self._dice.choice(list(choices))


def space(candidate: ModelSpec, ranges: Mapping[str, Any], where: Where) -> dict[str, BaseDistribution]:
    """Every parameter of the search as settings.yaml narrows it, those that depend on another one's value included.

    Raises SettingsError for a range that is wrong, a key that is no parameter, and one that the other ranges rule out.
    """
    known = _drawn(candidate, {}, where)
    for name in ranges:
        if name not in known:
            raise invalid(
                where, name, "is no parameter of this model's search", f"its parameters are {', '.join(sorted(known))}"
            )
    narrowed = _drawn(candidate, ranges, where)
    for name in ranges:
        if name not in narrowed:
            raise invalid(
                where, name, "has no effect: the other ranges rule this parameter out", "remove it, or widen the others"
            )
    return narrowed


def _drawn(candidate: ModelSpec, ranges: Mapping[str, Any], where: Where) -> dict[str, BaseDistribution]:
    dice = random.Random(0)  # noqa: S311 - points of a search space, no secret
    matches: dict[str, BaseDistribution] = {}
    for _ in range(_DRAWS):
        draw = _Draw(dice)
        candidate.search_space(NarrowedTrial(draw, ranges, where))
        matches = draw.distributions | matches
    return matches


def within(
    candidate: ModelSpec, ranges: Mapping[str, Any], where: Where, points: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The points moved into today's search space: a number to the nearest allowed one; what the space lacks is left out.

    Raises SettingsError for wrong `ranges`.
    """
    parameters = space(candidate, ranges, where)
    return [
        {
            name: near
            for name, value in point.items()
            if name in parameters and (near := _nearest(parameters[name], value)) is not None
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
