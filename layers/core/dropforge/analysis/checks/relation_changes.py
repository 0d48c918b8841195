"""Associations of pairs of columns: how strong they are, which changed, and what missing values tell of the target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from dropforge.analysis import column_pairs
from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.silent_changes import Tested
from dropforge.analysis.data_profile import Profile, Sums
from dropforge.analysis.report_model import Association, Finding, Matrix
from dropforge.config.settings import DataSettings

JOINT_EFFECT = 0.05  # share of rows that must sit elsewhere before a changed relation is worth a word
_LEAK = 0.95
_STRONG_PRESENCE = 0.5
_MOST_SHOWN = 40
_PICTURED = 20


def describe(new: Profile, data: DataSettings) -> list[Association]:
    """How strong every pair is, with nothing to compare it to."""
    coefficients = _Coefficients(new, data)
    widths = {a.name: a.size for a in new.pairs.axes}
    valued = {a.name for a in new.pairs.axes if not a.is_presence}
    return [
        coefficients.association(p.first, p.second, strength=column_pairs.cramers_v(p.counts, widths[p.second]))
        for p in new.pairs.pairs
        if {p.first, p.second} <= valued
    ]


def associations(
    new: Profile, changes: Sequence[column_pairs.Change], rejected: Sequence[bool], data: DataSettings
) -> list[Association]:
    """Every pair compared. `rejected`: which of the changes are significant."""
    coefficients = _Coefficients(new, data)
    return [
        coefficients.association(
            c.first,
            c.second,
            strength=c.after,
            strength_reference=c.before,
            p_value=c.p_value,
            effect=c.effect,
            significant=significant,
            changed=significant and c.effect >= JOINT_EFFECT,
        )
        for c, significant in zip(changes, rejected, strict=True)
    ]


class _Coefficients:
    """Pearson, Spearman and η of the pairs of one profile."""

    def __init__(self, profile: Profile, data: DataSettings) -> None:
        self.profile, self.data = profile, data
        self.numbers = {c.name for c in profile.columns if c.binned and c.kind != "datetime"}
        self.products = {frozenset((s.first, s.second)): s.pearson for s in profile.products}
        self.counts = {(p.first, p.second): p.counts for p in profile.pairs.pairs}
        self.widths = {a.name: a.size for a in profile.pairs.axes}

    def association(self, first: str, second: str, **facts: Any) -> Association:
        both = {first, second} <= self.numbers
        target = self.data.target
        feature = first if second == target else second if first == target else ""
        pearson = self.products.get(frozenset((first, second))) if both else None
        if feature in self.numbers:
            pearson = _with_positive(self.profile, feature, self.data.positive_class)
        return Association(
            first=first,
            second=second,
            pearson=pearson,
            spearman=column_pairs.spearman(self.counts[first, second], self.widths[second]) if both else None,
            ratio=_ratio(self.profile, feature) if feature in self.numbers else None,
            **facts,
        )


def _presence(profile: Profile, target: str) -> dict[str, list[list[int]]]:
    """For each feature: rows of each class where it is missing, and where it is there; rows without a class left out."""
    width = next((a.size for a in profile.pairs.axes if a.name == target), 0)
    tables = {}
    for p in profile.pairs.pairs:
        if p.second == target and width > 1:
            rows = [list(p.counts[k : k + width])[1:] for k in range(0, len(p.counts), width)]
            tables[p.first] = [rows[0], [sum(c) for c in zip(*rows[1:], strict=True)]]
    return tables


def _presence_strength(table: list[list[int]]) -> float:
    """Cramér's V of being missing and the class."""
    width = len(table[0]) + 1
    flat = [0] * width + [0, *table[0]] + [0, *table[1]]
    return column_pairs.cramers_v(flat, width)


def presence_changes(reference: Profile, new: Profile, data: DataSettings, names: set[str]) -> Iterator[Tested]:
    """Whether a feature is missing tells the class in another way than it did: the test of Change, of two rows alone."""
    then = _presence(reference, data.target)
    for feature, now in _presence(new, data.target).items():
        before = then.get(feature)
        if feature not in names or before is None or not sum(now[0]) or not sum(now[1]):
            continue
        if sum(before[0]) and sum(before[1]):
            p, _ = column_pairs.interaction([*before[0], *before[1]], [*now[0], *now[1]], len(now[0]))
        else:  # it was never missing, or always: what the new file says alone
            _, _, p = st.chi2_contingency(now[0], now[1])
        strength, earlier = _presence_strength(now), _presence_strength(before)
        if strength <= earlier:
            continue
        yield Tested(
            p,
            Finding(
                kind="informative_missing",
                severity="warn" if strength >= _STRONG_PRESENCE else "info",
                columns=(feature,),
                title=f"Whether {feature} is missing tells {data.target} more than it did",
                evidence=f"Cramér's V {earlier:.2f} → {strength:.2f}; {_by_class(now, new, data.target)}",
                suggestion=f"Is {feature} filled in after {data.target} is known? Then add it to data.ignore.",
                weight=6 if strength >= _STRONG_PRESENCE else 2,
                change=True,
            ),
        )


def _by_class(table: list[list[int]], profile: Profile, target: str) -> str:
    """How much is missing in the classes where most and least is."""
    axis = next(a for a in profile.pairs.axes if a.name == target)
    names = (
        [*(repr(v) for v in axis.values), "other classes"] if axis.values else [f"bin {k}" for k in range(axis.size)]
    )
    shares = sorted(
        (missing / (missing + there), label)
        for missing, there, label in zip(*table, names, strict=False)
        if missing + there
    )
    return f"missing in {shares[-1][0]:.0%} of {shares[-1][1]}, {shares[0][0]:.0%} of {shares[0][1]}"


def presence_leaks(new: Profile, data: DataSettings) -> Iterator[Finding]:
    """Features whose being missing gives the class away, whatever the reference."""
    for feature, table in _presence(new, data.target).items():
        strength = _presence_strength(table) if feature not in data.ignore else 0.0
        if strength >= _STRONG_PRESENCE:
            leaks = strength >= _LEAK
            yield Finding(
                kind="leakage" if leaks else "informative_missing",
                severity="warn",
                columns=(feature,),
                title=f"Whether {feature} is missing {'gives' if leaks else 'nearly gives'} {data.target} away",
                evidence=f"Cramér's V {strength:.2f}; {_by_class(table, new, data.target)}",
                suggestion=f"Is {feature} filled in after {data.target} is known? Then add it to data.ignore: [{feature}].",
                weight=6,
                processing={"drop": [feature]} if leaks else None,
            )


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


def matrix(associations: list[Association], target: str) -> Matrix:
    """The target and the columns most tied to others, for a picture of at most `_PICTURED` columns."""
    weight: dict[str, float] = {}
    for a in associations:
        for name in (a.first, a.second):
            weight[name] = weight.get(name, 0.0) + a.strength
    names = sorted(weight, key=lambda n: (n != target, -weight[n]))[:_PICTURED]
    strength = {(a.first, a.second): a.strength for a in associations} | {
        (a.second, a.first): a.strength for a in associations
    }
    rows = tuple(tuple(1.0 if a == b else round(strength.get((a, b), 0.0), 3) for b in names) for a in names)
    return Matrix(columns=tuple(names), strengths=rows)


def shown(associations: list[Association], target: str) -> tuple[Association, ...]:
    """The ones a report lists: changed first, then with the target, then the strongest."""
    order = sorted(associations, key=lambda a: (not a.changed, target not in {a.first, a.second}, -a.strength))
    return tuple(order[:_MOST_SHOWN])
