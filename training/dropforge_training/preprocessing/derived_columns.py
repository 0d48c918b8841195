"""Which columns models compute from the features: decided once, on the training rows, before anything is fitted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import chi2, f_regression

from dropforge.config.settings import Settings
from dropforge.datasets.table_schema import Column
from dropforge.inference.bundle_manifest import Derived
from dropforge.inference.derived_columns import DATE_PARTS
from dropforge_training.preprocessing import transforms

_MOST_PAIRS = 3  # of date columns
_MANY = 100  # categories: as many columns as the one-hot encoding has (processing.TableCleaner)
# Categories from which target means are added. On 15 tables with categories the error of a booster changed by -14 % (onion_prices) and
# -2 % (ames) with means from 20 categories on, elsewhere by less than its noise; means of fewer categories gained nothing more.
_LEAST_MEANS = 20
_MOST_MEANS = 20_000  # categories whose means a bundle stores
_FEWEST_PER_CATEGORY = 2.0  # rows in the mean: fewer, and a category is hardly met again
_FEWEST_WORDS = 3.0  # in the mean: fewer, and a text is a name
_PHRASES_TRIED = 3_000  # the most frequent ones of a column, among which those that tell most of the target are chosen


def columns(
    x: pd.DataFrame, y: np.ndarray, features: Sequence[Column], settings: Settings, *, two_classes: bool
) -> tuple[Derived, ...]:
    """Parts of dates that vary, days between pairs of dates, target means, and words, of the training rows x with targets y.

    y: codes of classes, or a regression's numbers (float64); shape [rows]. two_classes: whether target means are of one number:
    of a regression or the second of two classes.
    """
    changed = transforms.by_column(settings.processing, features)
    plain = [c for c in features if not (c.name in changed and changed[c.name].cast)]
    dates = [c.name for c in plain if c.kind == "datetime" and x[c.name].notna().any()]
    texts = [c.name for c in plain if c.kind in {"category", "text"}]
    matches: list[Derived] = []
    if settings.training.derived_columns:
        for date in dates:
            matches += [
                Derived(f"{date} ({p.replace('_', ' ')})", p, (date,)) for p in DATE_PARTS if _varies(x[date], p)
            ]
        for a, b in list(itertools.combinations(dates, 2))[:_MOST_PAIRS]:
            matches.append(Derived(f"days from {a} to {b}", "elapsed", (a, b)))
        if two_classes:
            matches += [Derived(f"{c} (target mean)", "target_mean", (c,)) for c in texts if _has_target_means(x[c])]
    matches += _phrases(x, y, texts, settings.training.phrases)
    taken = set(x.columns)
    return tuple(d for d in matches if d.name not in taken)


def _varies(values: pd.Series, part: str) -> bool:
    moments = values.dropna().dt
    parts = {"hour": moments.hour, "weekday": moments.weekday, "month": moments.month}.get(part, moments.dayofyear)
    return bool(parts.nunique() > 1)


def _has_target_means(values: pd.Series) -> bool:
    known = values.dropna()
    distinct = known.nunique()
    return bool(_LEAST_MEANS <= distinct <= _MOST_MEANS and len(known) >= _FEWEST_PER_CATEGORY * distinct)


def _phrases(x: pd.DataFrame, y: np.ndarray, texts: Sequence[str], most: int) -> list[Derived]:
    """Words and pairs of words of columns of free text that tell most of the target by themselves, at most `most` in all."""
    free = [c for c in texts if _is_free_text(x[c])] if most else []
    matches = []
    for c in free:
        counter = CountVectorizer(
            ngram_range=(1, 2), binary=True, min_df=5, max_df=0.9, max_features=_PHRASES_TRIED, dtype=np.float64
        )
        try:
            occurs = counter.fit_transform(x[c].fillna("").astype(str))
        except ValueError:  # no word is in five rows
            continue
        scores = np.nan_to_num((f_regression if y.dtype.kind == "f" else chi2)(occurs, y)[0], nan=0.0)
        names = counter.get_feature_names_out()
        best = names[np.lexsort((names, -scores))[: max(1, most // len(free))]]
        matches += [Derived(f"{c}: {p}", "phrase", (c,), phrase=p) for p in sorted(best.tolist())]
    return matches


def _is_free_text(values: pd.Series) -> bool:
    known = values.dropna().astype(str)
    if len(known) < 20 or known.nunique() <= max(_MANY, 0.2 * len(known)):
        return False
    words = known.iloc[:2000].str.count(r"\b\w\w+\b")
    return float(np.mean(words)) >= _FEWEST_WORDS
