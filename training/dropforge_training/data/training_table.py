"""A dataset manifest as features, labels and the held-out split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dropforge.config.missing_markers import missing_texts
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge.errors import JobFailed
from dropforge.inference.bundle_manifest import RANDOM, Derived, HoldoutRule
from dropforge.inference.prediction_intervals import forward
from dropforge.inference.preprocessing import number_text
from dropforge.inference.row_rules import RowRule
from dropforge.ports import ObjectStore
from dropforge.value_formats import BLANKS, FLOAT32_MAX, boolean, moment, number, spellings
from dropforge_training.data import holdout_split
from dropforge_training.preprocessing import derived_columns
from dropforge_training.preprocessing import transforms as steps
from dropforge_training.preprocessing.transforms import Steps

_MOST_CLASSES = 100


@dataclass(frozen=True, slots=True)
class Table:
    """Features with labels as codes, or of a regression with numbers. `row` are the row hashes, shape [rows].

    `time`: when each row was, in seconds or in the column's own unit, where rows are split by time; `group`: hash of each row's
    group, where they are split by group; `weight`: how much each row counts. None of the others: see splits.
    """

    x: pd.DataFrame
    y: np.ndarray
    row: np.ndarray
    time: np.ndarray | None = None
    group: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def is_number(self) -> bool:
        """Whether y are a regression's numbers."""
        return bool(self.y.dtype.kind == "f")

    def weights_at(self, rows: np.ndarray) -> np.ndarray | None:
        """Of the rows at these places; None: all rows count alike."""
        return None if self.weight is None else self.weight[rows]

    def at(self, rows: np.ndarray) -> Table:
        """The rows at these places, or where this is true, renumbered."""
        parts = (None if v is None else v[rows] for v in (self.time, self.group, self.weight))
        return Table(self.x.iloc[rows].reset_index(drop=True), self.y[rows], self.row[rows], *parts)


_HASHES = 2**64


@dataclass(frozen=True, slots=True)
class BeyondMemory:
    """A data set of more rows than a job holds in memory (training.rows_in_memory), of which it holds a sample.

    `files`: the Parquet parts on disk; `limit`: rows whose hash is below it are in the sample; `rows`: of all parts.
    """

    files: tuple[Path, ...]
    schema: Schema
    settings: Settings
    limit: int
    rows: int

    def sample(self, hashes: np.ndarray) -> np.ndarray:
        """Which rows are in the sample: equal rows together. The held-out share and folds go by the lower digits of the hash."""
        return np.asarray(hashes < np.uint64(self.limit))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Training and held-out rows with what was decided about them."""

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
    transform: str = ""  # of a regression's target, see dropforge.inference.prediction_intervals
    center: float = 0.0  # of a regression: mean of its transformed target over the training rows
    of_the_mean: bool = False  # of a regression on a logarithm: models of the mean's logarithm are worth their time
    split: HoldoutRule = RANDOM
    undated: int = 0  # rows left out because they have no time to be split by
    unweighted: int = 0  # rows left out because they have no weight
    class_weights: np.ndarray | None = None  # by code, how much a row of the class counts in fits; None: all alike
    derived: tuple[Derived, ...] = ()  # columns that models compute from the features (derive)
    clock: tuple[str, ...] = ()  # features that models get by derived columns alone (fit.clock_columns)
    monotone: Mapping[str, int] = field(default_factory=dict)  # by column 1: predictions rise with it, -1: they fall
    rules: tuple[RowRule, ...] = ()  # what the newest rows were held to, of those whose columns are all features
    beyond_memory: BeyondMemory | None = None  # where all of the above are of a sample; None: of all rows

    @property
    def regression(self) -> bool:
        """Whether the target is a number to estimate."""
        return not self.classes

    def fitted(self, y: np.ndarray) -> np.ndarray:
        """What a model is fitted on: codes as they are, numbers after the transform and less their mean."""
        return forward(self.transform, y) - self.center if self.regression else y

    def fit_weights(self, rows: Table) -> np.ndarray | None:
        """How much each row counts in a fit, shape [rows]: its own weight, times its class's. None: all alike."""
        if self.class_weights is None:
            return rows.weight
        by_class = self.class_weights[rows.y]
        return np.asarray(by_class if rows.weight is None else rows.weight * by_class)

    def signs(self, columns: int, numbers: Sequence[str]) -> tuple[int, ...]:
        """For each column of a model's matrix how predictions may move with it: 1, -1, or 0 for freely. Numbers come first.

        Of classes it is about the positive one; models predict the one of code 1.
        """
        turned = -1 if self.positive and self.classes.index(self.positive) == 0 else 1
        matches = [turned * self.monotone.get(n, 0) for n in numbers]
        return (*matches, *([0] * (columns - len(matches)))) if any(matches) else ()

    def markers(self, settings: Settings) -> dict[str, tuple[str, ...]]:
        """By column the texts that mean missing."""
        return {c.name: markers_of(settings, c.name) for c in self.features}


def markers_of(settings: Settings, column: str) -> tuple[str, ...]:
    """Texts read as missing in this column, as admission reads it."""
    return (*missing_texts(settings.data, column), *spellings(steps.markers(settings.processing, column)))


def load(store: ObjectStore, manifest: DatasetManifest, settings: Settings, workdir: Path) -> TrainingData:
    """Read every part, check its sha256, and hold out rows as `split` of settings.yaml says (see holdout_split).

    A class whose rows all fell to one side keeps one on the other (see holdout_split.both_sides; by time or group, a class that the
    training rows lack is left out); rows of a class that cannot stand on both are left out, and numbers beyond float32 are
    missing: what an earlier version accepted stops no training. Of more rows than training.rows_in_memory a sample of so many is
    held, the same in every run; the files stay in `workdir` for rows_beyond_memory. Raises JobFailed when a part was altered,
    when fewer than two classes are left, and when the rows cannot be split so.
    """
    files = tuple(_part(store, part, workdir / f"part-{i}.parquet") for i, part in enumerate(manifest.parts))
    larger = _beyond_memory(files, manifest, settings)
    frames = [as_declared(_sampled(file, larger), manifest.data_schema) for file in files]
    table, origin, repeated = _joined(frames)
    usable = _usable(table, origin, manifest.data_schema, settings)
    split = _numbers_split(usable, settings) if settings.data.task == "regression" else _classes_split(usable, settings)
    labelled, heldout, classes = split.rows.table, split.heldout, split.classes
    features = _features(manifest.data_schema, settings)
    x, beyond = within_float32(labelled[[c.name for c in features]])
    every = Table(
        x,
        split.y,
        labelled[ROW_HASH].to_numpy(dtype=np.uint64),
        holdout_split.times(labelled, settings),
        holdout_split.groups(labelled, settings),
        _weights(labelled, settings),
    )
    sensitive = [c for c in settings.data.sensitive if c in labelled.columns]
    return TrainingData(
        every.at(~heldout),
        every.at(heldout),
        classes,
        split.positive,
        features,
        usable.unlabelled,
        len(table),
        steps.by_column(settings.processing, features),
        labelled.loc[heldout, sensitive].reset_index(drop=True),
        labelled.loc[heldout].reset_index(drop=True),
        split.rows.origin[heldout] == len(frames) - 1 if len(frames) > 1 else None,
        repeated,
        split.moved,
        split.dropped,
        beyond,
        split=split.rule,
        undated=usable.undated,
        unweighted=usable.unweighted,
        class_weights=_class_weights(settings, classes, split.y[~heldout]),
        derived=derived_columns.columns(
            x[~heldout], split.y[~heldout], features, settings, two_classes=len(classes) in {0, 2}
        ),
        monotone=_monotone(settings, features, split.positive),
        rules=_rules(manifest, features),
        beyond_memory=larger,
    )


def _beyond_memory(files: tuple[Path, ...], manifest: DatasetManifest, settings: Settings) -> BeyondMemory | None:
    most = settings.training.rows_in_memory
    if manifest.rows <= most:
        return None
    return BeyondMemory(files, manifest.data_schema, settings, _HASHES * most // manifest.rows, manifest.rows)


def _sampled(file: Path, beyond: BeyondMemory | None) -> pd.DataFrame:
    """The rows of a part, or those of them that are in the sample: batch by batch, so that no more are in memory."""
    if beyond is None:
        return pd.read_parquet(file)
    batches = pq.ParquetFile(file)
    sampled = [
        b.filter(pa.array(beyond.sample(np.asarray(b.column(ROW_HASH), dtype=np.uint64))))
        for b in batches.iter_batches()
    ]
    frame: pd.DataFrame = pa.Table.from_batches(sampled, batches.schema_arrow).to_pandas()
    return frame


@dataclass(frozen=True, slots=True)
class _Usable:
    """Rows with a target, and with a time and a weight where these are asked for.

    `target`: the classes as text, or a regression's numbers, shape [rows]; `origin`: the part that each row came with; then the
    counts of rows that lack something.
    """

    table: pd.DataFrame
    origin: np.ndarray
    target: np.ndarray
    unlabelled: int
    undated: int
    unweighted: int

    def at(self, rows: np.ndarray) -> _Usable:
        """The rows where this is true."""
        return replace(self, table=self.table[rows], origin=self.origin[rows], target=self.target[rows])


@dataclass(frozen=True, slots=True)
class _Split:
    """Rows with what a model is fitted on (`y`: codes of `classes`, or numbers) and which of them are held out, shape [rows]."""

    rows: _Usable
    y: np.ndarray
    heldout: np.ndarray
    rule: HoldoutRule
    moved: tuple[int, ...]
    classes: list[str] = field(default_factory=list)
    positive: str = ""
    dropped: dict[str, int] = field(default_factory=dict)


def _usable(table: pd.DataFrame, origin: np.ndarray, schema: Schema, settings: Settings) -> _Usable:
    target = settings.data.target
    known = table[target].notna().to_numpy()
    labelled, origin = table[known], origin[known]
    dated = holdout_split.has_time(labelled, schema, settings)
    weighted = _has_weight(labelled, settings)
    usable = dated & weighted
    labelled, origin = labelled[usable], origin[usable]
    if settings.data.task == "regression":
        values, finite = _numbers(labelled[target], target)
        labelled, origin = labelled[finite], origin[finite]
    else:
        values = labels(labelled[target], schema.column(target))
    return _Usable(labelled, origin, values, int((~known).sum()), int((~dated).sum()), int((~weighted).sum()))


def _numbers_split(rows: _Usable, settings: Settings) -> _Split:
    chosen = holdout_split.hold_out(rows.table, np.zeros(len(rows.target), dtype=np.int64), settings)
    return _Split(rows, rows.target, chosen.held, chosen.rule, chosen.moved)


def _classes_split(rows: _Usable, settings: Settings) -> _Split:
    """Without classes that cannot stand on both sides: those of equal rows only, and those that no training row has."""
    target = settings.data.target
    _check_few(sorted(set(rows.target)), target)
    dropped = _lone_classes(rows.target, rows.table[ROW_HASH].to_numpy(dtype=np.uint64))
    if dropped:
        rows = rows.at(~pd.Index(rows.target).isin(list(dropped)))
    _check_classes(sorted(set(rows.target)), target)
    codes = np.unique(rows.target, return_inverse=True)[1].astype(np.int64)
    chosen = holdout_split.hold_out(rows.table, codes, settings)
    heldout = chosen.held
    in_training = np.zeros(codes.max() + 1, dtype=bool)
    in_training[codes[~heldout]] = True
    unknown = heldout & ~in_training[codes]  # by time or group: classes that came later, or in those groups only
    if unknown.any():
        names, counts = np.unique(rows.target[unknown], return_counts=True)
        dropped |= {str(n): int(c) for n, c in zip(names, counts, strict=True)}
        rows, heldout = rows.at(~unknown), heldout[~unknown]
    classes = sorted(set(rows.target))
    _check_classes(classes, target)
    holdout_split.check_classes(rows.target, heldout, settings)
    y = np.searchsorted(np.array(classes, dtype=object), rows.target).astype(np.int64)
    return _Split(rows, y, heldout, chosen.rule, chosen.moved, classes, _positive(classes, settings), dropped)


def _features(schema: Schema, settings: Settings) -> tuple[Column, ...]:
    """Columns that models are trained on. Raises JobFailed when there are none."""
    unused = {
        settings.data.target,
        settings.data.weight,
        *settings.data.ignore,
        *steps.dropped(settings.processing),
    }
    features = tuple(c for c in schema.columns if c.name not in unused)
    if not features:
        raise JobFailed(
            "no column is left to predict from", code="no_features", fix="ignore fewer columns in settings.yaml"
        )
    return features


def _rules(manifest: DatasetManifest, features: Sequence[Column]) -> tuple[RowRule, ...]:
    """The rules that a request can be held to: it sends features only."""
    names = {c.name for c in features}
    rules = (RowRule.from_json(r) for r in manifest.rules)
    return tuple(r for r in rules if set(r.columns) <= names)


def _part(store: ObjectStore, part: Part, path: Path) -> Path:
    """Where one part of the dataset was stored. Raises JobFailed when it is not the file that its manifest names."""
    store.download(part.uri, path)
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    if digest != part.sha256:
        raise JobFailed(
            f"{part.uri} is not the file its manifest names",
            code="part_altered",
            fix="restore the object's first version",
        )
    return path


def _weights(table: pd.DataFrame, settings: Settings) -> np.ndarray | None:
    """How much each row counts, float64, shape [rows]; None: all alike. Raises JobFailed for a column that has no weights."""
    column = settings.data.weight
    if column is None:
        return None
    if column not in table.columns:
        raise JobFailed(
            f"data.weight: there is no column {column!r}",
            code="weight_column",
            fix=f"name one of {', '.join(map(str, table.columns[:20]))}",
        )
    weights = np.asarray(pd.to_numeric(table[column], errors="coerce"), dtype=np.float64)
    if (weights < 0).any() or not np.nansum(weights) > 0:
        raise JobFailed(
            f"data.weight: {column!r} holds {'numbers below 0' if (weights < 0).any() else 'no number above 0'}",
            code="weight_invalid",
            fix="a weight says how much a row counts: 0 or more; correct the column, or name another one",
        )
    return weights


def _class_weights(settings: Settings, classes: list[str], y: np.ndarray) -> np.ndarray | None:
    """By code. `balanced`: rows / (classes · rows of the class), as scikit-learn has it. Raises JobFailed for an unknown class."""
    given = settings.training.class_weights
    if given is None or not classes:
        return None
    if given == "balanced":
        counts = np.bincount(y, minlength=len(classes))
        return np.asarray(len(y) / (len(classes) * np.maximum(counts, 1)))
    assert isinstance(given, dict)  # noqa: S101 - settings allow nothing else
    unknown = set(given) - set(classes)
    if unknown:
        raise JobFailed(
            f"training.class_weights: {', '.join(sorted(unknown))} is no class of the target",
            code="class_weights",
            fix=f"classes are {', '.join(classes[:20])}",
        )
    return np.array([given.get(c, 1.0) for c in classes])


def _monotone(settings: Settings, features: Sequence[Column], positive: str) -> dict[str, int]:
    """Raises JobFailed for a column that is no number the models see, and for a target of more than two classes."""
    given = settings.data.monotone
    kinds = {c.name: c.kind for c in features}
    for column in given:
        if kinds.get(column) not in {"integer", "number", "datetime", "boolean"}:
            raise JobFailed(
                f"data.monotone: {column!r} is {'a column of texts' if column in kinds else 'no column the models see'}",
                code="monotone_column",
                fix="name columns of numbers or dates that are not ignored",
            )
    if given and settings.data.task == "classification" and not positive:
        raise JobFailed(
            "data.monotone: the target has more than two classes, of which no probability can be monotone",
            code="monotone_classes",
            fix="remove data.monotone, or choose a target with two classes or a number",
        )
    return {c: 1 if way == "increasing" else -1 for c, way in given.items()}


def _has_weight(table: pd.DataFrame, settings: Settings) -> np.ndarray:
    """Whether each row has a weight, shape [rows]."""
    weights = _weights(table, settings)
    return np.ones(len(table), dtype=bool) if weights is None else np.isfinite(weights) & (weights > 0)


def as_declared(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
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


def within_float32(x: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
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


def _joined(frames: list[pd.DataFrame]) -> tuple[pd.DataFrame, np.ndarray, int]:
    """All parts as one table, the part of each row, and how many rows were left out.

    A row sent again with a later upload counts once; equal rows within one upload are as many as they are. So a row's
    n-th copy in a part is left out when an earlier part has n copies too.
    """
    table = pd.concat(frames, ignore_index=True)
    part = np.repeat(np.arange(len(frames)), [len(f) for f in frames])
    if len(frames) == 1:
        return table, part, 0
    again = sent_again(table[ROW_HASH], part)
    return table[~again].reset_index(drop=True), part[~again], int(again.sum())


def sent_again(hashes: pd.Series, part: np.ndarray) -> np.ndarray:
    """Which rows of these hashes an earlier part has, shape [rows]; `part`: the number of each row's part."""
    copy = hashes.groupby([part, hashes], sort=False).cumcount()
    return np.asarray(pd.DataFrame({"row": hashes, "copy": copy}).duplicated())


def labels(values: pd.Series, column: Column) -> np.ndarray:
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
