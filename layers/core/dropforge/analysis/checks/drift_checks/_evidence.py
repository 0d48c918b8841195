"""How a column changed, in words."""

from __future__ import annotations

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.drift_checks import ChangedColumn
from dropforge.analysis.data_profile import ColumnProfile
from dropforge.analysis.report import axes


def largest_change(before: ColumnProfile, after: ColumnProfile) -> str:
    """Where the two distributions differ most: the mean of numbers, one category."""
    if after.kind == "datetime":
        before_text, now = (f"{axes.date(p.minimum)} to {axes.date(p.maximum)}" for p in (before, after))
        return f"{now}, was {before_text}; "
    if after.binned:
        return f"mean {axes.change_text(before.mean, after.mean)}; "
    named = dict(zip(after.values, after.counts, strict=True))
    changes = [
        (named.get(v, 0) / after.present - n / before.present, v, n)
        for v, n in zip(before.values, before.counts, strict=True)
    ]
    change, value, n = max(changes, key=lambda x: abs(x[0]), default=(0.0, "", 0))
    then = n / before.present
    return f"{value!r} {then:.1%} → {then + change:.1%}; " if change else ""


def rows_moved(column: ChangedColumn) -> str:
    """Least fraction of rows whose value must have changed."""
    before, after = column.before, column.after
    if after.binned:
        return f"at least {st.ks_statistic(before.counts, after.counts):.1%} of the rows lie elsewhere"
    return f"at least {column.report.effect_corrected or 0.0:.1%} of the rows changed category, beyond chance"
