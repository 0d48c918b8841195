"""Checks of a single column: one file each, named as its finding in `analysis.warn_on` and `analysis.block_on` of settings.yaml.

The file has a generator of findings under the name CHECK. It reads profiles, never rows, so it works at any size, and it
must be silent on clean columns: `make bench-verdict` counts false alarms on real data. Another distribution adds a check by an entry
point in the group `dropforge.column_checks`, and has to be installed in the core layer, since every function reads settings.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dropforge.analysis.data_profile import ColumnProfile
from dropforge.analysis.report_model import ColumnReport, Finding
from dropforge.config.finding_names import COLUMN_CHECKS
from dropforge.config.settings import AnalysisSettings

REGISTRY: Final = COLUMN_CHECKS


@dataclass(frozen=True, slots=True)
class CheckedColumn:
    """What a check may read: a column with values in it, as the report has it and as it was counted.

    `before`: its profile in the reference; None in the first upload. `outliers_increased`: whether that is reported already.
    """

    report: ColumnReport
    profile: ColumnProfile
    before: ColumnProfile | None
    settings: AnalysisSettings
    outliers_increased: bool = False

    @property
    def name(self) -> str:
        """The column's name."""
        return self.report.name

    @property
    def counted(self) -> bool:
        """Whether the profile has the column's values with their counts: a category, not a binned number."""
        return not self.profile.binned and bool(self.profile.counts)


Check = Callable[[CheckedColumn], Iterator[Finding]]


def findings(column: CheckedColumn) -> Iterator[Finding]:
    """The findings of every registered check, in the order of their names."""
    if column.profile.present:
        for name in REGISTRY.names():
            yield from REGISTRY.get(name)(column)
