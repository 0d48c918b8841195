"""Reference profile against new profile: everything that is tested, decided together.

One family of hypotheses: the distribution of every column, the association of every pair, and the single changes of
dropforge.analysis.checks.silent_changes. The false discovery rate is held over all of them by weighted Benjamini-Hochberg
(Genovese, Roeder & Wasserman 2006): half of the weight goes to the distributions, a fifth each to pairs and single
changes, whatever their number, and a tenth to the labels as a whole, so that three hundred pairs do not hide a column.
Of the single changes a quarter of the weight is that of missing values: there is one such hypothesis for each column with
any, often a single one, and only rows without a value can say anything about it (Tarone 1990).
Without any change the chance of a report with any rejection is at most the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dropforge.analysis import column_drift, column_pairs
from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks import label_changes, relation_changes
from dropforge.analysis.checks import silent_changes as changes
from dropforge.analysis.checks.silent_changes import Tested
from dropforge.analysis.column_drift import Test
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report_model import Association, ColumnReport, Finding, Intake
from dropforge.config.settings import AnalysisSettings, DataSettings

_WEIGHTS = (0.5, 0.2, 0.05, 0.15, 0.1)  # of distributions, pairs, missing values, other single changes, the labels
_MISSING = {"missing_increase", "missing_decrease"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A report for each column in schema order, every association, and the changes whose test rejects."""

    columns: list[ColumnReport]
    associations: list[Association]
    changes: list[Finding]


def compare_profiles(
    reference: Profile | None, new: Profile, intake: Intake, data: DataSettings, settings: AnalysisSettings
) -> Comparison:
    """Without a reference columns and associations are described and nothing is tested."""
    if reference is None:
        described = [column_drift.column_report(c, None, None, False, data, settings) for c in new.columns]
        return Comparison(described, relation_changes.describe(new, data), [])
    names = column_drift.compared(reference, new, data, intake)
    tests: dict[str, Test] = {}
    details: list[Tested] = list(changes.of_rows(reference, new, settings))
    for name in names:
        before, after = reference.column(name), new.column(name)
        if before is None or after is None:
            continue
        if (test := column_drift.column_test(before, after)) is not None:
            tests[name] = test
        elif before.present and not after.present:
            tests[name] = column_drift.emptied_test(before, after)
        details += changes.of_column(before, after, settings)
    tied = column_pairs.compare(reference.pairs, new.pairs)
    details += relation_changes.presence_changes(reference, new, data, set(names))
    noisier = list(label_changes.weakened(reference.pairs, new.pairs, data.target, set(names)))
    missing = [d for d in details if d.finding.kind in _MISSING]
    single = [missing, [d for d in details if d.finding.kind not in _MISSING], noisier]
    groups = ([t.p_value for t in tests.values()], [c.p_value for c in tied], *([d.p_value for d in g] for g in single))
    rejected = decide(groups, settings.false_discovery_rate)
    significant = dict(zip(tests, rejected[0], strict=True))
    columns = [
        column_drift.column_report(
            c, reference.column(c.name), tests.get(c.name), significant.get(c.name, False), data, settings
        )
        for c in new.columns
    ]
    return Comparison(
        columns,
        relation_changes.associations(new, tied, rejected[1], data),
        [
            tested.finding
            for group, decisions in zip(single, rejected[2:], strict=True)
            for tested, is_rejected in zip(group, decisions, strict=True)
            if is_rejected
        ],
    )


def decide(groups: Sequence[Sequence[float]], rate: float) -> list[list[bool]]:
    """Which p-values of each group are rejected, with the false discovery rate over all of them at most `rate`."""
    p_values = [p for group in groups for p in group]
    weights = [w / len(group) for w, group in zip(_WEIGHTS, groups, strict=True) if group for _ in group]
    rejected = iter(st.weighted_benjamini_hochberg(p_values, weights, rate))
    return [[next(rejected) for _ in group] for group in groups]
