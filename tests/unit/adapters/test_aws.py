"""What AWS does and an emulator does not: throttling by many names, races of conditional writes, addresses of new buckets, limits."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from dropforge.adapters.aws_client import client, translated
from dropforge.adapters.cloudwatch_handler import CloudWatchHandler
from dropforge.adapters.s3_store import S3Store
from dropforge.adapters.step_functions import StepFunctionsWorkflow
from dropforge.environment import Environment
from dropforge.errors import Conflict, Unavailable
from dropforge.ports import REQUESTS_AT_ONCE


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that work nowhere, and no endpoint of a local cloud."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


def _refusal(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")  # type: ignore[typeddict-item] # as the wire has it


@pytest.mark.parametrize(
    "code",
    [
        "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "LimitExceededException",
        "KmsThrottlingException", "KMSThrottlingException", "ExecutionLimitExceeded", "ThrottlingException", "Throttling", "SlowDown",
        "ProvisionedThroughputExceededException", "BandwidthLimitExceeded",
    ],
)  # fmt: skip
def test_every_name_of_throttling_may_be_tried_again(code: str) -> None:
    """A service that is asked too often says so with HTTP 400 and one of many names; none of them ends a job for good."""
    with pytest.raises(Unavailable), translated("a call"):
        raise _refusal(code, 400)


def test_a_status_of_429_may_be_tried_again() -> None:
    """Whatever name a service gives it."""
    with pytest.raises(Unavailable), translated("a call"):
        raise _refusal("SomeNewName", 429)


def _store() -> tuple[S3Store, Stubber]:
    s3 = client("s3", Environment(aws_region="eu-west-1"))
    return S3Store(s3), Stubber(s3)


def test_a_race_of_conditional_writes_is_run_again() -> None:
    """409 ConditionalRequestConflict judged nothing: the same write is sent again and its own answer counts."""
    store, stub = _store()
    expected = {"Bucket": "b", "Key": "k", "Body": b"x", "ContentType": ANY, "IfNoneMatch": "*"}
    stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409, expected_params=expected)
    stub.add_response("put_object", {"ETag": '"1"'}, expected)
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412, expected_params=expected)
    with stub:
        assert store.put("s3://b/k", b"x", if_absent=True) == '"1"'
        with pytest.raises(Conflict):
            store.put("s3://b/k", b"x", if_absent=True)
    stub.assert_no_pending_responses()


def test_a_race_without_end_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few tries the caller hears that S3 is busy: nobody else's version was seen, so it is no conflict."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    store, stub = _store()
    for _ in range(5):
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
    with stub, pytest.raises(Unavailable):
        store.put("s3://b/k", b"x", if_match='"0"')
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-southeast-5"])
def test_a_presigned_address_names_the_region(region: str) -> None:
    """Forms and links go to the bucket's own region: the global address answers 307 for a new bucket, and that without CORS."""
    store = S3Store(client("s3", Environment(aws_region=region)))
    form = store.presign_post("s3://bucket/incoming/a.csv", max_bytes=1, seconds=60)
    link = store.presign_get("s3://bucket/reports/a.html", 60)
    hosts = {urlsplit(form.url).hostname, urlsplit(link).hostname}
    regional = f"bucket.s3.{region}.amazonaws.com"
    assert hosts <= {regional, "bucket.s3.amazonaws.com"} if region == "us-east-1" else hosts == {regional}


class _Logs:
    """What arrives at PutLogEvents."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []

    def create_log_stream(self, **_: str) -> None: ...

    def put_log_events(self, logEvents: list[dict[str, Any]], **_: str) -> None:  # noqa: N803 - botocore's name
        stamps = [event["timestamp"] for event in logEvents]
        if stamps != sorted(stamps):
            raise _refusal("InvalidParameterException", 400)
        if sum(len(event["message"].encode()) + 26 for event in logEvents) > 1_048_576:
            raise _refusal("InvalidParameterException", 400)
        self.batches.append(logEvents)


def test_readers_at_once_share_their_connections() -> None:
    """With fewer in the pool, each request beyond them opens one of its own."""
    created = client("s3", Environment(data_bucket="d", artifact_bucket="a", aws_region="us-east-1"))
    assert created.meta.config.max_pool_connections >= REQUESTS_AT_ONCE


def test_log_lines_arrive_in_the_order_of_time() -> None:
    """PutLogEvents refuses a batch that is not sorted or too large; lines of several threads come in any order and of any length."""
    logs = _Logs()
    handler = CloudWatchHandler(logs, "group", "stream")
    handler.setFormatter(logging.Formatter("%(message)s"))
    for created, text in ((2.0, "second"), (1.0, "first"), *((3.0 + n, "ü" * 150_000) for n in range(8))):
        record = logging.makeLogRecord({"msg": text})
        record.created = created
        handler.emit(record)
    for _ in range(100):
        if sum(map(len, logs.batches)) == 10:
            break
        handler._closing.wait(0.1)
    handler.close()
    lines = [event for batch in logs.batches for event in batch]
    assert [event["message"] for event in lines[:2]] == ["first", "second"]
    assert len(lines) == 10
    assert all(len(event["message"].encode()) <= 262_144 for event in lines)


def test_a_cause_fits_into_the_payload_of_all() -> None:
    """Forty jobs that fail with the longest text, JSON-escaped twice on their way, still fit into one payload of 256 KB."""
    seen: list[str] = []

    class Client:
        def send_task_failure(self, cause: str, **_: str) -> None:
            seen.append(cause)

    StepFunctionsWorkflow(Client(), "arn").fail("token", "JobFailed", 'C:\\path "quoted"\n' * 4_000)
    assert 0 < len(seen[0]) * 2 * 40 < 262_144
