"""API Gateway proxy events in, proxy responses out."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dropforge import ids, observability
from dropforge.api.routes import PATHS
from dropforge.errors import DropforgeError, InvalidRequest

JSON = "application/json"
RESPONSE_BYTES = 6_000_000  # Lambda's 6 MiB for a whole response, less room for its headers
_calls = itertools.count()  # of this process
_RESOURCES = frozenset(PATHS)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECURITY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Request:
    """One call. Header names are lower case."""

    method: str
    resource: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    path: Mapping[str, str]
    body: bytes
    request_id: str
    caller: str = ""  # ARN of who signed the request; empty when nobody did

    @property
    def content_type(self) -> str:
        """The Content-Type header; empty without one."""
        return self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler returns; `metrics` are logged with the request's line."""

    body: Any
    status: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def read(event: Mapping[str, Any]) -> Request:
    """Raises InvalidRequest for a body that claims to be base64 and is not."""
    headers = {str(k).lower(): str(v) for k, v in (event.get("headers") or {}).items()}
    raw = event.get("body") or ""
    try:
        body = (
            base64.b64decode(raw, validate=True)
            if event.get("isBase64Encoded")
            else raw.encode("utf-8", "surrogatepass")
        )
    except (binascii.Error, ValueError):
        raise InvalidRequest("the body is not base64", code="encoding", fix="send the body as it is") from None
    # The last of repeated parameters, as API Gateway's single-value map has it.
    query = {k: v[-1] for k, v in (event.get("multiValueQueryStringParameters") or {}).items() if v}
    return Request(
        method=str(event.get("httpMethod", "")),
        resource=str(event.get("resource", "")),
        headers=headers,
        query=query,
        path=dict(event.get("pathParameters") or {}),
        body=body,
        request_id=str((event.get("requestContext") or {}).get("requestId", "")),
        caller=str(((event.get("requestContext") or {}).get("identity") or {}).get("userArn") or ""),
    )


def respond(
    event: Mapping[str, Any], log: logging.Logger, act: Callable[[Request], Response], latency: str = ""
) -> dict[str, Any]:
    """Run `act` and answer. Errors of ours become their status; anything else is a 500 that gives nothing away.

    Logs one line for every call, which also keeps the local cloud quick; no value of the request is in it, since a log is read by
    others and kept longer than the request. `latency` names the metric for the milliseconds
    it took; with it the process's first call is counted as a cold start.
    """
    started = time.perf_counter()
    request_id = str((event.get("requestContext") or {}).get("requestId", ""))
    with observability.context(correlation_id=request_id):
        try:
            response = _checked(act(read(event)))
        except DropforgeError as error:
            response = Response(_error_response(error.as_dict(), event, request_id), error.status)
            extra = {"code": error.code} if error.status < 500 else observability.failure(error)
        except Exception as error:
            # The last line of defence: the caller gets a stable answer, the log learns where it happened.
            log.error("unexpected error", extra=observability.failure(error))
            document = {
                "code": "internal_error",
                "message": "something went wrong here",
                "fix": "try again; if it stays, report the request id",
            }
            response = Response(_error_response(document, event, request_id), 500)
            extra = {}
        else:
            extra = {}
        log.info(
            "answered",
            extra={
                **_called(event),
                "status": response.status,
                "milliseconds": round((time.perf_counter() - started) * 1000, 2),
                "metrics": _measured(response, latency, started),
                **extra,
            },
        )
        return proxy(response)


def _called(event: Mapping[str, Any]) -> dict[str, str]:
    """Which route was called, in the route table's words and not in the caller's; the upload's id where it is one."""
    called = (str(event.get("httpMethod", "")), str(event.get("resource", "")))
    known = called[1] in _RESOURCES
    upload_id = str((event.get("pathParameters") or {}).get("upload_id", ""))
    more = {"upload_id": upload_id} if ids.is_upload_id(upload_id) else {}
    method = called[0] if called[0] in _METHODS else "other"
    return {"method": method, "resource": called[1] if known else "unknown", **more}


def _error_response(error: Mapping[str, Any], event: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Code, message, fix and the request's id; clients of the Open Inference Protocol read `error` as well."""
    more = {"error": error["message"]} if str(event.get("resource", "")).startswith("/v2") else {}
    return {**error, "request_id": request_id, **more}


def _measured(response: Response, latency: str, started: float) -> dict[str, float]:
    """Counters that are zero are left out: a line is paid for by its length."""
    matches = dict(response.metrics)
    if 400 <= response.status < 500:
        matches["Rejected4xx"] = 1
    if response.status >= 500:
        matches["Error5xx"] = 1
    if latency:
        matches[latency] = round((time.perf_counter() - started) * 1000, 3)
        if next(_calls) == 0:
            matches["ColdStart"] = 1
    return matches


def proxy(response: Response) -> dict[str, Any]:
    """The response as API Gateway's proxy integration expects it."""
    text = (
        response.body
        if isinstance(response.body, str)
        else json.dumps(response.body, ensure_ascii=False, allow_nan=False)
    )
    return {
        "statusCode": response.status,
        "headers": {"Content-Type": response.content_type, **_SECURITY, **response.headers},
        "body": text,
        "isBase64Encoded": False,
    }


def _checked(response: Response) -> Response:
    """The response with its body as text. Raises InvalidRequest (413) for one that Lambda would not deliver.

    Lambda takes 6 MB of JSON, in which the body is a string once more: every quote in it is one character longer.
    """
    text = (
        response.body
        if isinstance(response.body, str)
        else json.dumps(response.body, ensure_ascii=False, allow_nan=False)
    )
    if len(text) > RESPONSE_BYTES // 6:  # no character becomes more than six bytes
        size = len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if size > RESPONSE_BYTES:
            raise InvalidRequest(
                f"the answer would have {size:,} bytes; one answer may have {RESPONSE_BYTES:,}",
                code="response_too_large",
                fix="request less at a time: fewer rows, or a smaller `limit`",
                status=413,
            )
    return replace(response, body=text)
