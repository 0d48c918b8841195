"""What a deployed stack costs, read from the template: while nothing happens, and for one use. List prices, no free tier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropforge.config.settings import Settings

# us-east-1, CloudWatch, KMS and Lambda price lists, 2026-11: a month of an alarm metric, a dashboard, a key; a GB-second, a request.
ALARM, DASHBOARD, KMS_KEY, GB_SECOND, REQUEST = 0.10, 3.00, 1.00, 0.0000166667, 0.0000002
# Longest of three cold calls of the recovery measured on the local cloud; Lambda's own will differ.
WAKE_SECONDS = 2.5
SQS_REQUEST = 0.0000004
# Lambda polls a queue with five connections that each wait 20 seconds for a message.
POLLS_A_MINUTE = 5 * 3
# Billed milliseconds of one call, measured on the local cloud with the example's files (`dropforge cost`); Lambda's own will differ.
MEASURED_MS = {"AnalyzeFunction": 2000, "ConcludeFunction": 1500, "PredictFunction": 31}
_HOURS = 730
_MINUTES = {"minute": 1, "minutes": 1, "hour": 60, "hours": 60, "day": 1440, "days": 1440}


def wake_ups(root: Path, parameters: Mapping[str, str]) -> dict[str, float]:
    """Function → calls a month that its schedules make."""
    template = _template(root)
    given = {name: str(p.get("Default", "")) for name, p in template["Parameters"].items()} | dict(parameters)
    calls: dict[str, float] = {}
    for name, resource in template["Resources"].items():
        for event in (
            resource.get("Properties", {}).get("Events", {}).values() if resource["Type"].endswith("Function") else ()
        ):
            if event["Type"] != "Schedule" or "Fn::If" in str(event["Properties"].get("State", "")):
                continue  # a retrain is work, not idling
            schedule = event["Properties"]["Schedule"]
            every = re.fullmatch(
                r"rate\((\d+) (\w+)\)", given[schedule["Ref"]] if isinstance(schedule, dict) else schedule
            )
            if every:
                calls[name] = calls.get(name, 0) + _HOURS * 60 / (int(every[1]) * _MINUTES[every[2]])
    return calls


def idle(root: Path, parameters: Mapping[str, str]) -> dict[str, float]:
    """Item → USD a month. Storage is left out: 0.023 a GB."""
    resources = _template(root)["Resources"]
    monitored = parameters.get("Monitoring", "true") == "true"
    alarms = sum(r["Type"] == "AWS::CloudWatch::Alarm" and r["Condition"] == "Monitored" for r in resources.values())
    items: dict[str, float] = {}
    for name, calls in wake_ups(root, parameters).items():
        memory = resources[name]["Properties"]["MemorySize"]
        price = calls * (WAKE_SECONDS * memory / 1024 * GB_SECOND + REQUEST)
        items[f"{name}: {calls:,.0f} scheduled calls"] = price
    queues = sum(r["Type"] == "AWS::Lambda::EventSourceMapping" for r in resources.values())
    polls = queues * POLLS_A_MINUTE * 60 * _HOURS
    items[f"{queues} queues: {polls:,.0f} polls (a million are free in an account)"] = polls * SQS_REQUEST
    if monitored:
        items[f"{alarms} alarms (ten are free in an account)"] = alarms * ALARM
        items["1 dashboard (three are free in an account)"] = DASHBOARD
        if parameters.get("MoreAlarms") == "true":
            more = [r for r in resources.values() if r.get("Condition") == "MonitoredMore"]
            metrics = sum("MetricStat" in metric for r in more for metric in r["Properties"]["Metrics"])
            items[f"{metrics} metrics of more alarms"] = metrics * ALARM
    if parameters.get("HistoryKey") == "kms":
        items["1 key of the deployment history"] = KMS_KEY
    return items


def use(root: Path, settings: Settings) -> dict[str, dict[str, float]]:
    """What one upload without its training, its training at most, and 1,000 predictions cost, by part; in USD."""
    from dropforge.config import cost_estimate

    resources = _template(root)["Resources"]
    used = {
        name: cost_estimate.Usage(ms, resources[name]["Properties"]["MemorySize"]) for name, ms in MEASURED_MS.items()
    }
    training = {m.name: cost_estimate.job_limit(m, settings.cost) for m in settings.models}
    return {
        "one upload, without training": cost_estimate.upload(
            settings, used["AnalyzeFunction"], used["ConcludeFunction"]
        ),
        "its training on Fargate, at most": training,
        "1,000 predictions": cost_estimate.predictions(settings, used["PredictFunction"]),
    }


def _template(root: Path) -> dict[str, Any]:
    from dropforge_local.packaging import load_template

    return load_template(root / "template.yaml")
