"""Calls and problems told from log lines."""

from __future__ import annotations

import json
from typing import Any

import boto3
from moto import mock_aws

from dropforge.adapters.cloudwatch_reader import CloudWatchLogs
from dropforge.ports import LogLine
from dropforge.steps.activity import activity

NOW = 1_800_000_000.0


class _Logs:
    """Log groups in memory; a pattern is a text in quotes, as CloudWatch has it."""

    def __init__(self, lines: dict[str, list[tuple[float, Any]]]) -> None:
        self._lines = lines

    def read(self, group: str, since: int, pattern: str, limit: int) -> list[LogLine]:
        told = [
            LogLine(int((NOW - ago) * 1000), line if isinstance(line, str) else json.dumps(line))
            for ago, line in self._lines.get(group, ())
        ]
        return [t for t in told if t.at >= since and pattern.strip('"') in t.text][:limit]


def _call(status: int, milliseconds: float, path: str = "/predict", **more: Any) -> dict[str, Any]:
    told = {"level": "INFO", "message": "answered", "method": "POST", "path": path, "resource": path}
    return {**told, "status": status, "milliseconds": milliseconds, **more}


def test_calls_are_counted_by_time_and_route() -> None:
    """Twelve spans; refused and failed apart; median and 95th percentile by nearest rank."""
    calls = [(60.0 * i + 30, _call(200, float(i + 1))) for i in range(20)]
    refused = (5.0, _call(422, 1.0, "/set_model", code="alias_unknown", why="no such alias", correlation_id="r1"))
    lines = {"/g/predict": [*calls, (1.0, "START RequestId answered")], "/g/control": [refused]}
    told = activity(_Logs(lines), "/g/", 60, NOW)
    assert [s["requests"] for s in told["traffic"]] == [0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 6]
    assert told["traffic"][-1]["refused"] == 1
    predict = told["routes"][0]
    assert (predict["route"], predict["requests"], predict["median_ms"], predict["p95_ms"]) == (
        "POST /predict",
        20,
        10,
        19,
    )
    assert told["problems"][0] | {"at": ""} == {
        "at": "", "part": "control", "what": "POST /set_model answered 422", "code": "alias_unknown",
        "message": "no such alias", "id": "r1",
    }  # fmt: skip
    assert told["complete"]


def test_problems_of_every_part_are_told_newest_first() -> None:
    """Error lines of the parts behind the API, and failed calls, in one order of time."""
    boom = {"level": "ERROR", "message": "boom", "correlation_id": "u1"}
    info = {"level": "INFO", "message": "no ERROR here"}
    lines = {"/g/training": [(9.0, boom), (8.0, info)], "/g/predict": [(3.0, _call(500, 2.0))]}
    told = activity(_Logs(lines), "/g/", 15, NOW)
    assert [(p["part"], p["id"]) for p in told["problems"]] == [("predict", ""), ("training", "u1")]


@mock_aws
def test_lines_are_read_from_cloudwatch() -> None:
    """Only from the time asked for; a group that is not there has none."""
    client = boto3.client("logs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    client.create_log_group(logGroupName="g")
    client.create_log_stream(logGroupName="g", logStreamName="s")
    import time

    now = int(time.time() * 1000)
    events = [{"timestamp": now - 9000 + i, "message": json.dumps({"message": "answered", "n": i})} for i in range(5)]
    client.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)
    logs = CloudWatchLogs(client)
    assert [json.loads(line.text)["n"] for line in logs.read("g", now - 9000 + 2, '"answered"', 2)] == [2, 3]
    assert logs.read("absent", 0, '"answered"', 10) == []
