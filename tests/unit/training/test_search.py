"""Search ranges set in settings.yaml."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from dropforge.errors import SettingsError
from dropforge_training.search import NarrowedTrial


def suggested(search: dict[str, Any]) -> dict[str, Any]:
    """What 30 trials drew: smallest and largest value by name."""
    seen: dict[str, set[Any]] = {}

    def objective(trial: optuna.Trial) -> float:
        narrowed = NarrowedTrial(trial, search, "forest")
        draws = {
            "depth": narrowed.suggest_int("depth", 2, 20, step=2),
            "rate": narrowed.suggest_float("rate", 0.01, 0.3, log=True),
            "kind": narrowed.suggest_categorical("kind", ["a", "b", "c"]),
        }
        narrowed.check_all_used()
        for name, value in draws.items():
            seen.setdefault(name, set()).add(value)
        return 0.0

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
        {"width": 3},
    ],
)
def test_a_wrong_range_names_its_key(wrong: dict[str, Any]) -> None:
    """The error says which key of which model is wrong, and what to give."""
    with pytest.raises(SettingsError, match=rf"forest: search\.{next(iter(wrong))}") as failure:
        suggested(wrong)
    assert failure.value.fix
