"""Checks of one column against the reference, where the test says that its distribution changed: one file each, named as its
finding in `analysis.warn_on` and `analysis.block_on` of settings.yaml.

The file has a generator of findings under the name CHECK. Another distribution adds a check by an entry point in the group
`dropforge.drift_checks`, and has to be installed in the core layer, since every function reads settings.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from dropforge.analysis.data_profile import ColumnProfile
from dropforge.analysis.report_model import ColumnReport, Finding
from dropforge.config.finding_names import DRIFT_CHECKS

REGISTRY: Final = DRIFT_CHECKS


@dataclass(frozen=True, slots=True)
class ChangedColumn:
    """What a check may read: a column whose change is significant, as the report has it, and its two profiles.

    Both have values; a column of numbers may have become one of categories.
    """

    report: ColumnReport
    before: ColumnProfile
    after: ColumnProfile


Check = Callable[[ChangedColumn], Iterator[Finding]]


def findings(report: ColumnReport, before: ColumnProfile | None, after: ColumnProfile) -> Iterator[Finding]:
    """The findings of every registered check, in the order of their names; none of a column that did not change."""
    if before is None or not before.present or not after.present or not report.significant:
        return
    for name in REGISTRY.names():
        yield from REGISTRY.get(name)(ChangedColumn(report, before, after))
