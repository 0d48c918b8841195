"""A dataset manifest as features, labels and the held-out split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dropforge.data.manifest import DatasetManifest
from dropforge.data.schema import ROW_HASH, Column, Schema
from dropforge.data.values import BLANKS, FLOAT32_MAX, boolean, moment, number
from dropforge.errors import JobFailed
from dropforge.ports import ObjectStore
from dropforge.serving.regression import forward
from dropforge.serving.steps import number_text
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
    dropped: Mapping[str, int] = field(default_factory=dict)  # rows of classes that have no two different rows
    beyond: Mapping[str, int] = field(
        default_factory=dict
    )  # by column, numbers beyond float32 that were read as missing
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

    A class whose rows all fell to one side keeps one on the other (see both_sides); rows of a class that cannot stand on both are
    left out, and numbers beyond float32 are missing: what an earlier version accepted stops no training. Raises JobFailed when
    a part was altered, or fewer than two classes are left.
    """
    frames = []
    for place, part in enumerate(manifest.parts):
        path = workdir / f"part-{place}.parquet"
        store.download(part.uri, path)
        with path.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        if digest != part.sha256:
            raise JobFailed(
                f"{part.uri} is not the file its manifest names",
                code="part_altered",
                fix="restore the object's first version",
            )
        frames.append(_as_declared(pd.read_parquet(path), manifest.data_schema))
    table, origin, repeated = _joined(frames)
    target = settings.data.target
    known = table[target].notna().to_numpy()
    labelled, origin = table[known], origin[known]
    regression = settings.data.task == "regression"
    dropped: dict[str, int] = {}
    if regression:
        y, usable = _numbers(labelled[target], target)
        labelled, origin, classes, positive = labelled[usable], origin[usable], [], ""
    else:
        labels = _labels(labelled[target], manifest.data_schema.column(target))
        _check_few(sorted(set(labels)), target)
        dropped = _lone_classes(labels, labelled[ROW_HASH].to_numpy(dtype=np.uint64))
        if dropped:
            learned = ~np.isin(labels, list(dropped))
            labelled, origin, labels = labelled[learned], origin[learned], labels[learned]
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
    x, beyond = _within_float32(labelled[[c.name for c in features]])
    sides = [Table(x[side].reset_index(drop=True), y[side], hashes[side]) for side in (~held, held)]
    sensitive = [c for c in settings.data.sensitive if c in labelled.columns]
    return TrainingData(
        sides[0],
        sides[1],
        classes,
        positive,
        features,
        int((~known).sum()),
        len(table),
        steps.by_column(settings.processing, features),
        labelled.loc[held, sensitive].reset_index(drop=True),
        labelled.loc[held].reset_index(drop=True),
        origin[held] == len(frames) - 1 if len(frames) > 1 else None,
        repeated,
        tuple(np.unique(hashes[below & ~held]).tolist()),
        dropped,
        beyond,
    )


def _as_declared(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A part with the columns' kinds of the newest one: settings.yaml may have declared another type since it was written."""
    for column in schema.columns:
        if column.name not in frame.columns:
            continue
        values = frame[column.name]
        if column.kind in {"category", "text"} and not _holds_text(values):
            shown = values.map(_as_text, na_action="ignore")
            frame[column.name] = shown.astype(object).where(values.notna(), None)
        elif column.kind in {"integer", "number"} and not pd.api.types.is_numeric_dtype(values):
            texts = {t: number(str(t).strip(BLANKS), column.number_format) for t in values.dropna().unique()}
            frame[column.name] = values.map(texts).astype("float64")
        elif column.kind == "boolean" and not _holds_booleans(values):
            truths = {t: boolean(_as_text(t)) for t in values.dropna().unique()}
            frame[column.name] = values.map(truths).astype(object)
        elif column.kind == "datetime" and not pd.api.types.is_datetime64_any_dtype(values):
            moments = {t: moment(_as_text(t)) for t in values.dropna().unique()}
            frame[column.name] = pd.to_datetime(values.map(moments), unit="us")
    return frame


def _holds_text(values: pd.Series) -> bool:
    return not (
        pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values) or _holds_booleans(values)
    )


def _holds_booleans(values: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(values):
        return True
    first = values.dropna().iloc[:1]
    return bool(len(first)) and isinstance(first.iloc[0], bool)


def _as_text(value: Any) -> str:
    """As a file of the new type writes it: 7.0 is 7, true is true."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | float | np.number):
        return number_text(value)
    return str(value)


def _lone_classes(labels: np.ndarray, hashes: np.ndarray) -> dict[str, int]:
    """Rows of each class without two different rows: none of it could be held out."""
    codes = pd.DataFrame({"label": labels, "hash": hashes}).groupby("label")["hash"].agg(["nunique", "size"])
    return {str(label): int(rows) for label, rows in codes.loc[codes["nunique"] < 2, "size"].items()}


def _within_float32(x: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The table with every number beyond float32 missing, and how many there were by column."""
    beyond: dict[str, int] = {}
    for c in x.columns:
        if not pd.api.types.is_float_dtype(x[c]):
            continue
        far = (x[c].abs() > FLOAT32_MAX).to_numpy(dtype=bool, na_value=False)
        if far.any():
            beyond[c] = int(far.sum())
            x = x.assign(**{c: x[c].where(~far)})
    return x, beyond


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


def _check_few(classes: list[str], target: str) -> None:
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
