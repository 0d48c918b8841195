"""The newest lines of a log group, whatever there is of older ones."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from dropforge.adapters.cloudwatch_reader import CloudWatchLogs
from dropforge.errors import PermanentError, Unavailable

NOW_MS = 1_800_000_000_000


class _Group:
    """FilterLogEvents of one group as AWS documents it: ascending, `page` events a call, pages that may be empty."""

    def __init__(self, times: list[int], page: int, *, empty_pages: int = 0) -> None:
        self._times, self._page, self._empty = sorted(times), page, empty_pages
        self.calls = 0

    def filter_log_events(self, *, startTime: int, endTime: int, nextToken: str = "0", **_: Any) -> dict[str, Any]:  # noqa: N803 - AWS names them
        self.calls += 1
        at = int(nextToken)
        if at < self._empty:
            return {"events": [], "nextToken": str(at + 1)}
        matches = [t for t in self._times if startTime <= t <= endTime]
        begin = (at - self._empty) * self._page
        events = [{"timestamp": t, "message": str(t)} for t in matches[begin : begin + self._page]]
        return {"events": events, **({"nextToken": str(at + 1)} if begin + self._page < len(matches) else {})}


def _reader(group: Any) -> CloudWatchLogs:
    return CloudWatchLogs(group, clock=lambda: NOW_MS / 1000)


HOUR = 3_600_000


@pytest.mark.parametrize("lines", [0, 7, 400, 30_000])
@pytest.mark.parametrize("empty_pages", [0, 2])
def test_the_newest_lines_are_read(lines: int, empty_pages: int) -> None:
    """Of however many lines in an hour, spread evenly, the newest 100 come in order of time, within 24 requests."""
    times = [NOW_MS - n * HOUR // max(lines, 1) for n in range(lines)]
    group = _Group(times, 100, empty_pages=empty_pages)
    result = _reader(group).read("g", NOW_MS - HOUR, "", 100)
    assert [line.at for line in result.lines] == sorted(times)[-100:]
    assert result.complete == (lines <= 100)
    assert group.calls <= 24


def test_lines_of_one_burst_long_ago_are_found() -> None:
    """A group that was busy in the span's first minute alone is read up to there."""
    times = [NOW_MS - HOUR + n for n in range(300)]
    result = _reader(_Group(times, 100)).read("g", NOW_MS - HOUR, "", 1000)
    assert [line.at for line in result.lines] == times
    assert result.complete


def test_more_than_can_be_read_is_said_to_be_incomplete() -> None:
    """With more lines in a second than all the requests bring, the reading ends, and says that something is left out."""
    group = _Group([NOW_MS - n % 1000 for n in range(5000)], 1)
    result = _reader(group).read("g", NOW_MS - HOUR, "", 10_000)
    assert not result.complete
    assert group.calls <= 24


@mock_aws
def test_lines_are_read_from_cloudwatch() -> None:
    """Only from the time asked for; a group that is not there has none."""
    client = boto3.client("logs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    client.create_log_group(logGroupName="g")
    client.create_log_stream(logGroupName="g", logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now - 9000 + i, "message": json.dumps({"message": "answered", "n": i})} for i in range(5)]
    client.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)
    logs = CloudWatchLogs(client)
    assert [json.loads(line.text)["n"] for line in logs.read("g", now - 9000 + 2, '"answered"', 2).lines] == [3, 4]
    absent = logs.read("absent", 0, '"answered"', 10)
    assert (absent.lines, absent.complete) == ([], True)


@pytest.mark.parametrize(
    ("code", "error"), [("AccessDeniedException", PermanentError), ("ThrottlingException", Unavailable)]
)
def test_a_refused_reading_is_no_empty_log(code: str, error: type[Exception]) -> None:
    """Denied and throttled readings raise, and a denied one names the permission that is needed."""

    class Refusing:
        def filter_log_events(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "FilterLogEvents")

    with pytest.raises(error) as caught:
        _reader(Refusing()).read("g", 0, "", 10)
    assert code != "AccessDeniedException" or "FilterLogEvents" in str(getattr(caught.value, "fix", ""))
