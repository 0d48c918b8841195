"""Significant changes with an effect below the threshold of drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.drift_checks import ChangedColumn, Check
from dropforge.analysis.checks.drift_checks._evidence import largest_change, rows_moved
from dropforge.analysis.report_model import Finding


def shift(column: ChangedColumn) -> Iterator[Finding]:
    """Information: a person may want to look at its source."""
    c = column.report
    if c.outcome == "drift":
        return
    yield Finding(
        kind="shift",
        severity="info",
        columns=(c.name,),
        title=f"{'Target' if c.role == 'target' else 'Column'} {c.name} shifted a little",
        evidence=f"{largest_change(column.before, column.after)}{rows_moved(column)}; {c.test} {st.p_value_text(c.p_value)}",
        suggestion=f"Below the threshold of drift (effect {c.effect_corrected or 0.0:.3f}): check its source if it is unexpected.",
        weight=(3 if c.role == "target" else 1) + min(1.0, c.effect_corrected or 0.0),
        change=True,
    )


CHECK: Final[Check] = shift
