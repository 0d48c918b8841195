"""Significant changes with an effect above the threshold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dropforge.analysis import two_sample_tests as st
from dropforge.analysis.checks.drift_checks import ChangedColumn, Check
from dropforge.analysis.checks.drift_checks._evidence import largest_change, rows_moved
from dropforge.analysis.report_model import Finding

_SEVERE_TARGET = 0.2  # corrected total variation of the target


def drift(column: ChangedColumn) -> Iterator[Finding]:
    """A problem in the target, else a warning."""
    c, after = column.report, column.after
    if c.outcome != "drift":
        return
    strength = c.effect_corrected or 0.0
    numeric = after.binned
    size = f"{strength:.2f} standard deviations" if numeric else f"{strength:.1%} of the rows changed category"
    # Rows of one class are a piece of a sorted or a quiet day's file: they start no training, and blocking would lose them.
    severe = c.role == "target" and strength >= _SEVERE_TARGET and (numeric or after.distinct > 1)
    kind = "target_drift_severe" if severe else "target_drift" if c.role == "target" else "drift"
    moved = f"; {rows_moved(column)}" if numeric else ""
    yield Finding(
        kind=kind,
        severity="critical" if c.role == "target" else "warn",
        columns=(c.name,),
        title=f"{'Target' if c.role == 'target' else 'Column'} {c.name} drifted",
        evidence=(
            f"{largest_change(column.before, after)}{size} beyond what {c.rows:,} rows vary by chance{moved}; "
            f"{c.test} {st.p_value_text(c.p_value)}"
        ),
        suggestion=(
            "Check how these rows were selected before training on them."
            if c.role == "target"
            else f"Check the source of {c.name}; if the change is real, retrain and compare on new rows."
        ),
        weight=5 + min(3.0, 5 * strength),
        change=True,
    )


CHECK: Final[Check] = drift
