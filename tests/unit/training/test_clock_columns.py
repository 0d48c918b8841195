"""Columns that only tell when a row was, where rows are split by time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dropforge.inference.bundle_manifest import BundleManifest
from dropforge_training.data import training_table
from dropforge_training.data.training_table import TrainingData
from dropforge_training.fit import clock_columns
from dropforge_training.models.ridge_regression import RidgeRegression
from dropforge_training.models.xgboost import XGBoost

Bench = Callable[..., Any]

KINDS = {"day": "datetime", "number": "integer", "x": "number", "amount": "number"}
SETTINGS = """
project: splits
data: {target: amount, task: regression}
models: [{name: boost, class: "dropforge_training.models.xgboost:XGBoost", budget: {trials: 2, seconds: 20}}]
split: {by: time, time: day}
"""


def _frame(*, season: bool) -> pd.DataFrame:
    """Four rows a day for 530 days: high in summer and low else, or a level that changes from month to month and stays."""
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(530), 4)
    when = pd.Timestamp("2023-06-01") + pd.to_timedelta(day, unit="D")
    x = rng.normal(size=len(day))
    level = 100.0 * np.isin(when.month, (6, 7, 8)) if season else 0.2 * day
    return pd.DataFrame({"day": when, "number": 1000 + day, "x": x, "amount": level + x + rng.normal(0, 0.5, len(day))})


def _data(bench: Bench, tmp_path: Path, *, season: bool) -> TrainingData:
    created = bench(frame=_frame(season=season), kinds=KINDS, target="amount", text=SETTINGS)
    return training_table.load(created.store, created.manifest, created.settings, tmp_path)


def test_a_season_is_learnt_from_months_not_from_last_weeks(bench: Bench, tmp_path: Path) -> None:
    """The last winter's level is no reason to expect it next summer: date and running number are left out, the month stays."""
    data = _data(bench, tmp_path, season=True)
    changed = clock_columns.without_clock(data, XGBoost(), {}, "rmse", seed=1, jobs=1)
    assert set(changed.clock) == {"day", "number"}
    assert any(d.part == "month" for d in changed.derived)


def test_a_level_that_stays_is_learnt_from_last_weeks(bench: Bench, tmp_path: Path) -> None:
    """Where the newest rows are predicted better with the date, it is given to the model."""
    data = _data(bench, tmp_path, season=False)
    assert clock_columns.without_clock(data, XGBoost(), {}, "rmse", seed=1, jobs=1).clock == ()


def test_a_linear_model_keeps_the_date(bench: Bench, tmp_path: Path) -> None:
    """It goes on beyond the last day, and is not asked."""
    data = _data(bench, tmp_path, season=True)
    assert clock_columns.without_clock(data, RidgeRegression(), {}, "rmse", seed=1, jobs=1).clock == ()


def test_rows_split_at_random_keep_the_date(bench: Bench, tmp_path: Path) -> None:
    """Rows to come are like those there are."""
    text = SETTINGS.replace("split: {by: time, time: day}\n", "")
    created = bench(frame=_frame(season=True), kinds=KINDS, target="amount", text=text)
    data = training_table.load(created.store, created.manifest, created.settings, tmp_path)
    assert clock_columns.without_clock(data, XGBoost(), {}, "rmse", seed=1, jobs=1).clock == ()


def test_a_bundle_without_clock_columns_is_served(bench: Bench) -> None:
    """It is equal to its pipeline on every held-out row, asks for the date still, and gives its month to the graph."""
    done = bench(frame=_frame(season=True), kinds=KINDS, target="amount", text=SETTINGS)
    result = done.run(done.job("boost", upload="clock"))
    folder = Path(result.bundle_uri)
    manifest = BundleManifest.from_json((folder / "manifest.json").read_bytes())
    columns = [c for i in manifest.inputs for c in i.features]
    assert "day" in {f.name for f in manifest.features}
    assert "day" not in columns
    assert "day (month)" in columns
    assert manifest.parity["max_abs_difference"] <= 1e-5
    card = json.loads((folder.parent / "model_card.json").read_text())
    assert {c["column"] for c in card["contributions"]["columns"]} == {"day", "x"}
