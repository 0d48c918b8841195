"""The first step of every pipeline: raw columns to clean ones. The serving bundle's manifest states the same rules.

Numbers become float32 (missing: NaN), booleans 0/1, dates days since 1970-01-01. Categories become text; missing and
unseen ones become the missing token, so that a model knows one kind of "don't know".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import TargetEncoder

from dropforge.inference import derived_columns as computed
from dropforge.inference.bundle_manifest import Calibration, Derived, Regression
from dropforge.inference.calibrate import calibrate
from dropforge.inference.number_steps import NumberStep
from dropforge.inference.prediction_intervals import values
from dropforge.inference.preprocessing import finite, number_text, shape_numbers
from dropforge_training.preprocessing.transforms import NO_STEPS, Steps

MISSING_TOKEN = "(missing)"  # noqa: S105 - a category name, not a credential

_FEWEST_EQUAL_TEXTS = 5  # rows in which a sentence makes a category: of most of them a model gets the words alone


class TableCleaner(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn publishes no types
    """Columns in, clean columns out: `numbers` first, then `categories`.

    Parameters: names of the columns of each kind; by column the texts read as missing besides the empty one; how many
    categories a column may have: rarer ones are as missing, so that free text does not become ten thousand columns;
    by column the steps of settings.yaml (steps.Steps); the columns of `numbers` that are computed from others.
    """

    def __init__(
        self,
        numbers: list[str],
        categories: list[str],
        markers: dict[str, tuple[str, ...]],
        most_categories: int = 100,
        steps: dict[str, Steps] | None = None,
        derived: tuple[Derived, ...] = (),
    ) -> None:
        self.numbers = numbers
        self.categories = categories
        self.markers = markers
        self.most_categories = most_categories
        self.steps = steps
        self.derived = derived

    def fit(self, x: pd.DataFrame, y: Any = None) -> Self:
        """Learn which categories there are: the most frequent ones; among equally frequent ones the first by name.

        y: codes of two classes, or a regression's numbers, for columns of target means; they are 0 without it.
        """
        self._learn(x, y)
        return self

    def _learn(self, x: pd.DataFrame, y: Any) -> dict[str, np.ndarray]:
        """What fit learns; the target means of these rows out of fold, by column."""
        outside: dict[str, np.ndarray] = {}
        derived = []
        for d in self.derived:
            if d.part == "target_mean" and y is not None:
                means, outside[d.name] = self._means(x, d, y)
                derived.append(replace(d, **means))
            else:
                derived.append(d)
        self.fit_derived_ = tuple(derived)
        worded = {d.sources[0] for d in self.derived if d.part == "phrase"}
        self.number_steps_ = {c: self._fitted_steps(x[c], c) for c in self.numbers if self._steps(c).numbers}
        self.known_: dict[str, list[str]] = {}
        self.merged_: dict[str, dict[str, str]] = {}
        self.renamed_: dict[str, dict[str, str]] = {}  # by the training rows, see column_steps.ColumnStep.learns
        for c in self.categories:
            steps = self._steps(c)
            texts, counts = np.unique(self._texts(x[c], c), return_counts=True)
            texts, counts, self.renamed_[c] = _renamed(steps, texts, counts)
            ranked = sorted((-n, t) for t, n in zip(texts, counts, strict=True) if t != MISSING_TOKEN)
            fewest = max(steps.rare_under, _FEWEST_EQUAL_TEXTS if c in worded else 0)
            known = [str(t) for n, t in ranked[: self.most_categories] if -n >= fewest]
            rare = [str(t) for n, t in ranked if -n < steps.rare_under]
            if steps.rare_into:
                known = [*known, steps.rare_into]
            merge = {v: self.renamed_[c].get(into, into) for v, into in steps.merge}
            self.merged_[c] = {**self.renamed_[c], **merge, **dict.fromkeys(rare, steps.rare_into)}
            self.known_[c] = sorted(set(known))
        return outside

    def fit_transform(self, x: pd.DataFrame, y: Any = None, **_given: Any) -> pd.DataFrame:
        """As fit and transform, with target means of the rows out of fold: a row's own target is not in its feature."""
        if type(self).fit is not TableCleaner.fit:
            return self.fit(x, y).transform(x)
        outside = self._learn(x, y)
        clean = self.transform(x)
        for name, means in outside.items():
            clean[name] = means
        return clean

    def _means(self, x: pd.DataFrame, derived: Derived, y: Any) -> tuple[dict[str, Any], np.ndarray]:
        """Means by category with the one of all rows, and the values of these rows out of fold, float32 (Micci-Barreca 2001)."""
        texts = self._texts(x[derived.sources[0]], derived.sources[0]).astype(object)[:, None]
        number = np.asarray(y).dtype.kind == "f"
        folds = (KFold if number else StratifiedKFold)(5, shuffle=True, random_state=0)
        encoder = TargetEncoder(target_type="continuous" if number else "binary", cv=folds)
        outside = np.asarray(encoder.fit_transform(texts, y), dtype=np.float64)[:, 0]
        means = dict(zip(encoder.categories_[0].tolist(), encoder.encodings_[0].tolist(), strict=True))
        return {"means": means, "default": float(encoder.target_mean_)}, outside.astype(np.float32)

    def known_categories(self) -> list[list[str]]:
        """Categories of each category column in order, the missing token last."""
        return [[*self.known_[c], MISSING_TOKEN] for c in self.categories]

    def unseen(self, column: str) -> str:
        """What a category not seen in training becomes: the rare ones' name where there is one, else missing."""
        return self._steps(column).rare_into or MISSING_TOKEN

    def transform(self, x: pd.DataFrame) -> pd.DataFrame:
        """Shape [rows, numbers + categories]; float32 and object columns."""
        derived = {d.name: d for d in self.derived and self.fit_derived_}
        sources = {d.sources[0] for d in derived.values() if d.part in {"target_mean", "phrase"}}
        texts = {c: pd.factorize(self._texts(x[c], c)) for c in sources}  # once, however many columns come of them
        columns: dict[str, Any] = {
            c: self._derived(x, derived[c], texts) if c in derived else self._numbers(x[c], c) for c in self.numbers
        }
        for c in self.categories:
            cells = self._texts(x[c], c)
            if renamed := getattr(self, "renamed_", {}).get(c):  # earlier pickles have none
                cells = np.array([renamed.get(t, t) for t in cells])
            unseen = np.where(cells == MISSING_TOKEN, MISSING_TOKEN, self.unseen(c))
            columns[c] = np.where(pd.Index(cells).isin(self.known_[c]), cells, unseen).astype(object)
        return pd.DataFrame(columns, index=x.index)

    def get_feature_names_out(self, _names: Any = None) -> np.ndarray:
        """Names of the clean columns, as scikit-learn asks for them."""
        return np.array([*self.numbers, *self.categories], dtype=object)

    def _steps(self, column: str) -> Steps:
        return (self.steps or {}).get(column, NO_STEPS)

    def _derived(self, x: pd.DataFrame, derived: Derived, texts: Mapping[str, tuple[np.ndarray, Any]]) -> np.ndarray:
        """`texts`: by source column the code of each row, and the distinct texts that they stand for."""
        if derived.sources[0] in texts:
            codes, distinct = texts[derived.sources[0]]
            return np.asarray(computed.of_texts(derived, list(distinct))[codes])
        return computed.of_dates(derived, {c: _days(x[c]) for c in derived.sources})

    def _numbers(self, values: pd.Series, column: str) -> np.ndarray:
        if pd.api.types.is_datetime64_any_dtype(values):
            return _days(values).astype(np.float32)
        return shape_numbers(self._doubles(values, column), [s for _, s in self.number_steps_.get(column, ())])

    def _doubles(self, values: pd.Series, column: str) -> np.ndarray:
        if self._steps(column).cast == "number":  # texts: what is no number is missing
            values = pd.Series(self._texts(values, column), index=values.index)
        return np.asarray(pd.to_numeric(values, errors="coerce").astype("float64"))

    def _fitted_steps(self, values: pd.Series, column: str) -> tuple[tuple[str, NumberStep], ...]:
        numbers, fitted = finite(self._doubles(values, column)), []
        for name, step in self._steps(column).numbers:
            fitted.append((name, step.fit(numbers)))
            numbers = finite(fitted[-1][1].transform(numbers))
        return tuple(fitted)

    def _texts(self, values: pd.Series, column: str) -> np.ndarray:
        """Stripped texts, shape [rows]; each distinct value is looked at once."""
        missing = {"", *self.markers.get(column, ())}
        steps = self._steps(column)
        codes, distinct = pd.factorize(np.asarray(values, dtype=object))  # code -1: null, which is the last entry
        stripped = [number_text(v) if steps.cast == "category" else str(v).strip(" \t") for v in distinct]
        merged = dict(steps.merge)
        shown = [MISSING_TOKEN if t in missing else merged.get(t, t) for t in stripped] + [MISSING_TOKEN]
        return np.asarray(np.array(shown, dtype=str)[codes])


def _renamed(steps: Steps, texts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Distinct texts and their rows after the steps that rename categories by these rows, and every category that was renamed."""
    renamed: dict[str, str] = {}
    for step in steps.learned:
        rows = {str(t): int(n) for t, n in zip(texts, counts, strict=True) if t != MISSING_TOKEN}
        mapping = dict(step.learns(rows))
        renamed = {**{old: mapping.get(new, new) for old, new in renamed.items()}, **mapping}
        texts, places = np.unique([mapping.get(t, t) for t in texts], return_inverse=True)
        counts = np.bincount(places, weights=counts).astype(np.int64)
    return texts, counts, renamed


def _days(values: pd.Series) -> np.ndarray:
    """Days since 1970-01-01, float64, NaN where missing: by the two divisions of dropforge.value_formats.days."""
    moments = np.asarray(values, dtype="datetime64[us]")
    return np.asarray(np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6 / 86_400))


class LabelledPipeline:
    """A fitted pipeline whose classes are the data's labels, not codes. What MLflow keeps as the model."""

    def __init__(
        self,
        pipeline: Any,
        classes: list[str],
        threshold: float,
        positive: str,
        calibration: Calibration | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.classes_ = np.array(classes, dtype=object)
        self.threshold = threshold
        self.positive = positive
        self.calibration = calibration

    def raw(self, x: pd.DataFrame) -> np.ndarray:
        """What the graph gives: probabilities before calibration, float64, shape [rows, classes], in the order of classes_."""
        return np.asarray(self.pipeline.predict_proba(x), dtype=np.float64)

    def of_raw(self, output: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of what `raw` gives; the shape stays."""
        return calibrate(self.calibration, output)

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        """Calibrated: shape [rows, classes], in the order of classes_."""
        return self.of_raw(self.raw(x))

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Labels: binary by the threshold on the positive class, else the most probable."""
        return decide(self.predict_proba(x), self.classes_, self.threshold, self.positive)


class NumberPipeline:
    """A fitted pipeline that estimates a number, in units of the target. What MLflow keeps as the model of a regression."""

    def __init__(self, pipeline: Any, rule: Regression) -> None:
        self.pipeline = pipeline
        self.rule = rule

    def raw(self, x: pd.DataFrame) -> np.ndarray:
        """What the graph gives: before the inverse transform, float64, shape [rows, 1]."""
        return np.asarray(self.pipeline.predict(x), dtype=np.float64).reshape(-1, 1)

    def of_raw(self, output: np.ndarray) -> np.ndarray:
        """Numbers in units of the target, shape [rows], of what `raw` gives."""
        return values(self.rule, output[:, 0])

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        """Numbers, float64, shape [rows]."""
        return self.of_raw(self.raw(x))


def decide(probabilities: np.ndarray, classes: np.ndarray, threshold: float, positive: str) -> np.ndarray:
    """Labels from probabilities of shape [rows, classes]."""
    if positive:
        at = list(classes).index(positive)
        return np.where(probabilities[:, at] >= threshold, positive, classes[1 - at])
    return np.asarray(classes[np.argmax(probabilities, axis=1)])
