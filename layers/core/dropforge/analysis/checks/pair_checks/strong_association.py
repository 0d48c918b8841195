"""Features that repeat each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis.checks.pair_checks import Check, CheckedPairs
from dropforge.analysis.report_model import Finding


def strong_association(pairs: CheckedPairs) -> Iterator[Finding]:
    """Pairs of features as strong as analysis.strong_correlation, without ignored ones."""
    for a in pairs.of_features():
        if a.strength >= pairs.settings.strong_correlation and not {a.first, a.second} & set(pairs.data.ignore):
            yield Finding(
                kind="strong_association",
                severity="info",
                columns=(a.first, a.second),
                title=f"{a.first} and {a.second} are redundant (Cramér's V {a.strength:.2f})",
                evidence=f"Cramér's V {a.strength:.2f} over coarse bins",
                suggestion=f"Consider dropping {a.second}: same information as {a.first}.",
                processing={"drop": [a.second]},
            )


CHECK: Final[Check] = strong_association
