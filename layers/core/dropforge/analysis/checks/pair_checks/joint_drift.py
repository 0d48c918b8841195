"""Pairs of columns whose relation changed, though each column alone looks the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.pair_checks import Check, CheckedPairs
from dropforge.analysis.report_model import Finding


def joint_drift(pairs: CheckedPairs) -> Iterator[Finding]:
    """One finding for each column at the centre of changed relations, not one for each pair.

    A change of few rows is information: none of its pairs is `changed`.
    """
    quiet = pairs.drifted | {pairs.data.target} | set(pairs.data.ignore)
    left = [a for a in pairs.associations if a.significant and not quiet & {a.first, a.second}]
    while left:
        names = [n for a in left for n in (a.first, a.second)]
        centre = max(names, key=names.count)
        own = sorted((a for a in left if centre in {a.first, a.second}), key=lambda a: -a.effect)
        left = [a for a in left if a not in own]
        others = [a.second if a.first == centre else a.first for a in own]
        first = own[0]
        listed = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        yield Finding(
            kind="joint_drift" if first.changed else "joint_shift",
            severity="warn" if first.changed else "info",
            columns=(centre, *others),
            title=f"{centre} relates differently to {listed}",
            evidence=(
                f"with {others[0]}: Cramér's V {first.strength_reference:.2f} → {first.strength:.2f}, "
                f"{first.effect:.1%} of the rows moved beyond chance ({st.p_value_text(first.p_value)}); "
                "the single columns need not have changed"
            ),
            suggestion=f"Was {centre} joined, shifted or recoded on its own? Compare a few rows with the source.",
            weight=(4 if first.changed else 1) + min(3.0, 10 * first.effect),
            change=True,
        )


CHECK: Final[Check] = joint_drift
