"""Features that tell more about the target than they did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.pair_checks import LEAK, Check, CheckedPairs
from dropforge.analysis.report_model import Finding


def target_association(pairs: CheckedPairs) -> Iterator[Finding]:
    """Information: significant, stronger than in the reference, and below a leak."""
    data = pairs.data
    for feature, a in pairs.with_target():
        leaks = a.strength >= LEAK and feature not in data.ignore
        stronger = a.significant and a.strength > (a.strength_reference or 0.0)
        if leaks or not stronger or feature in pairs.drifted | set(data.ignore):
            continue
        yield Finding(
            kind="target_association",
            severity="info",
            columns=(feature, data.target),
            title=f"{feature} is tied to {data.target} more strongly than it was",
            evidence=(
                f"Cramér's V {a.strength_reference:.2f} → {a.strength:.2f}, {a.effect:.1%} of the rows moved beyond chance; "
                f"{st.p_value_text(a.p_value)}"
            ),
            suggestion=f"Is {feature} known before {data.target} is?",
            weight=1 + min(3.0, 10 * a.effect),
            change=True,
        )


CHECK: Final[Check] = target_association
