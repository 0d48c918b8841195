"""What an upload, its training and a thousand predictions cost, from what was measured and the prices in settings.yaml."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dropforge.config.cost_estimate import (
    Usage,
    idle_month,
    job_limit,
    predictions,
    training_likely,
    training_limit,
    upload,
    worker_hour,
)
from dropforge.config.settings import Settings
from dropforge.errors import NotFound
from dropforge_cli.commands.logs import events
from dropforge_cli.target import Target

_FEW = 10
_REPORT = re.compile(r"Billed Duration: (\d+) ms\s+Memory Size: (\d+) MB")


def estimate(
    settings: Settings, used: dict[str, Usage], training: dict[str, list[float]], stored_gb: float
) -> dict[str, Any]:
    """Everything `cost` tells. Prices in the currency of `settings.cost`; `training`: see trained."""
    likely = training_likely(settings, {m: statistics.median(took) for m, took in training.items()})
    sums = {
        "one upload": upload(settings, used["analyze"], used["conclude"]),
        **({"its training, as measured": {**likely, "all models": sum(likely.values())}} if likely else {}),
        "its training, at most": {m.name: job_limit(m, settings.cost) for m in settings.models}
        | {"all models": training_limit(settings)},
        "1,000 predictions": predictions(settings, used["predict"]),
        "an idle month": {f"storage, {stored_gb:.2f} GB": idle_month(settings, stored_gb)},
    }
    for what in ("one upload", "1,000 predictions"):
        sums[what]["sum"] = sum(sums[what].values())
    calls = ", ".join(f"{n} {u.billed_ms:.0f} ms at {u.memory_mb} MB (median of {u.samples})" for n, u in used.items())
    jobs = ", ".join(f"{m} {statistics.median(took):.0f} s (median of {len(took)})" for m, took in training.items())
    calls += f"; training {jobs}" if jobs else ""
    where = " on Fargate" if settings.cost.worker_hour is None else ""
    notes = [
        f"measured here: {calls}. Lambda's processors are not these: measure again after the first upload on AWS.",
        f"prices: list prices of {settings.cost.region} as of {settings.cost.as_of}, from settings.yaml; check them.",
        f"a training worker{where}: {worker_hour(settings.cost):.4f} {settings.cost.currency} an hour.",
        "left out: free tier, data transfer, taxes, the MLflow server (docs/aws.md).",
    ]
    if used["predict"].samples < _FEW:
        notes.insert(1, "few predictions were measured; an instance's first call is slow, and the median with it.")
    return {"estimates": sums, "measured": {n: asdict(u) for n, u in used.items()}, "notes": notes}


def measured(target: Target, service: str, days: float) -> Usage:
    """The median of what Lambda billed. Raises NotFound when the function has not run."""
    reports = list(_reports(target.client("logs"), f"{target.outputs['LogGroupPrefix']}{service}", days))
    if not reports:
        raise NotFound(
            f"{service} has not run in the last {days:g} days",
            code="nothing_measured",
            fix="run one upload and one prediction first: dropforge demo",
        )
    return Usage(statistics.median(ms for ms, _ in reports), reports[-1][1], len(reports))


def trained(logs: Any, group: str, days: float) -> dict[str, list[float]]:
    """By model the seconds of worker time that each upload's training took, those of all its workers together."""
    took: dict[tuple[str, str], float] = {}
    for event in events(logs, group, int((time.time() - days * 86400) * 1000), ""):
        line = event["line"]
        if line.get("message") in {"trained", "tuned"}:
            key = str(line.get("model")), str(line.get("correlation_id"))
            took[key] = took.get(key, 0.0) + float(line["seconds"])
    matches: dict[str, list[float]] = {}
    for (model, _), seconds in took.items():
        matches.setdefault(model, []).append(seconds)
    return matches


def _reports(logs: Any, group: str, days: float) -> Iterator[tuple[int, int]]:
    """(billed ms, MB) of the platform's REPORT lines."""
    since = int((time.time() - days * 86400) * 1000)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, startTime=since, filterPattern='"REPORT RequestId"'
    )
    for page in pages:
        for event in page["events"]:
            if result := _REPORT.search(event["message"]):
                yield int(result[1]), int(result[2])


def stored(target: Target) -> float:
    """GB in both buckets, all versions."""
    s3 = target.client("s3")
    total = 0
    for bucket in (target.outputs["DataBucket"], target.outputs["ArtifactBucket"]):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            total += sum(v["Size"] for v in page.get("Versions", ()))
    return total / 1e9
