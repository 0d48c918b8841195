"""What `doctor` looks at: each check asks one thing of the set-up and says what it found and how to correct it."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dropforge.errors import DropforgeError, SettingsError
from dropforge_cli.target import Target

Level = Literal["ok", "warn", "bad"]
_FREE_GB = 2.0
_ROOMY_GB = 10.0
_ERROR_LINES = 1000  # newest that contain the word
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` is empty when all is well."""

    check: str
    level: Level
    result: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def machine(root: Path, home: Path) -> Iterator[Finding]:
    """Interpreter and disk."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", version)
    free = shutil.disk_usage(home if home.exists() else root).free / 1e9
    level: Level = "bad" if free < _FREE_GB else "warn" if free < _ROOMY_GB else "ok"
    fix = "" if level == "ok" else f"free some space; the local cloud keeps its data in {home}"
    yield Finding("disk", level, f"{free:.1f} GB free", fix)


def ports(numbers: dict[str, int]) -> Iterator[Finding]:
    """Asked while nothing of ours runs: is the port free? `numbers`: option → port."""
    for option, port in numbers.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        result = f"port {port} is {'taken by another program' if taken else 'free'}"
        fix = f"stop that program, or: dropforge up {option} {port + 1}" if taken else ""
        yield Finding("ports", "bad" if taken else "ok", result, fix)


def settings_file(root: Path, in_force: bytes | None) -> Iterator[Finding]:
    """The file's mistakes by line; whether what is in force is this file."""
    from dropforge.config import settings

    text = (root / "settings.yaml").read_bytes()
    try:
        parsed = settings.load(text)
    except SettingsError as error:
        yield Finding("settings", "bad", error.message, error.fix)
        return
    if in_force is not None and in_force != text:
        yield Finding("settings", "warn", "settings.yaml is not what is in force", "put it in force: dropforge apply")
    else:
        yield Finding("settings", "ok", f"{len(parsed.models)} models, target {parsed.data.target}")


def local_parts(parts: dict[str, str]) -> Iterator[Finding]:
    """Processes of the local cloud by `cloud.status`."""
    for name in ("emulator", "mlflow", "worker"):
        word = parts.get(name, "stopped")
        running = word not in {"stopped", "unknown"}
        fix = "" if running else "start it: dropforge up (its log: .dropforge/logs/)"
        yield Finding(name, "ok" if running else "bad", word, fix)


def stack(target: Target) -> Iterator[Finding]:
    """CloudFormation's word on the stack."""
    result = target.client("cloudformation").describe_stacks(StackName=target.outputs["StackName"])["Stacks"][0]
    status = str(result["StackStatus"])
    good = status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}
    busy = status.endswith("IN_PROGRESS")
    fix = (
        ""
        if good
        else "wait for it"
        if busy
        else "correct template.yaml, then deploy again; CloudFormation's events say why"
    )
    yield Finding("stack", "ok" if good else "warn" if busy else "bad", status, fix)


def served_version(target: Target) -> Iterator[Finding]:
    """Whether requests reach the newest code: the alias must point at a version with the layers of $LATEST."""
    functions, name = target.client("lambda"), target.outputs["PredictFunction"]
    newest = functions.get_function_configuration(FunctionName=name)
    live = functions.get_function_configuration(FunctionName=name, Qualifier="live")
    same = _code(newest) == _code(live)
    output = f"version {live['Version']} of predict answers{'' if same else ', older than what was deployed'}"
    yield Finding(
        "predict", "ok" if same else "bad", output, "" if same else "deploy again: make deploy, or dropforge up"
    )


def _code(configuration: dict[str, Any]) -> tuple[Any, ...]:
    return configuration["CodeSha256"], tuple(layer["Arn"] for layer in configuration.get("Layers", ()))


def queues(target: Target) -> Iterator[Finding]:
    """Jobs that wait, jobs and events that died."""
    sqs = target.client("sqs")
    for name, key, what in (
        ("uploads queue", "UploadsQueueUrl", "files wait for their analysis"),
        ("batch queue", "BatchQueueUrl", "files wait to be scored"),
        ("training queue", "TrainingQueueUrl", "jobs waiting"),
    ):
        yield Finding(name, "ok", f"{_depth(sqs, target.outputs[key])} {what}")
    for name, key, what in (
        ("dead jobs", "TrainingDeadLetterQueueUrl", "no worker could finish them"),
        (
            "failed events",
            "FailedEventsQueueUrl",
            "their analysis failed after all retries; recovery sends them again",
        ),
    ):
        depth = _depth(sqs, target.outputs[key])
        fix = f"{what}; read `dropforge logs`, then purge the queue {target.outputs[key]}" if depth else ""
        yield Finding(name, "bad" if depth else "ok", str(depth), fix)


def _depth(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages"]
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]])


def health(target: Target) -> Iterator[Finding]:
    """What the API says of its parts."""
    for part, output in target.api("GET", "/health").json()["parts"].items():
        if "error" not in output:
            words = ", ".join(f"{k} {v}" for k, v in output.items() if v is not None and not isinstance(v, dict))
            yield Finding(part.replace("_", " "), "ok", words or "yes")
        else:
            level: Level = "warn" if part == "active_model" else "bad"
            yield Finding(part.replace("_", " "), level, output["message"], output["fix"])


def failures(target: Target) -> Iterator[Finding]:
    """The last uploads that came to nothing, and errors in the log of the last hour."""
    listed = target.api("GET", "/uploads").json()["uploads"][:20]
    lost = [u for u in listed if u["state"] in {"failed", "rejected", "blocked"}]
    for u in lost[:3]:
        fix = f"dropforge logs {u['upload_id']}; the record's own fix: dropforge watch {u['upload_id']}"
        output = f"{u['upload_id']} {u['key'].rpartition('/')[2]} {u['state']}: {u['reason'][:120]}"
        yield Finding("upload", "warn", output, fix)
    if not lost:
        yield Finding("uploads", "ok", f"none of the last {len(listed)} failed" if listed else "none yet")


def errors(target: Target) -> Iterator[Finding]:
    """ERROR lines of the last hour, by service. A log that cannot be read is a finding of its own: nothing is known of it."""
    from dropforge.adapters.cloudwatch_reader import CloudWatchLogs
    from dropforge_cli.commands.logs import SERVICES, parse

    since = int((time.time() - _HOUR) * 1000)
    reader, quiet = CloudWatchLogs(target.client("logs")), True
    for service in SERVICES:
        try:
            read = reader.read(f"{target.outputs['LogGroupPrefix']}{service}", since, '"ERROR"', _ERROR_LINES)
        except DropforgeError as error:
            quiet = False
            yield Finding(f"log of {service}", "bad", f"cannot be read: {error.message}", error.fix)
            continue
        lines = [line for line in map(parse, (result.text for result in read.lines)) if line is not None]
        wrong = [line for line in lines if line.get("level") == "ERROR"]
        if wrong:
            quiet = False
            last = wrong[-1]
            reason = f"{last['message']} {last.get('code') or last.get('error', '')}".strip()
            fix = f"dropforge logs {last.get('correlation_id', '')} --service {service}"
            count = f"{len(wrong)}{'' if read.complete else ' or more'} errors in an hour"
            yield Finding(f"log of {service}", "warn", f"{count}; the last: {reason[:120]}", fix)
    if quiet:
        yield Finding("logs", "ok", "no error in the last hour")


def alarms(target: Target) -> Iterator[Finding]:
    """CloudWatch alarms of the stack that are on."""
    prefix = f"{target.outputs['StackName']}-"
    pages = target.client("cloudwatch").get_paginator("describe_alarms")
    listed = [a for page in pages.paginate(AlarmNamePrefix=prefix, StateValue="ALARM") for a in page["MetricAlarms"]]
    # An emulator may leave the filters out.
    matches = [a for a in listed if a["StateValue"] == "ALARM" and a["AlarmName"].startswith(prefix)]
    for alarm in matches:
        yield Finding("alarm", "bad", alarm["AlarmName"].removeprefix(prefix), alarm["AlarmDescription"])
    if not matches:
        yield Finding("alarms", "ok", "none is on")


def run(name: str, check: Iterator[Finding]) -> list[Finding]:
    """The check's findings; a check that cannot be asked is a finding itself."""
    matches: list[Finding] = []
    try:
        matches.extend(check)
    except DropforgeError as error:
        matches.append(Finding(name, "bad", error.message, error.fix))
    except Exception as error:
        matches.append(
            Finding(
                name, "bad", f"request failed: {error}", "see the findings above; credentials, network, permissions"
            )
        )
    return matches
