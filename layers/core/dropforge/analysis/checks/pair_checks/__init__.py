"""Checks of pairs of columns: one file each, named as its finding in `analysis.warn_on` and `analysis.block_on` of settings.yaml.

The file has a generator of findings under the name CHECK. Another distribution adds a check by an entry point in the group
`dropforge.pair_checks`, and has to be installed in the core layer, since every function reads settings.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dropforge.analysis.report_model import Association, Finding
from dropforge.config.finding_names import PAIR_CHECKS
from dropforge.config.settings import AnalysisSettings, DataSettings

REGISTRY: Final = PAIR_CHECKS
LEAK: Final = 0.95  # Cramér's V with the target from which a feature gives it away


@dataclass(frozen=True, slots=True)
class CheckedPairs:
    """What a check may read: every pair with its strength and how it changed; `drifted`: columns that drifted by themselves.

    A column that drifted moves its relations too: changes of a pair are reported where neither column did.
    """

    associations: Sequence[Association]
    drifted: frozenset[str]
    data: DataSettings
    settings: AnalysisSettings

    def with_target(self) -> Iterator[tuple[str, Association]]:
        """Each feature with its association with the target."""
        target = self.data.target
        for a in self.associations:
            if target in {a.first, a.second}:
                yield a.first if a.second == target else a.second, a

    def of_features(self) -> Iterator[Association]:
        """Pairs without the target."""
        return (a for a in self.associations if self.data.target not in {a.first, a.second})


Check = Callable[[CheckedPairs], Iterator[Finding]]


def findings(pairs: CheckedPairs) -> Iterator[Finding]:
    """The findings of every registered check, in the order of their names."""
    for name in REGISTRY.names():
        yield from REGISTRY.get(name)(pairs)
