"""Which rows are held out, as `split` of settings.yaml says: as the model will be used.

random   by the row's hash: the same rows in every run, and equal rows on one side.
time     the newest rows: what a model is asked after its training is what comes after it. Rows of one moment stay together.
group    whole groups, by the hash of the group's text: a model is asked for customers, machines, patients it never saw.

How tuning and out-of-fold fits split the other rows by the same rule: folds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dropforge.config.settings import Settings
from dropforge.datasets.table_schema import ROW_HASH, Schema
from dropforge.errors import JobFailed
from dropforge.inference.bundle_manifest import HoldoutRule

BUCKETS = 10_000  # resolution of the held-out share
FEWEST_GROUPS = 5
_FEW_GROUPS = 200  # up to which the share is met by counting groups, not by their hashes' chance
_HASHES = 2.0**64
_UNITS = {"minutes": 60.0, "hours": 3_600.0, "days": 86_400.0, "weeks": 604_800.0}


@dataclass(frozen=True, slots=True)
class Held:
    """`held`: which rows, shape [rows]; `moved`: hashes below the held-out share that are trained on all the same (see both_sides)."""

    held: np.ndarray
    rule: HoldoutRule
    moved: tuple[int, ...] = ()


def share(settings: Settings) -> float:
    """Fraction of the rows, or of the groups, to be held out, where `split.holdout` is no span of time."""
    given = settings.split.holdout
    return given if isinstance(given, float) else settings.training.holdout_share


def span_seconds(settings: Settings) -> float | None:
    """Of a holdout given as a span of time."""
    given = settings.split.holdout
    if not isinstance(given, str):
        return None
    number, _, unit = given.partition(" ")
    return int(number) * _UNITS[unit]


def hold_out(table: pd.DataFrame, codes: np.ndarray, settings: Settings) -> Held:
    """Choose the held-out rows. codes: of each row's class, all 0 of a regression; shape [rows]. Raises JobFailed."""
    time, group, column = times(table, settings), groups(table, settings), settings.split.column or ""
    if time is not None:
        start = _start(time, settings)
        return Held(time >= start, HoldoutRule("time", column, start=start))
    if group is not None:
        limit = _limit(group, settings)
        return Held(group < np.uint64(limit), HoldoutRule("group", column, limit=limit))
    hashes = table[ROW_HASH].to_numpy(dtype=np.uint64)
    below = _below(hashes, share(settings))
    heldout = both_sides(below, hashes, codes)
    return Held(heldout, HoldoutRule("random"), tuple(np.unique(hashes[below & ~heldout]).tolist()))


def unseen(rule: HoldoutRule, below: float, moved: tuple[int, ...], table: pd.DataFrame) -> np.ndarray:
    """Which rows a model that was trained under `rule` cannot have been trained on, shape [rows].

    below, moved: holdout_share and moved_rows of the model's manifest; table: every column of the rows, with their hashes.
    """
    if rule.by == "random":
        hashes = table[ROW_HASH].to_numpy(dtype=np.uint64)
        return np.asarray(_below(hashes, below) & ~np.isin(hashes, np.array(moved, dtype=np.uint64)))
    if rule.column not in table.columns:
        return np.zeros(len(table), dtype=bool)
    if rule.by == "time":
        return np.asarray(_seconds(table[rule.column]) >= rule.start)  # no time: False
    return np.asarray(_group_hashes(table[rule.column], table[ROW_HASH]) < np.uint64(rule.limit))


def _below(hashes: np.ndarray, share: float) -> np.ndarray:
    return np.asarray((hashes % np.uint64(BUCKETS)) < np.uint64(round(share * BUCKETS)))


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


# --- time ----------------------------------------------------------------------------------------------------------------------
def has_time(table: pd.DataFrame, schema: Schema, settings: Settings) -> np.ndarray:
    """Which rows can be split by time, shape [rows]; all of them under another rule. Raises JobFailed for a column of no times."""
    every = np.ones(len(table), dtype=bool)
    column = settings.split.column
    if column is None:
        return every
    if column not in table.columns:
        raise JobFailed(
            f"split.{settings.split.by}: there is no column {column!r}",
            code="split_column",
            fix=f"name one of {', '.join(schema.names[:20])}, or set split.by: random",
        )
    if settings.split.by != "time":
        return every
    kind = schema.column(column).kind
    if kind not in {"datetime", "integer", "number"}:
        raise JobFailed(
            f"split.time: {column!r} is a column of kind {kind}: it does not order the rows",
            code="split_time_kind",
            fix="write its dates as 2024-12-31, name a column of dates or numbers, or set split.by: random",
        )
    if span_seconds(settings) is not None and kind != "datetime":
        raise JobFailed(
            f"split.holdout {settings.split.holdout!r} is a span of time, and {column!r} holds numbers",
            code="split_holdout",
            fix="give a fraction such as 0.2, or name a column of dates",
        )
    known = np.isfinite(_seconds(table[column]))
    if known.mean() < 0.5 if len(known) else True:
        raise JobFailed(
            f"split.time: {column!r} is missing in {int((~known).sum()):,} of {len(known):,} rows",
            code="split_time_missing",
            fix="name a column that says of most rows when they were, or set split.by: random",
        )
    return np.asarray(known)


def times(table: pd.DataFrame, settings: Settings) -> np.ndarray | None:
    """When each row was, float64, shape [rows]; None where rows are not split by time."""
    return _seconds(table[settings.split.time]) if settings.split.time is not None else None


def _seconds(values: pd.Series) -> np.ndarray:
    """Dates as seconds since 1970-01-01, numbers as they are; float64, NaN where missing."""
    if pd.api.types.is_datetime64_any_dtype(values):
        moments = np.asarray(values, dtype="datetime64[us]")
        return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6)
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)


def moment(seconds: float, *, dates: bool) -> str:
    """A time of `times` for people: a day, with the hour where it has one; a number for columns of numbers."""
    if not dates:
        return f"{seconds:g}"
    shown = pd.Timestamp(seconds, unit="s")
    return str(shown.strftime("%Y-%m-%d" if shown == shown.normalize() else "%Y-%m-%d %H:%M"))


def _start(time: np.ndarray, settings: Settings) -> float:
    """The first held-out moment: of those between two moments, the one whose share of rows is nearest to what is wanted."""
    moments, counts = np.unique(time, return_counts=True)
    if len(moments) < 3:
        raise JobFailed(
            f"split.time: {settings.split.time!r} has {len(moments)} different values; three are needed to train, tune and judge",
            code="split_few_times",
            fix="upload rows of a longer period, name another column, or set split.by: random",
        )
    span = span_seconds(settings)
    if span is not None:
        later = moments[moments > moments[-1] - span]
        if len(moments) - len(later) < 2:
            raise JobFailed(
                f"split.holdout {settings.split.holdout!r} leaves fewer than two moments of {settings.split.time!r} to train on",
                code="split_holdout",
                fix="hold out a shorter span, or a fraction such as 0.2",
            )
        return float(later[0])
    newer = np.cumsum(counts[::-1])[::-1] / len(time)  # share of rows from this moment on
    return float(moments[2:][np.argmin(np.abs(newer[2:] - share(settings)))])


# --- groups ----------------------------------------------------------------------------------------------------------------------
def groups(table: pd.DataFrame, settings: Settings) -> np.ndarray | None:
    """Hash of each row's group, uint64, shape [rows]; None where rows are not split by group."""
    return _group_hashes(table[settings.split.group], table[ROW_HASH]) if settings.split.group is not None else None


def _group_hashes(values: pd.Series, rows: pd.Series) -> np.ndarray:
    """First 64 bits of md5 of the value's text; a row without a group is a group of its own."""
    codes, distinct = pd.factorize(np.asarray(values, dtype=object))
    texts = [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in distinct]
    digests = [int.from_bytes(hashlib.md5(t.encode(), usedforsecurity=False).digest()[:8], "big") for t in texts]
    hashes = np.array([*digests, 0], dtype=np.uint64)[codes]
    return np.asarray(np.where(codes < 0, rows.to_numpy(dtype=np.uint64), hashes))


def _limit(group: np.ndarray, settings: Settings) -> int:
    """Groups whose hash is below this are held out: the share of all hashes, of few groups the hash of as many as the share is."""
    distinct = np.unique(group)
    if len(distinct) < FEWEST_GROUPS:
        raise JobFailed(
            f"split.group: {settings.split.group!r} has {len(distinct)} groups; {FEWEST_GROUPS} are needed to train, tune and judge",
            code="split_few_groups",
            fix="upload rows of more groups, name another column, or set split.by: random",
        )
    if len(distinct) > _FEW_GROUPS:
        return int(share(settings) * _HASHES)
    wanted = int(np.clip(round(share(settings) * len(distinct)), 1, len(distinct) - 3))
    return int(distinct[wanted])


def check_classes(labels: np.ndarray, held: np.ndarray, settings: Settings) -> None:
    """Raises JobFailed when the held-out rows have one class only: no score could be told from another."""
    result = np.unique(labels[held])
    if len(result) < 2:
        what = "no row" if not len(result) else f"only the class {str(result[0])!r}"
        raise JobFailed(
            f"the held-out rows (split.by: {settings.split.by}) have {what}",
            code="split_one_class",
            fix="hold out a longer period or more groups (split.holdout), upload more rows, or set split.by: random",
        )
