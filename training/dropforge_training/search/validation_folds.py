"""The rows trials are fitted and scored on: one split of many rows, cross-validation of few. Preprocessed once."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from dropforge.errors import JobFailed
from dropforge_training.data.holdout_split import BUCKETS, both_sides
from dropforge_training.data.training_table import Table, TrainingData
from dropforge_training.models.model_spec import Fold, ModelSpec
from dropforge_training.preprocessing.cleaner import TableCleaner

_VALIDATION_SHARE = 0.2
# Fewer rows than this: so many folds. The score of one split of 1,000 rows is off by more than tuning ever gains.
_FOLDS = ((1_000, 5), (5_000, 3))

# Places of the rows a model is fitted on, and of those it is then asked for.
Sides = tuple[np.ndarray, np.ndarray]


def count(table: Table) -> int:
    """How many folds these rows are worth; 1: a single split. Every class must have a different row for each fold; of more than two
    classes a rare one, with two at least, may be missing in a fold, as the others tell the trials apart there.
    """
    wanted = next((folds for rows, folds in _FOLDS if len(table) < rows), 1)
    anywhere = table.is_number or table.group is not None or table.time is not None or len(np.unique(table.y)) < 3
    needed = wanted if anywhere else 2
    return wanted if fewest_different(table) >= needed else 1


def fewest_different(table: Table) -> int:
    """Different rows (groups, where they are kept whole) of the class that has the fewest; of a regression all different ones."""
    if table.is_number:
        return len(_different(table)[0])
    whole = table.row if table.group is None else table.group
    different = np.unique(np.rec.fromarrays([whole, table.y]))  # a group may have rows of several classes
    return int(np.min(np.bincount(different["f1"], minlength=int(table.y.max()) + 1)))


def stratified(table: Table, folds: int, seed: int) -> np.ndarray:
    """A fold for each row, shape [rows]: every class in each, and equal rows, or rows of a group, in one. The rows of a class that
    has fewer than folds are in as many of them.
    """
    if table.group is not None:
        return _grouped(table, folds, seed)
    first, copies = _different(table)
    fold = np.empty(len(first), dtype=np.int64)
    kind = KFold if table.is_number else StratifiedKFold
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is meant to miss some folds
        for number, (_, outside) in enumerate(
            kind(folds, shuffle=True, random_state=seed).split(first, table.y[first])
        ):
            fold[outside] = number
    return np.asarray(fold[copies])


def _grouped(table: Table, folds: int, seed: int) -> np.ndarray:
    """A fold for each row, shape [rows]: whole groups, and classes in about their shares."""
    kind = GroupKFold if table.is_number else StratifiedGroupKFold
    fold = np.empty(len(table), dtype=np.int64)
    splits = kind(folds, shuffle=True, random_state=seed).split(np.zeros(len(table)), table.y, table.group)
    for number, (_, outside) in enumerate(splits):
        fold[outside] = number
    return fold


def walk_forward(table: Table, folds: int, classes: int) -> list[Sides]:
    """Rows in order of time in `folds` + 1 blocks of about equal size: each block but the first, with what came before it.

    Rows of one moment are in one block. A block before which some class did not occur (classes: how many there are, 0 of a
    regression) is not asked for; there may be fewer blocks than wanted.
    """
    assert table.time is not None  # noqa: S101 - only rows that are split by time come here
    moments, counts = np.unique(table.time, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]) / len(table)  # share of rows before each moment
    block = np.minimum((before * (folds + 1)).astype(int), folds)
    of_row = block[np.searchsorted(moments, table.time)]
    matches = [(np.flatnonzero(of_row < b), np.flatnonzero(of_row == b)) for b in np.unique(block)[1:]]
    return learnable(table, matches, classes)


def learnable(table: Table, sides: list[Sides], classes: int) -> list[Sides]:
    """Those whose rows to fit on have every class."""
    return [s for s in sides if not classes or len(np.unique(table.y[s[0]])) == classes]


def _different(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Where each different row (or group) stands first, and for every row which of these it equals."""
    _, first, copies = np.unique(
        table.row if table.group is None else table.group, return_index=True, return_inverse=True
    )
    return first, copies


def make(candidate: ModelSpec, data: TrainingData, markers: dict[str, tuple[str, ...]], seed: int) -> list[Fold]:
    """Folds of the training rows; the held-out rows are not touched. The cleaner is fitted on each fold's own rows.

    Raises JobFailed when the rows to score trials on would be of one class: no trial could be told from another.
    """
    created = []
    for fit, valid in sides(data.train, len(data.classes), seed):
        if not data.regression and np.unique(data.train.y[valid]).size < 2:
            rarest = int(np.argmin(np.bincount(data.train.y)))
            raise JobFailed(
                f"the class {data.classes[rarest]!r} has too few different rows to score trials on",
                code="class_missing",
                fix="upload more rows of it: three different ones at least",
            )
        cleaner = cleaner_for(candidate, data, markers)
        clean = cleaner.fit_transform(data.train.x.iloc[fit], data.fitted(data.train.y)[fit])
        preprocessor = candidate.preprocessor(cleaner)
        x = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
        other = np.asarray(preprocessor.transform(cleaner.transform(data.train.x.iloc[valid])), dtype=np.float32)
        positive = data.classes.index(data.positive) if data.positive else 1
        y = data.fitted(data.train.y)
        weight = data.fit_weights(data.train)
        created.append(
            Fold(
                x,
                y[fit],
                other,
                y[valid],
                positive,
                data.transform,
                data.center,
                None if weight is None else weight[fit],
                data.train.weights_at(valid),
                data.signs(x.shape[1], cleaner.numbers),
                places=np.asarray(valid),
            )
        )
    return created


def sides(table: Table, classes: int, seed: int) -> list[Sides]:
    """The rows each trial is fitted on and scored on, by the rule the held-out rows were chosen by.

    Raises JobFailed when time, or the groups, leave no two parts with the classes they need.
    """
    folds = count(table)
    if table.time is not None:
        # One split: the newest fifth. Several: each block after what came before it.
        result = walk_forward(table, folds if folds > 1 else round(1 / _VALIDATION_SHARE) - 1, classes)
    elif folds > 1:
        result = _crossed(table, folds, classes, seed)
    else:
        result = _single(table)
    if table.time is None and table.group is None:
        return result
    two_sided = [s for s in learnable(table, result, classes) if not classes or len(np.unique(table.y[s[1]])) > 1]
    if not two_sided:
        raise JobFailed(
            "the training rows cannot be split so that models of one part are scored on another: some class is missing on one side",
            code="class_missing",
            fix="upload rows of a longer period or of more groups, or set split.by: random",
        )
    return two_sided[-1:] if table.time is not None and folds == 1 else two_sided


def _crossed(table: Table, folds: int, classes: int, seed: int) -> list[Sides]:
    fold = stratified(table, folds, seed)
    result = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(folds)]
    # A class whose rows equal those of others may have gone to one fold with them: no model of the rest knows it.
    complete = table.group is not None or len(learnable(table, result, classes)) == folds
    return result if complete else _single(table)


def _single(table: Table) -> list[Sides]:
    valid = validation(table)
    return [(np.flatnonzero(~valid), np.flatnonzero(valid))]


def validation(table: Table) -> np.ndarray:
    """Which rows trials are scored on, shape [rows]: chosen by their hashes, so a retrain on more rows keeps them.

    Its scores then go on from the last study's. The points it starts with were chosen by these rows: how good a model is, only
    the held-out rows tell. A class is on both sides where it can be (see holdout_split.both_sides). Groups stay whole.
    """
    hashes = table.row if table.group is None else table.group
    # The rest of hash / BUCKETS chose the held-out rows; what is left of it is independent of that.
    bucket = (hashes // np.uint64(BUCKETS)) % np.uint64(BUCKETS)
    valid = bucket < np.uint64(round(_VALIDATION_SHARE * BUCKETS))
    if table.group is not None:
        return _whole_groups(table, valid)
    return both_sides(valid, hashes, np.zeros(len(table), dtype=np.int64) if table.is_number else table.y)


def _whole_groups(table: Table, valid: np.ndarray) -> np.ndarray:
    """`valid`, where both sides have every class; else of five folds with as much of each class as can be the first."""
    codes = np.zeros(len(table), dtype=np.int64) if table.is_number else table.y
    both = [set(np.unique(codes[side])) for side in (valid, ~valid)]
    return valid if both[0] == both[1] else _grouped(table, 5 if fewest_different(table) >= 5 else 2, 0) == 0


def cleaner_for(candidate: ModelSpec, data: TrainingData, markers: dict[str, tuple[str, ...]]) -> TableCleaner:
    """The unfitted cleaner for these features."""
    texts = {c.name: c.kind in {"category", "text"} for c in data.features}
    texts |= {c: s.cast == "category" for c, s in data.steps.items() if s.cast}
    numbers = [c.name for c in data.features if not texts[c.name] and c.name not in data.clock]
    categories = [c.name for c in data.features if texts[c.name]]
    with_derived = [*numbers, *(d.name for d in data.derived)]
    cleaner = candidate.cleaner(with_derived, categories, markers, data.steps)
    if type(cleaner).transform is TableCleaner.transform and type(cleaner).fit is TableCleaner.fit:
        cleaner.derived = data.derived
        return cleaner
    return candidate.cleaner(
        numbers, categories, markers, data.steps
    )  # one of the project's own knows raw columns only
