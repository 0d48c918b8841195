"""A dataset manifest as features, labels and the held-out split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dropforge.data.manifest import DatasetManifest
from dropforge.data.schema import ROW_HASH, Column
from dropforge.errors import JobFailed
from dropforge.ports import ObjectStore
from dropforge.serving.regression import forward
from dropforge.settings import Settings
from dropforge_training import steps
from dropforge_training.steps import Steps

_MOST_CLASSES = 100
BUCKETS = 10_000  # resolution of the held-out share


@dataclass(frozen=True, slots=True)
class Table:
    """Features with labels as codes, or of a regression with numbers. `row` are the row hashes, shape [rows]."""

    x: pd.DataFrame
    y: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class TrainingData:
    train: Table
    heldout: Table
    classes: list[str]
    positive: str
    features: tuple[Column, ...]
    unlabelled: int
    rows: int
    steps: dict[str, Steps]
    groups: pd.DataFrame  # the sensitive columns of the held-out rows, features or not
    heldout_raw: pd.DataFrame | None = None  # every column of the held-out rows, for a model of other features
    heldout_new: np.ndarray | None = None  # which of them came with the newest part; None: there is one part only
    repeated: int = 0  # rows left out because an earlier part has them
    moved: tuple[int, ...] = ()  # hashes below the held-out share that are trained on all the same (see both_sides)
    transform: str = ""  # of a regression's target, see dropforge.serving.regression

    @property
    def regression(self) -> bool:
        """Whether the target is a number to estimate."""
        return not self.classes

    def fitted(self, y: np.ndarray) -> np.ndarray:
        """What a model is fitted on: codes as they are, numbers after the transform."""
        return forward(self.transform, y) if self.regression else y

    def markers(self, settings: Settings) -> dict[str, tuple[str, ...]]:
        return {c.name: markers_of(settings, c.name) for c in self.features}


def markers_of(settings: Settings, column: str) -> tuple[str, ...]:
    """Texts read as missing in this column, as admission reads it."""
    override = settings.data.columns.get(column)
    declared = override.missing_markers if override else None
    own = settings.data.missing_markers if declared is None else declared
    return (*own, *steps.markers(settings.processing, column))


def load(store: ObjectStore, manifest: DatasetManifest, settings: Settings, workdir: Path) -> TrainingData:
    """Read every part, check its sha256, split by row hash: the same rows are held out in every run.

    A class whose rows all fell to one side keeps one on the other (see both_sides). Raises JobFailed when a part was altered, or
    a class has nothing to hold out.
    """
    frames = []
    for number, part in enumerate(manifest.parts):
        path = workdir / f"part-{number}.parquet"
        store.download(part.uri, path)
        with path.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        if digest != part.sha256:
            raise JobFailed(
                f"{part.uri} is not the file its manifest names",
                code="part_altered",
                fix="restore the object's first version",
            )
        frames.append(pd.read_parquet(path))
    table, origin, repeated = _joined(frames)
    target = settings.data.target
    known = table[target].notna().to_numpy()
    labelled, origin = table[known], origin[known]
    regression = settings.data.task == "regression"
    if regression:
        y, usable = _numbers(labelled[target], target)
        labelled, origin, classes, positive = labelled[usable], origin[usable], [], ""
    else:
        labels = _labels(labelled[target], manifest.data_schema.column(target))
        classes = sorted(set(labels))
        _check_classes(classes, target)
        positive = _positive(classes, settings)
        y = np.searchsorted(np.array(classes, dtype=object), labels).astype(np.int64)
    unused = {target, *settings.data.ignore, *steps.dropped(settings.processing)}
    features = tuple(c for c in manifest.data_schema.columns if c.name not in unused)
    if not features:
        raise JobFailed(
            "no column is left to predict from", code="no_features", fix="ignore fewer columns in settings.yaml"
        )
    hashes = labelled[ROW_HASH].to_numpy(dtype=np.uint64)
    held = (hashes % np.uint64(BUCKETS)) < np.uint64(round(settings.training.holdout_share * BUCKETS))
    below, held = held, both_sides(held, hashes, np.zeros(len(y), dtype=np.int64) if regression else y)
    x = labelled[[c.name for c in features]]
    sides = [Table(x[side].reset_index(drop=True), y[side], hashes[side]) for side in (~held, held)]
    absent = [c for i, c in enumerate(classes) if not (sides[1].y == i).any()]
    if absent:
        count = int((y == classes.index(absent[0])).sum())
        raise JobFailed(
            f"the class {absent[0]!r} has {count} row{'s, all equal' if count > 1 else ''}: none can be held out",
            code="class_missing",
            fix="upload more rows of it, or correct the label if it is a typing error",
        )
    sensitive = [c for c in settings.data.sensitive if c in labelled.columns]
    return TrainingData(
        sides[0],
        sides[1],
        classes,
        positive,
        features,
        len(table) - len(labelled),
        len(table),
        steps.by_column(settings.processing, features),
        labelled.loc[held, sensitive].reset_index(drop=True),
        labelled.loc[held].reset_index(drop=True),
        origin[held] == len(frames) - 1 if len(frames) > 1 else None,
        repeated,
        tuple(np.unique(hashes[below & ~held]).tolist()),
    )


def both_sides(chosen: np.ndarray, hashes: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`chosen` with every class on both sides, shape [rows]: of a class on one side alone, the row of the smallest hash changes.

    Equal rows have one hash and stay together, lest a model be scored on what it was fitted on. A class without two different
    rows is left out of what is chosen.
    """
    chosen = chosen.copy()
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        its = hashes[rows]
        if its.min() == its.max():
            chosen[rows] = False
        elif chosen[rows].all() or not chosen[rows].any():
            chosen[rows[its == its.min()]] ^= True
    return chosen


def _joined(frames: list[pd.DataFrame]) -> tuple[pd.DataFrame, np.ndarray, int]:
    """All parts as one table, the part of each row, and how many rows were left out.

    A row sent again with a later upload counts once; equal rows within one upload are as many as they are. So a row's
    n-th copy in a part is left out when an earlier part has n copies too.
    """
    table = pd.concat(frames, ignore_index=True)
    part = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    if len(frames) == 1:
        return table, part, 0
    copy = table.groupby([part, ROW_HASH], sort=False).cumcount()
    again = pd.DataFrame({"row": table[ROW_HASH], "copy": copy}).duplicated().to_numpy()
    return table[~again].reset_index(drop=True), part[~again], int(again.sum())


def _labels(values: pd.Series, column: Column) -> np.ndarray:
    """Classes as text, written as in the file: a null anywhere would otherwise turn 1 into "1.0"."""
    if column.kind == "integer":
        values = values.astype("int64")
    elif column.kind == "boolean":
        values = values.astype(bool).map({True: "true", False: "false"})
    return np.asarray(values.astype(str), dtype=object)


_FEWEST_NUMBERS = 20  # rows below which a regression cannot be fitted and judged


def _numbers(values: pd.Series, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Finite numbers of a regression's target, float64, and which rows have one, shape [rows]. Raises JobFailed."""
    numbers = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)
    usable = np.isfinite(numbers)
    y = numbers[usable]
    if len(y) < _FEWEST_NUMBERS:
        raise JobFailed(
            f"the target {target!r} is a number in {len(y)} rows; {_FEWEST_NUMBERS} are needed",
            code="too_few_rows",
            fix="upload more rows, or correct data.target or data.task in settings.yaml",
        )
    if y.min() == y.max():
        raise JobFailed(
            f"the target {target!r} is {y[0]:g} in every row",
            code="one_value",
            fix="upload rows in which it varies, or correct data.target in settings.yaml",
        )
    return y, usable


def _check_classes(classes: list[str], target: str) -> None:
    if len(classes) < 2:
        shown = f"only the class {classes[0]!r}" if classes else "no value at all"
        raise JobFailed(
            f"the target {target!r} has {shown}",
            code="one_class",
            fix="upload rows of at least two classes, or correct data.target in settings.yaml",
        )
    if len(classes) > _MOST_CLASSES:
        raise JobFailed(
            f"the target {target!r} has {len(classes)} classes; {_MOST_CLASSES} are supported",
            code="too_many_classes",
            fix="a number to estimate? set data.task: regression; an identifier? choose another data.target; else group its values",
        )


def _positive(classes: list[str], settings: Settings) -> str:
    if len(classes) != 2:
        return ""
    wanted = settings.data.positive_class
    if wanted is None:
        return classes[1]
    if wanted not in classes:
        raise JobFailed(
            f"data.positive_class {wanted!r} is no class of {settings.data.target!r} (classes: {', '.join(classes)})",
            code="positive_class",
            fix="correct data.positive_class in settings.yaml",
        )
    return wanted
