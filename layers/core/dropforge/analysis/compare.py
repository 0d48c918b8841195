"""Reference profile against new profile: one ColumnReport a column, and whether each drifted.

Drift needs both: a test that rejects (KS or chi-square, Benjamini-Hochberg over all columns) and an effect that exceeds
the threshold after the effect expected at these sizes without any drift is taken off. So a million rows do not make a
trifle drift, and fifty rows do not make noise drift; what fifty rows cannot show is said to be unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from dropforge.analysis import rivals
from dropforge.analysis import statistics as st
from dropforge.analysis.facts import Bars, ColumnReport, Intake, Outcome
from dropforge.analysis.profile import ColumnProfile, Profile
from dropforge.settings import AnalysisSettings, DataSettings

_BARS = 24  # bins of a picture
_FEW_POINTS = 20
_UNDECIDED = 2.5  # an upload that could not even show this many thresholds is too small to tell


@dataclass(frozen=True, slots=True)
class _Test:
    name: str
    p_value: float
    effect: float
    expected: float
    detectable: float
    psi: float
    others: dict[str, bool]


def columns(
    reference: Profile | None, new: Profile, data: DataSettings, settings: AnalysisSettings, intake: Intake
) -> list[ColumnReport]:
    """Reports of the columns in schema order; without a reference nothing is compared."""
    absent = set(intake.absent_columns)
    pairs = [(c, reference.column(c.name) if reference else None) for c in new.columns]
    tests = [_test(r, c) if r is not None and c.name not in absent else None for c, r in pairs]
    decided = st.benjamini_hochberg([t.p_value for t in tests if t], settings.false_discovery_rate)
    verdicts = iter(decided)
    return [
        _report(c, r, t, next(verdicts) if t else False, data, settings) for (c, r), t in zip(pairs, tests, strict=True)
    ]


def _test(reference: ColumnProfile, new: ColumnProfile) -> _Test | None:
    n, m = reference.present, new.present
    if not n or not m:
        return None
    if new.binned:
        return numeric_test(reference, new, n, m)
    a, b = aligned(reference, new)
    _, _, p = st.chi2_contingency(a, b)
    used = sum(1 for x, y in zip(a, b, strict=True) if x + y)
    return _Test(
        "chi-square",
        p,
        st.total_variation(a, b),
        st.total_variation_null(a, b),
        st.smallest_detectable_variation(n, m, used),
        st.psi(a, b),
        rivals.verdicts(
            a, b, numeric=False, distinct=reference.distinct, rows_reference=reference.rows, ks_p=1.0, wasserstein=0.0
        ),
    )


def numeric_test(reference: ColumnProfile, new: ColumnProfile, n: int, m: int) -> _Test:
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
    return _Test(
        "Kolmogorov-Smirnov",
        p_value,
        effect,
        st.wasserstein_null(a, b, widths, scale),
        st.smallest_detectable_shift(n, m),
        st.psi(*_coarse(a, b)),
        rivals.verdicts(
            *coarse,
            numeric=True,
            distinct=reference.distinct,
            rows_reference=reference.rows,
            ks_p=p_value,
            wasserstein=effect,
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


def _report(
    new: ColumnProfile,
    reference: ColumnProfile | None,
    test: _Test | None,
    significant: bool,
    data: DataSettings,
    settings: AnalysisSettings,
) -> ColumnReport:
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


def _outcome(test: _Test | None, significant: bool, corrected: float, threshold: float) -> Outcome:
    if test is None:
        return "not_compared"
    if significant and corrected >= threshold:
        return "drift"
    if not significant and test.detectable > _UNDECIDED * threshold:
        return "too_few_rows"
    return "no_drift"


def summary(profile: ColumnProfile) -> dict[str, float | str | None]:
    """Mean, deviation and range of numbers; the most frequent values of categories; dates as text."""
    if profile.kind == "datetime":
        return {"min": _date(profile.minimum), "max": _date(profile.maximum)}
    if profile.binned:
        return {"mean": profile.mean, "std": profile.std, "min": profile.minimum, "max": profile.maximum}
    top = sorted(zip(profile.values, profile.counts, strict=True), key=lambda p: -p[1])[:3]
    return {value: count / profile.present for value, count in top if profile.present and count}


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _bars(reference: ColumnProfile | None, new: ColumnProfile) -> Bars:
    base = reference or new
    names: list[str]
    x: list[float]
    y: list[float]
    if not new.binned:
        a, b = aligned(base, new)
        labels = [*base.values, *[v for v in new.values if v not in set(base.values)], "(other)"]
        order = sorted(range(len(labels)), key=lambda i: -(a[i] + b[i]))
        shown, rest = order[:_BARS], order[_BARS:]
        x, y = [float(a[i]) for i in shown], [float(b[i]) for i in shown]
        names = [labels[i] for i in shown]
        if rest and sum(a[i] + b[i] for i in rest):
            x, y, names = [*x, sum(a[i] for i in rest)], [*y, sum(b[i] for i in rest)], [*names, f"({len(rest)} more)"]
        keep = [i for i in range(len(names)) if x[i] + y[i]]
        names, x, y = [names[i] for i in keep], [x[i] for i in keep], [y[i] for i in keep]
    else:
        names, x, y = _histogram(base, new)
    return Bars(labels=tuple(names), reference=tuple(st.shares(x)) if reference else (), new=tuple(st.shares(y)))


def _histogram(base: ColumnProfile, new: ColumnProfile) -> tuple[list[str], list[float], list[float]]:
    """Counts spread over bins of equal width, from bins of equal share: a picture needs a straight axis."""
    if not base.edges:
        return [], [], []
    low = min(x for x in (base.minimum, new.minimum, base.edges[0]) if x is not None)
    high = max(x for x in (base.maximum, new.maximum, base.edges[-1]) if x is not None)
    if base.points and len(base.edges) <= _BARS:
        names = [f"{e:g}" for e in base.edges]
        x, y = [float(c) for c in base.counts[: len(names)]], [float(c) for c in new.counts[: len(names)]]
        if new.counts[-1]:
            names, x, y = [*names, f"> {base.edges[-1]:g}"], [*x, 0.0], [*y, float(new.counts[-1])]
        return names, x, y
    width = (high - low) / _BARS or 1.0
    x, y = [0.0] * _BARS, [0.0] * _BARS
    ends = [low, *base.edges, high]
    for i, (start, end) in enumerate(pairwise(ends)):
        for target, counts in ((x, base.counts), (y, new.counts)):
            if i < len(counts) and counts[i]:
                _spread(target, counts[i], (start, end), low, width, points=base.points)
    return [f"{low + width * i:.4g}" for i in range(_BARS)], x, y


def _spread(
    bars: list[float], count: float, span: tuple[float, float], low: float, width: float, *, points: bool
) -> None:
    start, end = span
    if points or end <= start:
        bars[min(len(bars) - 1, int((end - low) / width))] += count
        return
    for k in range(len(bars)):
        overlap = min(end, low + width * (k + 1)) - max(start, low + width * k)
        if overlap > 0:
            bars[k] += count * overlap / (end - start)
