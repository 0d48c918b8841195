"""Log lines of the emulator: the newest stay, and their number has a bound."""

from __future__ import annotations

import json
import time

from ministack.services import cloudwatch_logs, lambda_svc

from dropforge_local.emulator_logs import start_trimming, trim


def _lines(group: str) -> list[str]:
    """As FilterLogEvents gives them, without those of the platform."""
    _, _, body = cloudwatch_logs._filter_log_events({"logGroupName": group})
    return [e["message"] for e in json.loads(body)["events"] if "RequestId" not in e["message"]]


def _call(group: str, number: int) -> None:
    """A call of a function as MiniStack logs it: in a stream of its own."""
    function = {"config": {"FunctionName": group.rpartition("/")[2]}}
    lambda_svc._emit_lambda_logs(function, f"r{number}", f"line {number}", False, 1)


def test_the_newest_streams_stay() -> None:
    """Of the streams of a hundred calls the newest thirty are left, and their lines can be read."""
    group = "/aws/lambda/trimmed"
    for number in range(100):
        _call(group, number)
        cloudwatch_logs._log_groups[group]["streams"][next(reversed(cloudwatch_logs._log_groups[group]["streams"]))][
            "lastEventTimestamp"
        ] = number  # a hundred calls fall into a few milliseconds: let their order be seen
    trim([cloudwatch_logs._log_groups[group]], streams=30)
    assert _lines(group) == [f"line {n}" for n in range(70, 100)]
    assert len(cloudwatch_logs._log_groups[group]["streams"]) == 30


def test_the_newest_lines_of_a_long_stream_stay() -> None:
    """A stream that one worker fills for days keeps its newest lines."""
    group, stream = "/dropforge/trimmed/training", "worker"
    cloudwatch_logs._create_log_group({"logGroupName": group})
    cloudwatch_logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
    now = int(time.time() * 1000)
    events = [{"timestamp": now + n, "message": f"line {n}"} for n in range(50)]
    cloudwatch_logs._put_log_events({"logGroupName": group, "logStreamName": stream, "logEvents": events})
    trim([cloudwatch_logs._log_groups[group]], lines=20)
    assert _lines(group) == [f"line {n}" for n in range(30, 50)]


def test_trimming_goes_on_beside_the_emulator() -> None:
    """Its thread ends with the process and never holds it up."""
    assert start_trimming().daemon
