"""Requests held to the rules that the model's data were held to: a warning for each row, or a refusal, as settings say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dropforge.errors import InvalidRequest

if TYPE_CHECKING:
    from dropforge.deployment.active_model import Active
    from dropforge.inference.predictor import Predictor


def check(active: Active, predictor: Predictor, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Warnings about rows that violate a rule. Raises InvalidRequest naming the first one where `serving.rules` is refuse.

    A value that is missing, or not of its column's kind, violates nothing here but not_null: the predictor judges it.
    """
    if active.rules == "off" or not predictor.rules:
        return []
    warnings = []
    for row, rule in predictor.rules.violations(records):
        if active.rules == "refuse":
            raise InvalidRequest(
                f"record {row} violates the rule {rule.name}: {rule.expect}",
                code="rule_violated",
                fix="correct the row; the rules are those of data.columns and data.rules, serving.rules says what they do here",
            )
        message = f"violates the rule {rule.name}: {rule.expect}"
        warnings.append({"code": "rule_violated", "row": row, "field": rule.name, "message": message})
    return warnings
