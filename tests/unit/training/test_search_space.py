"""Search ranges set in settings.yaml."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from dropforge.errors import SettingsError
from dropforge_training.models.model_spec import ModelSpec
from dropforge_training.search import search_space as search
from dropforge_training.search.search_space import NarrowedTrial


class Forest(ModelSpec):
    """Three kinds of parameters, and one that depends on another's value."""

    def search_space(self, trial: Any) -> dict[str, Any]:
        draws = {
            "depth": trial.suggest_int("depth", 2, 20, step=2),
            "rate": trial.suggest_float("rate", 0.01, 0.3, log=True),
            "kind": trial.suggest_categorical("kind", ["a", "b", "c"]),
        }
        if draws["kind"] == "c":
            draws["width"] = trial.suggest_int("width", 1, 9)
        return draws

    def estimator(self, params: dict[str, Any], **_: Any) -> Any: ...


def where(key: str) -> str:
    return f"settings.yaml:7: models.0.search.{key}"


def suggested(ranges: dict[str, Any]) -> dict[str, Any]:
    """What 30 trials drew: smallest and largest value by name."""
    seen: dict[str, set[Any]] = {}

    def objective(trial: optuna.Trial) -> float:
        for name, value in Forest().search_space(NarrowedTrial(trial, ranges, where)).items():
            seen.setdefault(name, set()).add(value)
        return 0.0

    search.space(Forest(), ranges, where)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=30)
    return {n: (min(v), max(v)) for n, v in seen.items()}


def test_ranges_choices_and_fixed_values_hold() -> None:
    """Every draw lies within what settings.yaml says; what it does not name is as the model has it."""
    drawn = suggested({"depth": [3, 6], "kind": ["a", "b"]})
    assert 3 <= drawn["depth"][0] <= drawn["depth"][1] <= 6
    assert drawn["kind"] == ("a", "b")
    assert drawn["rate"][0] < 0.02
    fixed = suggested({"depth": 5, "rate": 0.1, "kind": "c"})
    assert fixed.pop("width")
    assert fixed == {"depth": (5, 5), "rate": (0.1, 0.1), "kind": ("c", "c")}


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": [6, 3]},
        {"depth": [1.5, 3]},
        {"depth": [1, 2, 3]},
        {"depth": "deep"},
        {"depth": True},
        {"rate": [None, 1]},
        {"kind": ["a", "z"]},
        {"kind": []},
        {"height": 3},
        {"rate": [0, 0.3]},
        {"rate": [-1, 0.3]},
        {"rate": [0.1, float("inf")]},
        {"width": 3, "kind": "a"},
    ],
)
def test_a_wrong_range_names_its_key(wrong: dict[str, Any]) -> None:
    """The error says which key on which line is wrong, and what to give, before any trial."""
    with pytest.raises(SettingsError, match=rf"settings\.yaml:7: models\.0\.search\.{next(iter(wrong))}") as failure:
        search.space(Forest(), wrong, where)
    assert failure.value.fix


def test_a_parameter_that_depends_on_another_may_be_narrowed() -> None:
    """Trials that do not use it run like any other; those that do draw from the range; a stored point keeps it."""
    drawn = suggested({"width": [3, 4]})
    assert drawn["width"] == (3, 4)
    assert drawn["kind"] == ("a", "c")
    point = {"depth": 4, "rate": 0.1, "kind": "c", "width": 9}
    assert search.within(Forest(), {"width": [3, 4]}, where, [point]) == [{**point, "width": 4}]
