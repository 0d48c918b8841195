"""One column of the reference beside the same column of the new file: the test of its distribution, and its report.

Drift needs both: a test that rejects (KS or chi-square, corrected for all tests by dropforge.analysis.profile_comparison) and an
effect that exceeds the threshold after the effect expected at these sizes without any drift is taken off. So a million
rows do not make a trifle drift, and fifty rows do not make noise drift; what fifty rows cannot show is said to be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dropforge.analysis import other_tools_rules
from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.data_profile import ColumnProfile, Profile, bucket_counts
from dropforge.analysis.report import axes
from dropforge.analysis.report_model import Bars, ColumnReport, Intake, Outcome
from dropforge.config.settings import AnalysisSettings, DataSettings

_FEW_POINTS = 20
_UNDECIDED = 2.5  # an upload that could not even show this many thresholds is too small to tell


_ID_ROWS = 50
_ID_NAME = re.compile(r"(?i:(?:^|[\W_])(?:id|key|uuid|guid|index|rowid|nr|no))$|[a-z](?:Id|ID)$", re.ASCII)
_DENSE = 1.5  # an integer column of all different values that fill their range this well is a running number


@dataclass(frozen=True, slots=True)
class Test:
    """Of one column's distribution: `effect` as observed, `expected` without any drift, both without a unit."""

    name: str
    p_value: float
    effect: float
    expected: float
    detectable: float
    psi: float
    others: dict[str, bool]


def is_identifier(column: ColumnProfile) -> bool:
    """The values name rows: nearly every text is different, or all integers are and are a running number or named so.

    Nothing can be compared: the next file has others.
    """
    if column.present < _ID_ROWS:
        return False
    if column.kind == "integer":
        if column.distinct < column.present or column.minimum is None or column.maximum is None:
            return False
        dense = column.maximum - column.minimum + 1 <= _DENSE * column.present
        return dense or bool(_ID_NAME.search(column.name))
    return column.kind in {"text", "category"} and column.distinct > 0.95 * column.present


def is_later(new: ColumnProfile) -> bool:
    """Most of a datetime column, counted on the bins of the reference, lies after all of it: time has passed, which is no drift."""
    return new.kind == "datetime" and bool(new.counts) and 2 * new.counts[-1] > new.present


def compared(reference: Profile, new: Profile, data: DataSettings, intake: Intake) -> list[str]:
    """Columns that take part in the verdict: in both files, not ignored."""
    left_out = {*intake.absent_columns, *data.ignore}
    return [c.name for c in new.columns if c.name not in left_out and reference.column(c.name) is not None]


def column_test(reference: ColumnProfile, new: ColumnProfile) -> Test | None:
    """None where there is nothing to compare: no values, identifiers, a later period."""
    n, m = reference.present, new.present
    if not n or not m or reference.binned != new.binned or is_identifier(reference) or is_later(new):
        return None
    if new.binned:
        return numeric_test(reference, new, n, m)
    a, b = category_counts(reference, new)
    _, _, p = st.chi2_contingency(a, b)
    used = sum(1 for x, y in zip(a, b, strict=True) if x + y)
    exact = not reference.other and not new.other  # other tools count every value, and here not every count is known
    return Test(
        "chi-square",
        p,
        st.total_variation(a, b),
        st.total_variation_null(a, b),
        st.smallest_detectable_variation(n, m, used),
        st.psi(a, b),
        other_tools_rules.verdicts(a, b, distinct=reference.distinct, rows_reference=reference.rows) if exact else {},
    )


def category_counts(reference: ColumnProfile, new: ColumnProfile) -> tuple[Sequence[int], Sequence[int]]:
    """Counts of both over the same categories; over buckets of values by hash where there are more values than are named.

    Which values a profile names depends on its own counts, so the named ones always look more frequent in it than in
    another sample of the same population; a hash chooses without looking at the counts.
    """
    if not reference.other and not new.other:
        return aligned(reference, new)
    a, b = bucket_counts(reference), bucket_counts(new)
    if a and b:
        return a, b
    # A reference of an earlier version has no buckets: its named values, the rest in one.
    known = dict(zip(new.values, new.counts, strict=True))
    named = [known.get(v, 0) for v in reference.values]
    return [*reference.counts, reference.other], [*named, new.present - sum(named)]


def emptied_test(reference: ColumnProfile, new: ColumnProfile) -> Test:
    """A column with values in the reference and none in the new file: its values and their absence are the categories."""
    a, b = [reference.present, reference.missing], [new.present, new.missing]
    return Test(
        "missing values",
        st.fraction_p_value(reference.missing, reference.rows, new.missing, new.rows),
        st.total_variation(a, b),
        st.total_variation_null(a, b),
        st.smallest_detectable_variation(reference.rows, new.rows, 2),
        st.psi(a, b),
        {},
    )


def numeric_test(reference: ColumnProfile, new: ColumnProfile, n: int, m: int) -> Test:
    """p-value and effect of a binned column; n and m are the rows of reference and upload."""
    a, b = list(reference.counts), list(new.counts)
    low = [x for x in (reference.minimum, new.minimum) if x is not None]
    high = [x for x in (reference.maximum, new.maximum) if x is not None]
    # One point for each bin: its upper edge; the open last bin ends at the largest value seen.
    points = [*reference.edges, max(high, default=0.0)]
    widths = [y - x for x, y in pairwise(points)]
    scale = reference.std or 0.0
    if scale == 0.0:  # a constant reference: any other value is an effect of one
        scale = max(1e-12, max(high, default=0.0) - min(low, default=0.0))
    p_value, effect = st.ks_p_value(st.ks_statistic(a, b), n, m), st.wasserstein(a, b, widths, scale)
    few = reference.points and reference.distinct <= _FEW_POINTS
    coarse = (a, b) if few else _coarse(a, b)
    return Test(
        "Kolmogorov-Smirnov",
        p_value,
        effect,
        st.wasserstein_null(a, b, widths, scale),
        st.smallest_detectable_shift(n, m),
        st.psi(*_coarse(a, b)),
        other_tools_rules.verdicts(
            *coarse,
            distinct=reference.distinct,
            rows_reference=reference.rows,
            numbers=other_tools_rules.NumberTests(p_value, effect),
        ),
    )


def _coarse(a: list[int], b: list[int], bins: int = 10) -> tuple[list[int], list[int]]:
    """About `bins` bins of equal reference share: PSI is defined on deciles, and grows with the number of bins."""
    total, left, right, x, y = sum(a), list[int](), list[int](), 0, 0
    for i, j in zip(a, b, strict=True):
        x, y = x + i, y + j
        if x * bins >= total:
            left, right, x, y = [*left, x], [*right, y], 0, 0
    return ([*left, x], [*right, y]) if x + y or not left else (left, right)


def aligned(reference: ColumnProfile, new: ColumnProfile) -> tuple[list[int], list[int]]:
    """Counts of both over the union of their values; what either did not keep is one more category."""
    a, b = dict(zip(reference.values, reference.counts, strict=True)), dict(zip(new.values, new.counts, strict=True))
    union = [*a, *[v for v in b if v not in a]]
    return [*[a.get(v, 0) for v in union], reference.other], [*[b.get(v, 0) for v in union], new.other]


def column_report(
    new: ColumnProfile,
    reference: ColumnProfile | None,
    test: Test | None,
    significant: bool,
    data: DataSettings,
    settings: AnalysisSettings,
) -> ColumnReport:
    """The column as the report has it, with its test where there is a reference."""
    corrected = max(0.0, test.effect - test.expected) if test else None
    return ColumnReport(
        name=new.name,
        kind=new.kind,
        role="target" if new.name == data.target else "ignored" if new.name in data.ignore else "feature",
        rows=new.rows,
        missing_share=new.missing / new.rows if new.rows else 0.0,
        missing_share_reference=reference.missing / reference.rows if reference and reference.rows else None,
        distinct=new.distinct,
        summary=summary(new),
        summary_reference=summary(reference) if reference else {},
        outcome=_outcome(test, significant, corrected or 0.0, settings.effect_threshold),
        test=test.name if test else "",
        p_value=test.p_value if test else None,
        significant=significant,
        effect=test.effect if test else None,
        effect_expected=test.expected if test else None,
        effect_corrected=corrected,
        smallest_detectable=min(test.detectable, 99.0) if test else None,
        psi=test.psi if test else None,
        others=test.others if test else {},
        bars=_bars(reference, new),
    )


def _outcome(test: Test | None, significant: bool, corrected: float, threshold: float) -> Outcome:
    if test is None:
        return "not_compared"
    if significant and corrected >= threshold:
        return "drift"
    if not significant and test.detectable > _UNDECIDED * threshold:
        return "insufficient_data"
    return "no_drift"


def summary(profile: ColumnProfile) -> dict[str, float | str | None]:
    """Mean, deviation and range of numbers; the most frequent values of categories; dates as text."""
    if profile.kind == "datetime":
        return {"min": axes.date(profile.minimum), "max": axes.date(profile.maximum)}
    if profile.binned:
        return {"mean": profile.mean, "std": profile.std, "min": profile.minimum, "max": profile.maximum}
    top = sorted(zip(profile.values, profile.counts, strict=True), key=lambda p: -p[1])[:3]
    return {value: count / profile.present for value, count in top if profile.present and count}


def _bars(reference: ColumnProfile | None, new: ColumnProfile) -> Bars:
    base = reference or new
    names: list[str]
    x: list[float]
    y: list[float]
    if not new.binned:
        a, b = aligned(base, new)
        labels = [*base.values, *[v for v in new.values if v not in set(base.values)], "(other)"]
        order = sorted(range(len(labels)), key=lambda i: -(a[i] + b[i]))
        shown, rest = order[: axes.BARS], order[axes.BARS :]
        x, y = [float(a[i]) for i in shown], [float(b[i]) for i in shown]
        names = [labels[i] for i in shown]
        if rest and sum(a[i] + b[i] for i in rest):
            x, y, names = [*x, sum(a[i] for i in rest)], [*y, sum(b[i] for i in rest)], [*names, f"({len(rest)} more)"]
        keep = [i for i in range(len(names)) if x[i] + y[i]]
        names, x, y = [names[i] for i in keep], [x[i] for i in keep], [y[i] for i in keep]
    else:
        names, x, y = axes.histogram(base, new)
    return Bars(labels=tuple(names), reference=tuple(st.shares(x)) if reference else (), new=tuple(st.shares(y)))
