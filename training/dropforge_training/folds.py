"""The rows trials are fitted and scored on: one split of many rows, cross-validation of few. Preprocessed once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from dropforge.errors import JobFailed
from dropforge_training.models.base import Candidate, Fold
from dropforge_training.processing import TableCleaner
from dropforge_training.tables import BUCKETS, Table, TrainingData, both_sides

_VALIDATION_SHARE = 0.2
# Fewer rows than this: so many folds. The score of one split of 1,000 rows is off by more than tuning ever gains.
_FOLDS = ((1_000, 5), (5_000, 3))


def count(table: Table) -> int:
    """How many folds these rows are worth; 1: a single split. Every class must have a different row for each fold."""
    wanted = next((folds for rows, folds in _FOLDS if len(table) < rows), 1)
    if _is_number(table):
        return wanted if len(_different(table)[0]) >= wanted else 1
    return wanted if fewest_different(table) >= wanted else 1


def fewest_different(table: Table) -> int:
    """Different rows of the class that has the fewest; of a regression all different rows."""
    if _is_number(table):
        return len(_different(table)[0])
    return int(np.min(np.bincount(table.y[_different(table)[0]], minlength=int(table.y.max()) + 1)))


def stratified(table: Table, folds: int, seed: int) -> np.ndarray:
    """A fold for each row, shape [rows]: every class in each, and equal rows in one: a copy would be no unknown row.

    Raises ValueError when a class has fewer different rows than folds.
    """
    first, copies = _different(table)
    fold = np.empty(len(first), dtype=np.int64)
    kind = KFold if _is_number(table) else StratifiedKFold
    splits = kind(folds, shuffle=True, random_state=seed).split(first, table.y[first])
    for number, (_, outside) in enumerate(splits):
        fold[outside] = number
    return np.asarray(fold[copies])


def _is_number(table: Table) -> bool:
    return bool(table.y.dtype.kind == "f")


def _different(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Where each different row stands first, and for every row which of these it equals."""
    _, first, copies = np.unique(table.row, return_index=True, return_inverse=True)
    return first, copies


def make(candidate: Candidate, data: TrainingData, markers: dict[str, tuple[str, ...]], seed: int) -> list[Fold]:
    """Folds of the training rows; the held-out rows are not touched. The processor is fitted on each fold's own rows.

    Raises JobFailed when the rows to score trials on would be of one class: no trial could be told from another.
    """
    made = []
    for fit, valid in _split(data.train, seed):
        if not data.regression and np.unique(data.train.y[valid]).size < 2:
            rarest = int(np.argmin(np.bincount(data.train.y)))
            raise JobFailed(
                f"the class {data.classes[rarest]!r} has too few different rows to score trials on",
                code="class_missing",
                fix="upload more rows of it: three different ones at least",
            )
        cleaner = cleaner_for(candidate, data, markers)
        rows = data.train.x.iloc[fit]
        clean = cleaner.fit(rows).transform(rows)
        preprocessor = candidate.preprocessor(cleaner)
        x = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
        other = np.asarray(preprocessor.transform(cleaner.transform(data.train.x.iloc[valid])), dtype=np.float32)
        positive = data.classes.index(data.positive) if data.positive else 1
        y = data.fitted(data.train.y)
        made.append(Fold(x, y[fit], other, y[valid], positive, data.transform))
    return made


def _split(table: Table, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    folds = count(table)
    if folds > 1:
        fold = stratified(table, folds, seed)
        for number in range(folds):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        return
    valid = validation(table)
    yield np.flatnonzero(~valid), np.flatnonzero(valid)


def validation(table: Table) -> np.ndarray:
    """Which rows trials are scored on, shape [rows]: chosen by their hashes, so a retrain on more rows keeps them.

    Its scores then go on from the last study's. The points it starts with were chosen by these rows: how good a model is, only
    the held-out rows tell. A class is on both sides where it can be (see tables.both_sides).
    """
    # The rest of hash / BUCKETS chose the held-out rows; what is left of it is independent of that.
    bucket = (table.row // np.uint64(BUCKETS)) % np.uint64(BUCKETS)
    valid = bucket < np.uint64(round(_VALIDATION_SHARE * BUCKETS))
    return both_sides(valid, table.row, np.zeros(len(table), dtype=np.int64) if _is_number(table) else table.y)


def cleaner_for(candidate: Candidate, data: TrainingData, markers: dict[str, tuple[str, ...]]) -> TableCleaner:
    """The unfitted processor for these features."""
    texts = {c.name: c.kind in {"category", "text"} for c in data.features}
    texts |= {c: s.cast == "category" for c, s in data.steps.items() if s.cast}
    numbers = [c.name for c in data.features if not texts[c.name]]
    categories = [c.name for c in data.features if texts[c.name]]
    return candidate.processor(numbers, categories, markers, data.steps)
