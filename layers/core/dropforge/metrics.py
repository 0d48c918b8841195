"""The metrics a model is tuned, compared and ranked by: one entry for each, with the kind of target and the direction.

How a metric is computed, for the rows as they are and for a bootstrap's draws, stands in dropforge_training.evaluate.metrics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`greater_is_better`: False for a loss or an error. `in_target_units`: its size depends on the target's unit."""

    name: str
    task: Task = "classification"
    greater_is_better: bool = True
    in_target_units: bool = False


_ALL: Final = (
    Metric("roc_auc"),
    Metric("average_precision"),
    Metric("log_loss", greater_is_better=False),
    Metric("accuracy"),
    Metric("balanced_accuracy"),
    Metric("f1"),
    Metric("mcc"),
    Metric("brier", greater_is_better=False),
    Metric("ece", greater_is_better=False),
    Metric("rmse", "regression", greater_is_better=False, in_target_units=True),
    Metric("mae", "regression", greater_is_better=False, in_target_units=True),
    Metric("mape", "regression", greater_is_better=False),
    Metric("r2", "regression"),
)
METRICS: Final = {m.name: m for m in _ALL}
DEFAULT: Final[dict[Task, str]] = {"classification": "roc_auc", "regression": "rmse"}


OWN: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # a metric of the project's own: package.module:function


def is_own(metric: str) -> bool:
    """Whether the metric is a function of the project's own (dropforge_training.evaluate.own_metrics)."""
    return OWN.fullmatch(metric) is not None


def of(metric: str) -> Metric | None:
    """What is known of a metric; of one of the project's own that a larger value is better. None where there is no such metric."""
    return METRICS.get(metric) or (Metric(metric) if is_own(metric) else None)


def label(metric: str) -> str:
    """Its name for people and for MLflow: of one of the project's own the function's."""
    return metric.rpartition(":")[2]


def fits(metric: str, task: Task) -> bool:
    """Whether a model of this task can be scored by it."""
    return is_own(metric) or METRICS[metric].task == task


def sign(metric: str) -> int:
    """1 where a larger value is better, -1 where a smaller one is: `sign · value` always grows with quality.

    Raises KeyError for a metric that has no entry here and is none of the project's own.
    """
    return 1 if is_own(metric) or METRICS[metric].greater_is_better else -1
