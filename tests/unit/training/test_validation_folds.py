"""The rows that trials are fitted and scored on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dropforge_training.data.holdout_split import BUCKETS
from dropforge_training.data.training_table import Table
from dropforge_training.search import validation_folds


@pytest.mark.parametrize(("rows", "folds_wanted"), [(600, 5), (3000, 3), (8000, 1)])
def test_few_rows_are_cross_validated(rows: int, folds_wanted: int) -> None:
    """The fewer the rows the more folds; a class too rare for them leaves a single split."""
    hashes = _hashes(rows)
    assert validation_folds.count(_table(hashes, np.arange(rows) % 2)) == folds_wanted
    y = np.zeros(rows, dtype=int)
    y[:2] = 1
    assert validation_folds.count(_table(hashes, y)) == 1
    y = np.zeros(rows, dtype=int)
    y[:20], hashes[:20] = 1, hashes[0]  # twenty times one row
    assert validation_folds.count(_table(hashes, y)) == 1


def test_a_rare_class_among_many_may_miss_a_fold() -> None:
    """Of 19 classes one has two rows: five folds all the same, each model knows every class, and two of them score it."""
    hashes, y = _hashes(600), np.arange(600) % 18
    y[:2] = 18
    table = _table(hashes, y)
    split = validation_folds.sides(table, 19, seed=1)
    assert len(split) == 5
    assert all(len(np.unique(y[fit])) == 19 for fit, _ in split)
    assert sum(18 in y[valid] for _, valid in split) == 2
    y[1] = 0
    assert len(validation_folds.sides(_table(hashes, y), 19, seed=1)) == 1  # and one row is on one side only


def _table(rows: np.ndarray, y: np.ndarray) -> Table:
    return Table(pd.DataFrame({"x": np.arange(len(y))}), y, rows)


def _hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def test_a_retrain_on_more_rows_is_scored_on_the_same_validation_rows() -> None:
    """A row's hash alone says whether trials are scored on it: more rows around it change nothing."""
    rows, y = _hashes(10_000), np.arange(10_000) % 2
    every = validation_folds.validation(_table(rows, y))
    assert np.array_equal(validation_folds.validation(_table(rows[:6_000], y[:6_000])), every[:6_000])
    order = np.random.default_rng(1).permutation(len(rows))
    assert np.array_equal(validation_folds.validation(_table(rows[order], y[order])), every[order])
    assert 0.18 < every.mean() < 0.22


def test_equal_rows_are_on_one_side_of_the_validation_split() -> None:
    """A row that was fitted on is never scored as well because its twin was drawn."""
    rows = np.repeat(_hashes(3_000), 2)
    valid = validation_folds.validation(_table(rows, np.arange(6_000) // 2 % 2))
    assert np.array_equal(valid[::2], valid[1::2])


@pytest.mark.parametrize(("rows", "number"), [(600, 5), (3_000, 3), (8_000, 1)])
def test_copies_of_a_row_share_a_fold_at_every_size(rows: int, number: int) -> None:
    """No row that a trial is fitted on is scored as well, and every fold has each class in its share."""
    hashes = np.repeat(_hashes(rows // 2), 2)
    y = (np.arange(rows) // 2 % 10 == 0).astype(int)
    split = validation_folds.sides(_table(hashes, y), 2, seed=1)
    assert len(split) == number
    for fit, valid in split:
        assert not np.isin(hashes[valid], hashes[fit]).any()
        assert y[valid].mean() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_class_is_on_both_sides_of_the_validation_split(seed: int) -> None:
    """Two different rows of a class are enough: one is fitted on and one is scored."""
    rows, y = _hashes(8_000, seed), np.zeros(8_000, dtype=int)
    y[:2] = 1
    assert sorted(validation_folds.validation(_table(rows, y))[:2]) == [False, True]


def test_validation_rows_are_independent_of_the_held_out_rows() -> None:
    """The held-out share uses other digits of the hash: what is left to train on is split in the wanted shares."""
    rows = _hashes(100_000)
    heldout = rows % np.uint64(BUCKETS) < 2_000
    valid = validation_folds.validation(_table(rows, np.arange(len(rows)) % 2))
    assert abs(valid[heldout].mean() - valid[~heldout].mean()) < 0.015
