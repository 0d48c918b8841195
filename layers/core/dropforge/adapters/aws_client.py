"""Clients and the one translation from botocore's errors to ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from dropforge.errors import Conflict, DropforgeError, NotFound, PermanentError, Unavailable
from dropforge.ports import REQUESTS_AT_ONCE

if TYPE_CHECKING:
    from dropforge.environment import Environment

_MISSING = {
    "NoSuchKey",
    "404",
    "NoSuchBucket",
    "NoSuchVersion",
    "NotFound",
    "ResourceNotFoundException",
    "ExecutionDoesNotExist",
}
_CONFLICT = {"PreconditionFailed", "412", "409"}
# S3's word for two conditional writes at the same moment: neither was judged, the same request may be sent again.
RACES = {"ConditionalRequestConflict", "OperationAborted"}
# What services answer when they are asked too often, or by too many at once; some with HTTP 400.
_TRANSIENT = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *("TooManyRequestsException", "RequestLimitExceeded", "LimitExceededException", "BandwidthLimitExceeded"),
    *("ProvisionedThroughputExceededException", "TransactionInProgressException", "PriorRequestNotComplete"),
    *("SlowDown", "RequestTimeout", "RequestTimeoutException", "EC2ThrottledException"),
    *("KmsThrottlingException", "KMSThrottlingException", "ExecutionLimitExceeded", "ServiceUnavailable"),
}
_REFUSED = {"AccessDenied", "403", "AccessDeniedException", "Forbidden"}


def client(service: str, env: Environment) -> Any:
    """A boto3 client for the environment: its endpoint when one is named (the local cloud), else AWS."""
    config = Config(
        signature_version="s3v4" if service == "s3" else None,
        # Virtual: a presigned address then names the bucket's region. The global one redirects a new bucket's callers, without CORS.
        s3={"addressing_style": "path" if env.aws_endpoint_url else "virtual"},
        # A function that works too long for its caller is not asked a second time: the caller has no time left.
        # An event nobody could be told of is no reason to keep a caller waiting.
        retries={"mode": "standard", "max_attempts": {"lambda": 0, "events": 1}.get(service, 5)},
        connect_timeout=2 if service == "events" else 5,
        max_pool_connections=REQUESTS_AT_ONCE,  # one more would open a connection, with its handshake, for each request
        read_timeout={"sqs": 65, "lambda": 18, "events": 2}.get(service, 30),
    )
    return boto3.client(
        service, endpoint_url=env.aws_endpoint_url or None, region_name=env.aws_region or None, config=config
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise our errors for botocore's; `what` names the thing for the message."""
    try:
        yield
    except ClientError as error:
        raise _translate(error, what) from error
    except (
        BotoCoreError,
        HTTPError,
    ) as error:  # HTTPError: botocore lets it through where the body of a refusal breaks off
        raise Unavailable(
            f"{what}: {error}", code="aws_unreachable", fix="check the network and the endpoint, then try again"
        ) from error


def _translate(error: ClientError, what: str) -> DropforgeError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _MISSING or status == 404:
        return NotFound(f"{what} does not exist", code="object_missing", fix="check the address")
    if code in RACES or code in _TRANSIENT or status == 429:
        return Unavailable(f"{what}: {code or status}", code="aws_busy", fix="try again in a moment")
    if code in _CONFLICT or status in {409, 412}:
        return Conflict(f"{what} was written by somebody else", code="write_conflict", fix="read it again, then decide")
    if code in _REFUSED or status == 403:
        return PermanentError(
            f"{what}: access denied",
            code="access_denied",
            fix=f"allow {error.operation_name} on it: in template.yaml to the function's role, or to your own credentials",
        )
    if status >= 500:
        return Unavailable(f"{what}: {code or status}", code="aws_unavailable", fix="try again in a moment")
    return PermanentError(f"{what}: {error}", code="aws_refused", fix="see the message")
