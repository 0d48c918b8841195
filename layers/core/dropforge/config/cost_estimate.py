"""What things cost on AWS, estimated: measured billed milliseconds times the list prices of `settings.cost`.

Estimates, not bills: no free tier, no data transfer out, no taxes. Sources of the formulas: the pricing pages of Lambda
(GB-seconds and requests), API Gateway REST, S3, Step Functions standard workflows and Fargate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropforge.config.settings import CostSettings, ModelSettings, Settings

# The task of template.yaml.
TASK_VCPU = 2
TASK_GB = 8
# Start of a container and the work around tuning: load, fit on all rows, evaluate, export. Measured on the example: 10-15 s.
JOB_OVERHEAD_SECONDS = 60
# State transitions of one upload: the fan-out and conclusion, and four a job.
_TRANSITIONS, _TRANSITIONS_A_JOB = 4, 4
# Objects written and read for one upload beside the trials: records, dataset, profile, report, artifacts.
_WRITES, _WRITES_A_JOB, _READS = 40, 25, 120
_LINE_BYTES = 600  # one line of log for one prediction, with its metrics


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one function: median billed milliseconds of a call, its memory in MB, and how many calls were looked at."""

    billed_ms: float
    memory_mb: int
    samples: int = 1

    def price(self, cost: CostSettings, calls: int = 1) -> float:
        """GB-seconds and requests of `calls` calls."""
        gb_seconds = self.billed_ms / 1000 * self.memory_mb / 1024 * calls
        return gb_seconds * cost.lambda_gb_second + calls * cost.lambda_million_requests / 1e6


def worker_hour(cost: CostSettings) -> float:
    """One training worker for an hour: the price that is set, else that of the template's Fargate task."""
    if cost.worker_hour is not None:
        return cost.worker_hour
    return TASK_VCPU * cost.fargate_vcpu_hour + TASK_GB * cost.fargate_gb_hour


def training_limit(settings: Settings) -> float:
    """The most one upload's training can cost: every worker of every model uses its whole budget of seconds, or all of them
    the model's budget of money, whichever is less."""
    return sum(job_limit(m, settings.cost) for m in settings.models)


def job_limit(model: ModelSettings, cost: CostSettings) -> float:
    """The most the training of one model can cost. Several workers are as many jobs, and one more that fits and evaluates."""
    hour = worker_hour(cost)
    tuning = model.workers * model.budget.seconds / 3600 * hour
    if model.budget.money is not None:
        tuning = min(tuning, model.budget.money)
    jobs = model.workers + 1 if model.workers > 1 else 1
    return tuning + jobs * JOB_OVERHEAD_SECONDS / 3600 * hour


def training_likely(settings: Settings, seconds: Mapping[str, float]) -> dict[str, float]:
    """What training each model costs if it takes as long as before: `seconds` of worker time by model, as measured; others
    are left out."""
    each = worker_hour(settings.cost) / 3600
    return {m.name: seconds[m.name] * each for m in settings.models if m.name in seconds}


def before_training(settings: Settings) -> dict[str, Any]:
    """What is told before the jobs of an upload are sent out: the most they can cost, as a whole and by model."""
    return {
        "training_at_most": round(training_limit(settings), 6),
        "models": {m.name: round(job_limit(m, settings.cost), 6) for m in settings.models},
        "currency": settings.cost.currency,
        "prices_as_of": settings.cost.as_of.isoformat(),
    }


def upload(settings: Settings, analyze: Usage, conclude: Usage) -> dict[str, float]:
    """One upload without its training, by part."""
    cost, jobs = settings.cost, len(settings.models)
    return {
        "analyze": analyze.price(cost),
        "conclude": conclude.price(cost),
        "workflow": (_TRANSITIONS + _TRANSITIONS_A_JOB * jobs) / 1000 * cost.workflow_thousand_transitions,
        "storage requests": (_WRITES + _WRITES_A_JOB * jobs) / 1000 * cost.s3_thousand_writes
        + _READS / 1000 * cost.s3_thousand_reads,
    }


def predictions(settings: Settings, predict: Usage, number: int = 1000) -> dict[str, float]:
    """`number` requests of one row, by part. The gateway is the larger half."""
    cost = settings.cost
    return {
        "predict": predict.price(cost, number),
        "api": number / 1e6 * cost.api_million_requests,
        "logs": number * _LINE_BYTES / 1e9 * cost.logs_gb,
    }


def idle_month(settings: Settings, stored_gb: float) -> float:
    """A month in which nothing happens: what is stored."""
    return stored_gb * settings.cost.s3_gb_month
