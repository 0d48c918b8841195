"""As many members as answer one row in time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dropforge.errors import InvalidRequest
from dropforge_training.data import training_table
from dropforge_training.export import bundle_builder, one_row_time
from dropforge_training.fit.refit import Refit
from dropforge_training.models.model_spec import predicted
from dropforge_training.models.tree_ensemble import TreeEnsemble
from dropforge_training.search.tuner import Tuned
from dropforge_training.worker import row_limit

SETTINGS = """
project: little-prices
data: {target: price, task: regression}
models: [{name: tree_ensemble, class: "dropforge_training.models.tree_ensemble:TreeEnsemble", bag: 3}]
serving: {max_milliseconds: LIMIT}
"""
KINDS = {
    "size-cm": "number", "visits": "integer", "colour": "category", "active": "boolean", "since": "datetime", "note": "text",
    "price": "number",
}  # fmt: skip
FIRST, SECOND = ({**TreeEnsemble().portfolio()[n], "n_estimators": 20 * (n + 1)} for n in (0, 1))
TUNED = Tuned(
    members=(FIRST, SECOND, FIRST), score=0.0, trials=2, seconds=1.0, money=0.0, points=(), weights=(4.0, 1.0, 4.0),
    milliseconds=(1.0, 2.0, 1.0),
)  # fmt: skip


@pytest.fixture
def limited(bench: Callable[..., Any], table: Callable[..., pd.DataFrame], tmp_path: Any) -> Callable[[float], Any]:
    """Three members fitted on a small regression, and those that a limit in milliseconds leaves."""

    def make(limit: float) -> tuple[row_limit.LimitedEnsemble, Refit, Any]:
        frame = table(300, ("a", "b")).drop(columns="label")
        frame["price"] = frame["size-cm"].fillna(170) + frame["visits"].fillna(4).astype(float)
        created = bench(frame=frame, kinds=KINDS, target="price", text=SETTINGS.replace("LIMIT", f"{limit:f}"))
        data = training_table.load(created.store, created.manifest, created.settings, tmp_path)
        members, weights = TUNED.bag(3)
        refit = Refit(TreeEnsemble(), data, {}, members, seed=1, jobs=1, weights=weights)
        fitted = refit.last(data.train)
        origin = bundle_builder.Origin(TreeEnsemble(), data, created.settings, "tree_ensemble", "r", "d")
        return row_limit.within_limit(refit, fitted, origin, TUNED, logging.getLogger("test")), refit, fitted

    return make


def test_everything_stays_within_the_limit(limited: Callable[[float], Any]) -> None:
    """A generous limit leaves all members, and the card nothing to say."""
    result, refit, _ = limited(1e6)
    assert result.refit.members == refit.members
    assert 0 < result.milliseconds < 1e6
    assert result.reason() == ""


def test_one_member_stays_however_long_it_takes(limited: Callable[[float], Any]) -> None:
    """The heaviest, with the file that is exported; the card says how many were left out, and how long all took."""
    result, _, fitted = limited(0.001)
    assert result.refit.members == (FIRST,)
    rows = result.refit.data.heldout.x
    matrix = result.pipeline[:-1].transform(rows)
    alone = TreeEnsemble().output(fitted.estimators[0], matrix)
    assert np.allclose(predicted(result.pipeline, rows), alone, rtol=1e-6)
    assert result.reason().startswith("2 of 3 members left out: all 3 members took ")
    assert result.facts()["limit"] == 0.001


def test_members_are_left_out_until_the_rest_is_quick_enough(
    limited: Callable[[float], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is measured, in parts by the estimate; one at least each time. The seeds of one trial share its weight."""
    measured = iter([4.1, 3.9, 8.0, 5.0, 1.9])
    monkeypatch.setattr(one_row_time, "milliseconds", lambda _predictor, _rows: next(measured))
    result, _, _ = limited(4.0)
    assert (result.refit.members, result.refit.weights) == ((FIRST, SECOND), (4.0, 1.0))
    result, _, _ = limited(5.9)
    assert (result.refit.members, result.everything, result.milliseconds) == ((FIRST,), 8.0, 5.0)


class _Predictor:
    """Answers any row but an empty one."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def predict(self, records: Any) -> None:
        self.records += records
        if not records[0]:
            raise InvalidRequest("a column is missing")


def test_a_row_takes_the_median_of_many() -> None:
    """Every row is asked alone, three times; what it takes is the middle one of all."""
    ticks = iter(np.cumsum([0.0, *([0.0, 0.002, 0.0, 0.004, 0.0, 0.003] * 3)]).tolist())
    predictor: Any = _Predictor()
    rows = [{"x": 1}, {"x": 2}, {"x": 3}]
    assert one_row_time.milliseconds(predictor, rows, lambda: next(ticks)) == pytest.approx(3.0)
    assert predictor.records == rows * 3


def test_measuring_ends_with_its_time_and_needs_a_row() -> None:
    """A row that takes a second is asked once; rows that are refused tell nothing."""
    seconds = iter(range(100))
    predictor: Any = _Predictor()
    assert one_row_time.milliseconds(predictor, [{}, {"x": 1}, {"x": 2}], lambda: float(next(seconds))) == 1000
    assert predictor.records == [{}, {"x": 1}]
    assert np.isnan(one_row_time.milliseconds(predictor, [{}]))
