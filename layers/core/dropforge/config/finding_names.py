"""Names of findings, as settings.yaml may have them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from dropforge.plugin_registry import PluginRegistry

# Named by their files, so that functions without the packages that analyze needs can check settings.yaml, too.
COLUMN_CHECKS: Final = PluginRegistry("dropforge.analysis.checks.column_checks", "CHECK", "dropforge.column_checks")
# Of comparisons, rows and pairs of columns.
_OTHERS: Final = (
    "drift",
    "target_drift",
    "target_drift_severe",
    "joint_drift",
    "column_added",
    "column_removed",
    "column_renamed",
    "type_changed",
    "out_of_range",
    "new_category",
    "vanished_category",
    "missing_increase",
    "missing_decrease",
    "informative_missing",
    "shift",
    "frequent_value",
    "time_of_day",
    "time_gap",
    "later_period",
    "personal_data",
    "joint_shift",
    "target_association",
    "duplicates",
    "conflicting_labels",
    "shared_rows",
    "leakage",
    "strong_association",
    "labels_weakened",
    "quarantined",
    "rule_violated",
    "rule_moved",
)


def names() -> tuple[str, ...]:
    """Every name, those of registered checks last."""
    return (*_OTHERS, *COLUMN_CHECKS.names())


def _known(value: Any) -> Any:
    if value not in _OTHERS and value not in COLUMN_CHECKS:
        raise ValueError(f"{value!r} is no finding; use one of {', '.join(names())}")
    return value


FindingName = Annotated[str, BeforeValidator(_known)]
