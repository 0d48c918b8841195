"""Checks of a whole upload: its rows and which columns it has. One file each, named as its finding in `analysis.warn_on` and
`analysis.block_on` of settings.yaml.

The file has a generator of findings under the name CHECK. It reads profiles, never rows, so it works at any size; it runs on live
traffic, too. Another distribution adds a check by an entry point in the group `dropforge.table_checks`, and has to be installed in the
core layer, since every function reads settings.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dropforge.analysis.data_profile import Profile
from dropforge.analysis.profile_comparison import Comparison
from dropforge.analysis.report_model import Finding, Intake
from dropforge.config.finding_names import TABLE_CHECKS
from dropforge.config.settings import AnalysisSettings, DataSettings

REGISTRY: Final = TABLE_CHECKS


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """What a check may read: the upload's profile, that of the reference (None in the first upload), how they compare, and what
    reading the file noted.
    """

    new: Profile
    reference: Profile | None
    comparison: Comparison
    intake: Intake
    data: DataSettings
    settings: AnalysisSettings

    def increased(self, kind: str) -> bool:
        """Whether a finding of this kind is among the changes since the reference, which are reported already."""
        return any(f.kind == kind for f in self.comparison.changes)


Check = Callable[[CheckedTable], Iterator[Finding]]


def findings(table: CheckedTable) -> Iterator[Finding]:
    """The findings of every registered check, in the order of their names."""
    for name in REGISTRY.names():
        yield from REGISTRY.get(name)(table)
