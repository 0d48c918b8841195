"""Features that give the target away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.pair_checks import LEAK, Check, CheckedPairs
from dropforge.analysis.report_model import Finding


def leakage(pairs: CheckedPairs) -> Iterator[Finding]:
    """A feature that says nearly what the target says; not the ignored ones."""
    target = pairs.data.target
    for feature, a in pairs.with_target():
        if a.strength >= LEAK and feature not in pairs.data.ignore:
            yield Finding(
                kind="leakage",
                severity="warn",
                columns=(feature,),
                title=f"{feature} gives {target} away",
                evidence=f"Cramér's V {a.strength:.2f}: nearly the same information",
                suggestion=f"Is {feature} known before {target} is? If not, add it to data.ignore.",
                weight=6,
                processing={"drop": [feature]},
            )


CHECK: Final[Check] = leakage
