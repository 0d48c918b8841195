"""The metrics a model is tuned, compared and ranked by: their direction and kind of target, and how they are computed.

Each is a file of `definitions`. This module needs no numpy: settings.yaml is checked and models are ranked in functions without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from dropforge.plugin_registry import PluginRegistry

if TYPE_CHECKING:
    from dropforge.metrics.weighted_rows import Rows, Scorer

Task = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`greater_is_better`: False for a loss or an error. `in_target_units`: its size depends on the target's unit.

    `weighs_classes`: it weighs classes against each other, so that rows of the rarest class carry it. `statistic`: the rows as a
    function of row weights, [draws, rows] → [draws], whatever the direction; None: shown in the model card alone.
    """

    name: str
    task: Task = "classification"
    greater_is_better: bool = True
    in_target_units: bool = False
    weighs_classes: bool = True
    statistic: Callable[[Rows], Scorer] | None = None


REGISTRY: Final = PluginRegistry("dropforge.metrics.definitions", "METRIC", "dropforge.metrics")
METRICS: Final[dict[str, Metric]] = REGISTRY.all()
# What settings.yaml may name as the metric of training and promotion.
TUNED: Final = tuple(m.name for m in METRICS.values() if m.statistic is not None)
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
