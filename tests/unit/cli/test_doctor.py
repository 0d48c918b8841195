"""doctor: each thing that can be wrong is found, told in words, and comes with its fix."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from dropforge.errors import Unavailable
from dropforge_cli import checks
from dropforge_cli.target import Target

ROOT = Path(__file__).parents[3]


class _Amazon(Target):
    """A target whose clients are moto's."""

    def client(self, service: str) -> Any:
        return boto3.client(service, "us-east-1")


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        sqs = boto3.client("sqs", "us-east-1")
        names = (
            "UploadsQueueUrl",
            "BatchQueueUrl",
            "TrainingQueueUrl",
            "TrainingDeadLetterQueueUrl",
            "FailedEventsQueueUrl",
        )
        yield _Amazon({n: sqs.create_queue(QueueName=n)["QueueUrl"] for n in names} | {"StackName": "p"})


def _levels(findings: list[checks.Finding]) -> dict[str, str]:
    return {f.check: f.level for f in findings}


def test_dead_letters_are_found(target: Target) -> None:
    """A message in a dead-letter queue is bad, with the queue in the fix; jobs that wait are not."""
    sqs = target.client("sqs")
    assert set(_levels(list(checks.queues(target))).values()) == {"ok"}
    sqs.send_message(QueueUrl=target.outputs["TrainingQueueUrl"], MessageBody="{}")
    sqs.send_message(QueueUrl=target.outputs["TrainingDeadLetterQueueUrl"], MessageBody="{}")
    matches = list(checks.queues(target))
    queues = {"uploads queue": "ok", "batch queue": "ok", "training queue": "ok"}
    assert _levels(matches) == {**queues, "dead jobs": "bad", "failed events": "ok"}
    assert target.outputs["TrainingDeadLetterQueueUrl"] in next(f for f in matches if f.check == "dead jobs").fix


def test_an_alarm_that_is_on_is_found(target: Target) -> None:
    """Alarms of this stack in state ALARM are told with their description; those of others are not."""
    watch = target.client("cloudwatch")
    for name in ("p-JobsDeadAlarm-1", "other-Alarm"):
        watch.put_metric_alarm(
            AlarmName=name, AlarmDescription="read the queue", MetricName="m", Namespace="n", Statistic="Sum",
            Period=60, EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
    assert [f.level for f in checks.alarms(target)] == ["ok"]
    for name in ("p-JobsDeadAlarm-1", "other-Alarm"):
        watch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    (result,) = checks.alarms(target)
    assert (result.level, result.result, result.fix) == ("bad", "JobsDeadAlarm-1", "read the queue")


def test_a_taken_port_is_found() -> None:
    """A port somebody listens on is bad, and the fix names the option and another port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (result,) = checks.ports({"--port": port})
    assert result.level == "bad"
    assert f"--port {port + 1}" in result.fix


def test_mistakes_in_the_settings_are_found(tmp_path: Path) -> None:
    """A mistake is bad with its line; a good file that is not in force is a warning; the one in force is fine."""
    shutil.copy(ROOT / "settings.yaml", tmp_path)
    text = (ROOT / "settings.yaml").read_bytes()
    assert _levels(list(checks.settings_file(tmp_path, text))) == {"settings": "ok"}
    assert _levels(list(checks.settings_file(tmp_path, b"other"))) == {"settings": "warn"}
    (tmp_path / "settings.yaml").write_bytes(text.replace(b"history: append", b"history: keep"))
    (result,) = checks.settings_file(tmp_path, text)
    assert result.level == "bad"
    assert "data.history" in result.result


def test_a_part_that_is_down_is_found() -> None:
    """A stopped worker is bad and says how it is started."""
    matches = list(checks.local_parts({"emulator": "running", "mlflow": "running", "worker": "stopped"}))
    assert _levels(matches) == {"emulator": "ok", "mlflow": "ok", "worker": "bad"}
    assert "dropforge up" in matches[2].fix


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than 2 GB free is bad, less than 10 GB a warning."""
    free = {"value": 1e9}
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=int(free["value"])))
    assert _levels(list(checks.machine(tmp_path, tmp_path)))["disk"] == "bad"
    free["value"] = 5e9
    assert _levels(list(checks.machine(tmp_path, tmp_path)))["disk"] == "warn"


@pytest.mark.parametrize("error", [Unavailable("gone", fix="try later"), RuntimeError("boom")])
def test_a_check_that_breaks_is_a_finding(error: Exception) -> None:
    """Doctor never fails on what it examines: the error becomes a finding, those before it stay."""

    def check() -> Iterator[checks.Finding]:
        yield checks.Finding("first", "ok", "fine")
        raise error

    result = checks.run("second", check())
    assert _levels(result) == {"first": "ok", "second": "bad"}
    assert result[1].fix
