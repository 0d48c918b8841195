"""A data set of more rows than a job holds in memory: a sample for the search, all training rows for the last fit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import xgboost

from dropforge.config import settings
from dropforge.config.settings import Settings
from dropforge_training.data import rows_beyond_memory, training_table
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.fit.refit import Refit
from dropforge_training.models.model_spec import predicted
from dropforge_training.models.random_forest import RandomForest
from dropforge_training.models.tree_ensemble import TreeEnsemble
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.worker.deadline import Member, Shares

from .conftest import SETTINGS, Bench, make_table

ROWS = 2000
PARAMS = {"n_estimators": 20, "max_depth": 3, "learning_rate": 0.3}


def _settings(rows_in_memory: int, data: str = "", split: str = "") -> Settings:
    text = (
        f"project: demo\ndata: {{target: label{data}}}\ntraining: {{rows_in_memory: {rows_in_memory}, derived_columns: false}}\n"
        f"{split}\nmodels: [{{name: m, class: a.b:C}}]\n"
    )
    return settings.load(text.encode(), "settings.yaml")


@pytest.fixture(scope="module")
def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two uploads; the second one sends two hundred rows of the first again."""
    first, second = make_table(ROWS, ("no", "yes")), make_table(ROWS // 2, ("no", "yes"), seed=2)
    for frame in (first, second):
        frame["size-cm"] = frame["size-cm"].round()  # few values: bins are the same whichever batch has them
    first.loc[:20, "label"] = None
    return first, pd.concat([second, first.iloc[100:300]], ignore_index=True)


@pytest.fixture
def load(snapshot: Any, parts: Any, tmp_path: Path) -> Callable[..., TrainingData]:
    """Loads both parts, holding so many rows."""

    def run(rows_in_memory: int, **given: str) -> TrainingData:
        folder = tmp_path / f"{rows_in_memory}"
        folder.mkdir()
        return training_table.load(*snapshot(*parts), _settings(rows_in_memory, **given), folder)

    return run


def _hashes(*tables: Table) -> list[int]:
    return sorted(int(h) for t in tables for h in t.row)


@pytest.mark.parametrize(
    "split",
    ["", "split: {by: time, time: since}", "split: {by: group, group: note}"],
    ids=["random", "time", "group"],
)
def test_sample_and_batches_are_the_training_rows(load: Callable[..., TrainingData], split: str) -> None:
    """Each once and in its place; what is held out is in neither, and rows without a label, a time, or sent again are left out."""
    every, sampled = load(100_000, split=split), load(600, split=split)
    assert every.beyond_memory is None
    assert 300 < len(sampled.train) + len(sampled.heldout) < 900
    batches = list(rows_beyond_memory.tables(sampled, 64))
    assert max(len(b) for b in batches) <= 64
    streamed = _hashes(sampled.train, *batches)
    assert not set(streamed) & set(_hashes(sampled.heldout))
    if sampled.split.by == "time":  # the sample has a moment of its own from which rows are held out
        assert all((b.x["since"] < pd.Timestamp(sampled.split.start, unit="s")).all() for b in batches)
    else:
        assert streamed == _hashes(every.train)
    by_hash = dict(zip(every.train.row.tolist(), every.train.y.tolist(), strict=True))
    assert all(by_hash.get(h, y) == y for b in batches for h, y in zip(b.row.tolist(), b.y.tolist(), strict=True))


@pytest.mark.parametrize("data", ["", ", weight: visits"], ids=["alike", "weighted"])
def test_fit_on_batches_is_that_in_memory(
    load: Callable[..., TrainingData], data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions within 0.02 of XGBoost fitted on all rows at once, and nearer to them than those of the sample alone."""
    monkeypatch.setattr(rows_beyond_memory, "_BATCH", 100)
    every, sampled = load(100_000, data=data), load(600, data=data)
    refits = [Refit(XGBoost(), d, {}, [PARAMS], seed=1, jobs=1) for d in (every, sampled)]
    whole, streamed = (predicted(r.pipeline(r.data.train), every.heldout.x)[:, 1] for r in refits)
    alone = Refit(XGBoost(), sampled, {}, [PARAMS], seed=1, jobs=1, beyond=False)
    of_sample = predicted(alone.pipeline(sampled.train), every.heldout.x)[:, 1]
    assert np.abs(streamed - whole).mean() < 0.02
    assert np.abs(streamed - whole).mean() < np.abs(of_sample - whole).mean() / 3


def test_bins_lie_on_disk_while_they_are_needed(
    load: Callable[..., TrainingData], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A byte for every cell of every row at least; afterwards, also behind a fit that failed, nothing is left of them."""
    temporary, sizes = tmp_path / "temporary", list[int]()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    train = xgboost.train

    def watched(*given: Any, **options: Any) -> Any:
        sizes.append(sum(f.stat().st_size for f in temporary.rglob("*") if f.is_file()))
        if len(sizes) == 2:
            raise MemoryError
        return train(*given, **options)

    monkeypatch.setattr(xgboost, "train", watched)
    sampled = load(600)
    refit = Refit(XGBoost(), sampled, {}, [PARAMS], seed=1, jobs=1)
    fitted = refit.pipeline(sampled.train)
    rows = len(sampled.train) + sum(len(b) for b in rows_beyond_memory.tables(sampled))
    assert sizes[0] >= rows * fitted[-1].n_features_in_
    with pytest.raises(MemoryError):
        refit.pipeline(sampled.train)
    assert not list(temporary.iterdir())


def test_a_blend_is_fitted_on_batches_where_all_of_its_members_can_be(load: Callable[..., TrainingData]) -> None:
    """Boosters of XGBoost can; a forest, and a blend with one, are fitted on the sample."""
    sampled = load(600)
    boosted = {**TreeEnsemble().first(), "n_estimators": 5}
    forest = {**boosted, "kind": "extra_trees"}
    assert Refit(TreeEnsemble(), sampled, {}, [boosted, boosted], 1, 1).on_all_rows
    assert not Refit(TreeEnsemble(), sampled, {}, [boosted, forest], 1, 1).on_all_rows
    assert not Refit(RandomForest(), sampled, {}, [{}], 1, 1).on_all_rows
    blend = Refit(TreeEnsemble(), sampled, {}, [boosted, boosted], 1, 1).pipeline(sampled.train)
    assert predicted(blend, sampled.heldout.x).shape == (len(sampled.heldout), 2)


def test_a_job_on_more_rows_than_memory_serves_a_model_of_all_training_rows(bench: Callable[..., Bench]) -> None:
    """From message to bundle: the run says how many rows were beyond memory, and held-out predictions are those of the sample."""
    text = SETTINGS.replace("trials: 2, seconds: 60", "trials: 1, seconds: 60")
    created = bench(rows=1200, text=text, extra="training: {rows_in_memory: 400, derived_columns: false}\n")
    result = created.run(created.job("xgboost", upload="beyondmemory"))
    run = mlflow.MlflowClient(created.tracking_uri, created.tracking_uri).get_run(result.run_id)
    beyond, trained = int(run.data.params["rows_beyond_memory"]), int(run.data.params["train_rows"])
    heldout = pd.read_parquet(result.predictions_uri)
    assert beyond + trained + len(heldout) == 1200
    assert 200 < trained + len(heldout) < 600


def test_rows_beyond_memory_are_read_where_the_time_allows_it() -> None:
    """A last fit ten times as long as one on the sample is left out first, when the budget ends."""
    wanted = Shares(members=2, folds=1, fold_rows=0.7, growth=10.0)
    assert wanted.affordable(Member(1.0, 0.1), 100, 90).growth == 10.0
    assert wanted.affordable(Member(1.0, 0.1), 100, 12).growth == 1.0
