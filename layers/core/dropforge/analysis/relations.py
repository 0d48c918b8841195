"""What the pairs of columns tell: relations that changed, labels that got noisy, features that leak or repeat each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any

from dropforge.analysis import pairs
from dropforge.analysis import statistics as st
from dropforge.analysis.facts import Association, Finding, Matrix
from dropforge.analysis.profile import Profile, Sums
from dropforge.settings import AnalysisSettings, DataSettings

JOINT_EFFECT = 0.05  # share of rows that must sit elsewhere before a changed relation is worth a word
_LEAK = 0.95
_TELLING = 0.1  # features below this strength tell too little of the target to judge the labels by
_WEAKER = 0.93  # median of new over old strength
_KEPT = 40
_PICTURED = 20


def associations(
    reference: Profile | None, new: Profile, data: DataSettings, settings: AnalysisSettings
) -> list[Association]:
    """Every pair; without a reference only how strong it is."""
    widths = {a.name: a.size for a in new.pairs.axes}
    numbers = {c.name for c in new.columns if c.binned and c.kind != "datetime"}
    products = {(s.first, s.second): s.pearson for s in new.products}
    known = {(p.first, p.second): p for p in new.pairs.pairs}

    def described(first: str, second: str, **facts: Any) -> Association:
        pair = known[first, second]
        both = first in numbers and second in numbers
        feature = first if second == data.target else second if first == data.target else ""
        pearson = products.get((first, second), products.get((second, first))) if both else None
        if feature in numbers:
            pearson = _with_positive(new, feature, data.positive_class)
        return Association(
            first=first,
            second=second,
            pearson=pearson,
            spearman=pairs.spearman(pair.counts, widths[second]) if both else None,
            ratio=_ratio(new, feature) if feature in numbers else None,
            **facts,
        )

    if reference is None:
        return [
            described(p.first, p.second, strength=pairs.cramers_v(p.counts, widths[p.second])) for p in new.pairs.pairs
        ]
    changes = pairs.compare(reference.pairs, new.pairs)
    significant = st.benjamini_hochberg([c.p_value for c in changes], settings.false_discovery_rate)
    return [
        described(
            c.first,
            c.second,
            strength=c.after,
            strength_reference=c.before,
            p_value=c.p_value,
            effect=c.effect,
            changed=rejected and c.effect >= JOINT_EFFECT,
        )
        for c, rejected in zip(changes, significant, strict=True)
    ]


def _ratio(profile: Profile, feature: str) -> float | None:
    """Correlation ratio η (Pearson 1905): root of the share of the number's variance that lies between the classes."""
    groups = [s for s in profile.by_class if s.first == feature and s.n]
    n, total, squares = sum(s.n for s in groups), sum(s.x for s in groups), sum(s.xx for s in groups)
    whole = squares - total * total / n if n else 0.0
    if len(groups) < 2 or whole <= 1e-12 * abs(squares):
        return None
    between = sum(s.x * s.x / s.n for s in groups) - total * total / n
    return math.sqrt(max(0.0, min(1.0, between / whole)))


def _with_positive(profile: Profile, feature: str, positive: str | None) -> float | None:
    """Pearson (point-biserial) correlation of a number with the positive class of a binary target."""
    groups = [s for s in profile.by_class if s.first == feature and s.n]
    if len(groups) != 2:
        return None
    ones = next((s for s in groups if s.group == positive), max(groups, key=lambda s: s.group))
    n = sum(s.n for s in groups)
    sums = {f: sum(getattr(s, f) for s in groups) for f in ("x", "xx")}
    return Sums(first=feature, n=n, y=ones.n, yy=ones.n, xy=ones.x, **sums).pearson


def matrix(found: list[Association], target: str) -> Matrix:
    """The target and the columns most tied to others, for a picture of at most `_PICTURED` columns."""
    weight: dict[str, float] = {}
    for a in found:
        for name in (a.first, a.second):
            weight[name] = weight.get(name, 0.0) + a.strength
    names = sorted(weight, key=lambda n: (n != target, -weight[n]))[:_PICTURED]
    strength = {(a.first, a.second): a.strength for a in found} | {(a.second, a.first): a.strength for a in found}
    rows = tuple(tuple(1.0 if a == b else round(strength.get((a, b), 0.0), 3) for b in names) for a in names)
    return Matrix(columns=tuple(names), strengths=rows)


def shown(found: list[Association], target: str) -> tuple[Association, ...]:
    """The ones a report lists: changed first, then with the target, then the strongest."""
    order = sorted(found, key=lambda a: (not a.changed, target not in {a.first, a.second}, -a.strength))
    return tuple(order[:_KEPT])


def findings(
    found: list[Association], drifted: set[str], data: DataSettings, settings: AnalysisSettings
) -> Iterator[Finding]:
    """Findings about pairs, for the report's one list.

    A column that drifted by itself moves its relations too; only pairs of columns that look the same alone are told.
    """
    quiet = drifted | {data.target}
    yield from _changed([a for a in found if a.changed and not quiet & {a.first, a.second}])
    yield from _labels(found, data, settings)
    for a in found:
        if data.target in {a.first, a.second}:
            feature = a.first if a.second == data.target else a.second
            if a.strength >= _LEAK and feature not in data.ignore:
                yield Finding(
                    kind="leakage",
                    severity="warn",
                    columns=(feature,),
                    title=f"{feature} gives {data.target} away",
                    evidence=f"Cramér's V {a.strength:.2f}: nearly the same information",
                    suggestion=f"Is {feature} known before {data.target} is? If not, add it to data.ignore.",
                    weight=6,
                    processing={"drop": [feature]},
                )
        elif a.strength >= settings.strong_correlation and not {a.first, a.second} & set(data.ignore):
            yield Finding(
                kind="strong_association",
                severity="info",
                columns=(a.first, a.second),
                title=f"{a.first} and {a.second} say nearly the same",
                evidence=f"Cramér's V {a.strength:.2f}",
                suggestion=f"Consider dropping {a.second}: same information as {a.first}.",
                processing={"drop": [a.second]},
            )


def _changed(changed: list[Association]) -> Iterator[Finding]:
    """One finding for each column at the centre of changed relations, not one for each pair."""
    left = list(changed)
    while left:
        names = [n for a in left for n in (a.first, a.second)]
        centre = max(names, key=names.count)
        own = sorted((a for a in left if centre in {a.first, a.second}), key=lambda a: -a.effect)
        left = [a for a in left if a not in own]
        others = [a.second if a.first == centre else a.first for a in own]
        first = own[0]
        listed = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        yield Finding(
            kind="joint_drift",
            severity="warn",
            columns=(centre, *others),
            title=f"{centre} relates differently to {listed}",
            evidence=(
                f"with {others[0]}: Cramér's V {first.strength_reference:.2f} → {first.strength:.2f}, "
                f"{first.effect:.1%} of the rows moved beyond chance; the single columns need not have changed"
            ),
            suggestion=f"Was {centre} joined, shifted or recoded on its own? Compare a few rows with the source.",
            weight=4 + min(3.0, 10 * first.effect),
        )


def _labels(found: list[Association], data: DataSettings, settings: AnalysisSettings) -> Iterator[Finding]:
    """Labels swapped at random weaken every feature's association with the target alike, and change no column."""
    telling = [
        a
        for a in found
        if data.target in {a.first, a.second} and (a.strength_reference or 0) >= _TELLING and a.p_value is not None
    ]
    if len(telling) < 3:
        return
    ratio = median(a.strength / (a.strength_reference or 1.0) for a in telling)
    rejected = st.benjamini_hochberg([a.p_value or 0.0 for a in telling], settings.false_discovery_rate)
    if ratio < _WEAKER and sum(rejected) * 2 >= len(telling):
        yield Finding(
            kind="labels_weakened",
            severity="critical",
            columns=(data.target,),
            title=f"The labels in {data.target} are noisier than before",
            evidence=(
                f"{sum(rejected)} of {len(telling)} telling features are tied to {data.target} differently; "
                f"the typical tie has {1 - ratio:.0%} less strength than in the reference"
            ),
            suggestion=f"Have labels been swapped or filled in? Check {data.target} against its source before training.",
            weight=8,
        )
