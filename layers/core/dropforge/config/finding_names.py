"""Names of findings, as settings.yaml may have them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from dropforge.plugin_registry import PluginRegistry

# Named by their files, so that functions without the packages that analyze needs can check settings.yaml, too.
COLUMN_CHECKS: Final = PluginRegistry("dropforge.analysis.checks.column_checks", "CHECK", "dropforge.column_checks")
TABLE_CHECKS: Final = PluginRegistry("dropforge.analysis.checks.table_checks", "CHECK", "dropforge.table_checks")
DRIFT_CHECKS: Final = PluginRegistry("dropforge.analysis.checks.drift_checks", "CHECK", "dropforge.drift_checks")
PAIR_CHECKS: Final = PluginRegistry("dropforge.analysis.checks.pair_checks", "CHECK", "dropforge.pair_checks")
_REGISTRIES: Final = (DRIFT_CHECKS, COLUMN_CHECKS, TABLE_CHECKS, PAIR_CHECKS)
# Of the comparison with the reference, and second findings of a check, which is named for its first.
_OTHERS: Final = (
    "target_drift",
    "target_drift_severe",
    "column_renamed",
    "type_changed",
    "out_of_range",
    "new_category",
    "vanished_category",
    "missing_increase",
    "missing_decrease",
    "informative_missing",
    "frequent_value",
    "time_of_day",
    "time_gap",
    "later_period",
    "joint_shift",
    "labels_weakened",
    "rule_violated",
    "rule_moved",
)


def names() -> tuple[str, ...]:
    """Every name, those of registered checks last."""
    return (*_OTHERS, *(name for registry in _REGISTRIES for name in registry.names()))


def _known(value: Any) -> Any:
    if value not in _OTHERS and not any(value in registry for registry in _REGISTRIES):
        raise ValueError(f"{value!r} is no finding; use one of {', '.join(names())}")
    return value


FindingName = Annotated[str, BeforeValidator(_known)]
