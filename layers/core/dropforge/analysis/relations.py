"""What the pairs of columns tell: relations that changed, labels that got noisy, features that leak or repeat each other."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from dropforge.analysis import pairs
from dropforge.analysis import statistics as st
from dropforge.analysis.facts import Association, Finding
from dropforge.analysis.profile import Profile
from dropforge.settings import AnalysisSettings, DataSettings

JOINT_EFFECT = 0.05  # share of rows that must sit elsewhere before a changed relation is worth a word
_LEAK = 0.95
_TELLING = 0.1  # features below this strength tell too little of the target to judge the labels by
_WEAKER = 0.93  # median of new over old strength
_KEPT = 40


def associations(reference: Profile | None, new: Profile, settings: AnalysisSettings) -> list[Association]:
    """Every pair; without a reference only how strong it is."""
    if reference is None:
        widths = {a.name: a.size for a in new.pairs.axes}
        return [
            Association(first=p.first, second=p.second, strength=pairs.cramers_v(p.counts, widths[p.second]))
            for p in new.pairs.pairs
        ]
    changes = pairs.compare(reference.pairs, new.pairs)
    significant = st.benjamini_hochberg([c.p_value for c in changes], settings.false_discovery_rate)
    return [
        Association(
            first=c.first,
            second=c.second,
            strength=c.after,
            strength_reference=c.before,
            p_value=c.p_value,
            effect=c.effect,
            changed=rejected and c.effect >= JOINT_EFFECT,
        )
        for c, rejected in zip(changes, significant, strict=True)
    ]


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
                )
        elif a.strength >= settings.strong_correlation:
            yield Finding(
                kind="strong_association",
                severity="info",
                columns=(a.first, a.second),
                title=f"{a.first} and {a.second} say nearly the same",
                evidence=f"Cramér's V {a.strength:.2f}",
                suggestion=f"Consider dropping {a.second}: same information as {a.first}.",
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
