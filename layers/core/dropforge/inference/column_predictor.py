"""The predictor's rules on whole columns: what `Predictor.predict` does record by record, for files of many rows.

Each distinct value of a text column goes through the predictor's own rule once; numbers are read in one piece. A property
test holds both paths to the same feeds, warnings and refusals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dropforge.errors import InvalidRequest
from dropforge.inference import derived_columns as computed
from dropforge.inference.bundle_manifest import Derived, Feature
from dropforge.inference.predictor import Predictor, is_text, not_of_kind
from dropforge.value_formats import FLOAT32_MAX

PIECE = 8192  # rows of one run of the graph: what it makes of them between its nodes stays in the cache
_FEW_EQUAL = 0.8  # with more distinct rows than this share, sorting them out saves nothing

# A plain array (numbers with NaN, booleans, datetime64 with NaT, objects), or the distinct values and each row's code.
Values = np.ndarray | tuple[Sequence[Any], np.ndarray]


@dataclass(frozen=True, slots=True)
class Scores:
    """`labels` are places in the manifest's classes, shape [rows]; `probabilities` [rows, classes]; warnings are counted.

    Of a regression `labels` are the predicted numbers and `probabilities` the same as a column, shape [rows, 1].
    """

    labels: np.ndarray
    probabilities: np.ndarray
    warnings: Counter[tuple[str, str]]


def predict(predictor: Predictor, columns: Mapping[str, Values], *, threads: int = 1) -> Scores:
    """Score rows given as columns of one length; columns that are no feature are not looked at.

    Rows that are equal in every feature are scored once. The graph runs on pieces of PIECE rows, `threads` at a time.
    Raises InvalidRequest for a missing column, or naming row and column for a value that is not of its kind.
    """
    read = _read(predictor, columns)
    rows = len(next(iter(read.values.values())))
    first, places = _distinct(read, rows)
    pieces = [first[k : k + PIECE] for k in range(0, len(first), PIECE)]

    def run(piece: np.ndarray) -> np.ndarray:
        return predictor.run(read.feeds(predictor, piece))

    if threads > 1 and len(pieces) > 1:
        with ThreadPoolExecutor(threads) as pool:  # a session may be run from several threads; it drops the GIL
            done = list(pool.map(run, pieces))
    else:
        done = [run(p) for p in pieces]
    scored = np.concatenate(done) if done else np.empty((0, max(1, len(predictor.manifest.classes))), np.float32)
    probabilities = scored[places]
    return Scores(predictor.decide(probabilities), probabilities, read.warnings)


def feeds(predictor: Predictor, columns: Mapping[str, Values]) -> dict[str, np.ndarray]:
    """The graph's inputs for every row, as the record path makes them."""
    read = _read(predictor, columns)
    return read.feeds(predictor, np.arange(len(next(iter(read.values.values())))))


@dataclass(frozen=True, slots=True)
class _Read:
    """By feature numbers as the model gets them, or each row's place in `tokens`, the categories that the graph gets."""

    values: dict[str, np.ndarray]
    tokens: dict[str, np.ndarray]
    warnings: Counter[tuple[str, str]]

    def feeds(self, predictor: Predictor, rows: np.ndarray) -> dict[str, np.ndarray]:
        fed: dict[str, np.ndarray] = {}
        for tensor in predictor.manifest.inputs:
            text = is_text(tensor)
            table: np.ndarray = np.empty(
                (len(rows), len(tensor.features)), dtype=object if text else predictor.number_dtype
            )
            for k, name in enumerate(tensor.features):
                column = self.values[name][rows]
                table[:, k] = self.tokens[name][column] if text else column
            fed[tensor.name] = table
        return fed


def _read(predictor: Predictor, columns: Mapping[str, Values]) -> _Read:
    features = {f.name: f for f in predictor.manifest.features}
    absent = [n for n in features if n not in columns]
    if absent:
        raise InvalidRequest(
            f"column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))} missing",
            code="missing_column",
            fix="send every feature; GET /model_info lists them",
        )
    read = _Read({}, {}, Counter())
    for tensor in predictor.manifest.inputs:
        for name in tensor.features:
            derived = predictor.derived(name)
            if derived is not None:
                # Beside the features: rows that float32 rounds to one date may differ in its hour.
                read.values[name] = _derived(predictor, derived, [features[s] for s in derived.sources], columns)
            elif is_text(tensor):
                read.tokens[name], read.values[name] = _texts(predictor, features[name], columns[name], read.warnings)
            else:
                read.values[name] = _numbers(predictor, features[name], columns[name], read.warnings)
    return read


def _derived(
    predictor: Predictor, derived: Derived, sources: Sequence[Feature], columns: Mapping[str, Values]
) -> np.ndarray:
    """A computed column, float32, shape [rows]."""
    if sources[0].kind == "datetime":
        return computed.of_dates(derived, {f.name: _doubles(predictor, f, columns[f.name]) for f in sources})
    distinct, codes, first = _coded(columns[sources[0].name])
    texts = [predictor.plain_text(sources[0], v) if first[i] < len(codes) else "" for i, v in enumerate(distinct)]
    return np.asarray(computed.of_texts(derived, texts)[codes])


def _distinct(read: _Read, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which each is the first of its equals, and for every row its equal's place among them.

    By a 64-bit hash over the columns (the multiply and shift of splitmix64), then compared value for value; should two
    rows differ after all, or few be equal, every row stands for itself.
    """
    every = np.arange(rows)
    keys = np.zeros(rows, dtype=np.uint64)
    for column in read.values.values():
        word = _bits(column)
        keys = (keys ^ word.astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
        keys ^= keys >> np.uint64(29)
    _, first, places = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) > _FEW_EQUAL * rows:
        return every, every
    for column in read.values.values():
        word = _bits(column)
        if not np.array_equal(word, word[first][places]):
            return every, every
    return first, places


def _bits(column: np.ndarray) -> np.ndarray:
    """Numbers as the integers of the same bits: NaN equals itself there."""
    if column.dtype.kind != "f":
        return column
    return column.view(np.uint32 if column.dtype == np.float32 else np.uint64)


def _numbers(predictor: Predictor, feature: Feature, values: Values, warnings: Counter[tuple[str, str]]) -> np.ndarray:
    wide = _doubles(predictor, feature, values)
    beyond = np.abs(wide) > FLOAT32_MAX
    if beyond.any():
        row = int(np.argmax(beyond))
        raise not_of_kind(feature, float(wide[row]), row)
    _count(warnings, "missing", feature, np.isnan(wide))
    if feature.minimum is not None and feature.maximum is not None:
        with np.errstate(invalid="ignore"):
            outside = (wide < feature.minimum) | (wide > feature.maximum)
            if outside.any():  # is_outside: a limit that float32 rounded is what was rounded to it
                rounded = wide.astype(np.float32)
                outside &= (rounded < np.float32(feature.minimum)) | (rounded > np.float32(feature.maximum))
            _count(warnings, "out_of_range", feature, outside)
    if predictor.raw:
        return wide
    return predictor.shape(feature, wide)


def _doubles(predictor: Predictor, feature: Feature, values: Values) -> np.ndarray:
    """Every value in double precision, NaN where missing; shape [rows]. Raises InvalidRequest as the predictor does."""
    wide = _wide(feature, values)
    if wide is not None:
        for number in predictor.missing_numbers(feature):
            wide[wide == number] = np.nan
        return wide
    distinct, codes, first = _coded(values)
    read = np.full(len(distinct), np.nan)
    for i, value in enumerate(distinct):
        if first[i] < len(codes):
            read[i] = predictor.number(feature, value, int(first[i]))
    return np.asarray(read[codes])


def _wide(feature: Feature, values: Values) -> np.ndarray | None:
    """Double precision of a plain array whose type is the feature's; None for anything to be read value by value."""
    if isinstance(values, tuple):
        return None
    kind = values.dtype.kind
    if feature.kind == "boolean":
        # Numbers that are neither 0 nor 1 are refused value by value.
        plain = kind == "b" or (kind in "fiu" and bool(np.all((values == 0) | (values == 1) | (values != values))))  # noqa: PLR0124 - NaN
        return values.astype(np.float64) if plain else None
    if kind in "fiu" and feature.kind != "datetime":
        return values.astype(np.float64)
    if kind == "M" and feature.kind == "datetime":
        # The two divisions of datetime.timestamp() / 86400, so that not even the last bit differs.
        seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.asarray(np.where(np.isnat(values), np.nan, seconds / 86_400))
    return None


def _texts(
    predictor: Predictor, feature: Feature, values: Values, warnings: Counter[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """The categories the graph gets for each distinct value, and each row's place among them."""
    distinct, codes, first = _coded(values)
    often = np.bincount(codes, minlength=len(distinct))
    read = np.empty(len(distinct), dtype=object)
    for i, value in enumerate(distinct):
        if first[i] < len(codes):
            messages: list[dict[str, Any]] = []
            read[i] = predictor.read_text(feature, value, int(first[i]), messages)
            for warning in messages:
                warnings[warning["code"], feature.name] += int(often[i])
    return read, codes


def _coded(values: Values) -> tuple[Sequence[Any], np.ndarray, np.ndarray]:
    """Distinct values, each row's code, and the first row of each value (the number of rows for one that does not occur)."""
    if isinstance(values, tuple):
        distinct, codes = values
    elif values.dtype.kind == "O":
        known: dict[Any, int] = {}
        codes = np.empty(len(values), dtype=np.int64)
        for row, value in enumerate(values):
            # 1, 1.0 and True are one key of a dict and three values; lists cannot be keys at all
            key = (type(value), value if isinstance(value, str | int | float | None) else id(value))
            codes[row] = known.setdefault(key, len(known))
        distinct = _at_first(values, codes, len(known))
    else:
        unique, codes = np.unique(values, return_inverse=True)
        distinct = unique.tolist()
    first = np.full(len(distinct), len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return distinct, codes, first


def _at_first(values: np.ndarray, codes: np.ndarray, count: int) -> list[Any]:
    at = np.zeros(count, dtype=np.int64)
    at[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return [values[i] for i in at]


def _count(warnings: Counter[tuple[str, str]], code: str, feature: Feature, hit: np.ndarray) -> None:
    number = int(np.count_nonzero(hit))
    if number:
        warnings[code, feature.name] += number
