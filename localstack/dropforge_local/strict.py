"""What AWS refuses and MiniStack lets pass, refused here too, so that the local cloud proves more of AWS.

An absent object is 403 for a caller who may not list its bucket. Log events must be in the order of time. Step Functions takes neither
a definition with a state that nothing leads to nor more than 256 KB of input, output or cause. Each rule names its AWS page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from dropforge_local.guard import Application, Receive, Scope, Send, answer, headers_of

PAYLOAD_LIMIT = 262_144  # bytes of UTF-8: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
MayList = Callable[[Mapping[str, str], Mapping[str, list[str]], str], bool]
_Refusal = tuple[str, str] | None  # code, message


class Strict:
    """An ASGI application around the emulated AWS; `may_list`: whether the signer of a request may list a bucket."""

    def __init__(self, app: Application, may_list: MayList) -> None:
        self._app, self._may_list = app, may_list

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = headers_of(scope)
        rule = _RULES.get(headers.get("x-amz-target", "").rpartition(".")[2])
        if rule is not None:
            body, receive = await _whole(receive)
            if refusal := rule(_json(body)):
                await _refuse(send, *refusal)
                return
        elif scope["method"] in {"GET", "HEAD"} and _is_object(scope, headers):
            send = self._absent_or_forbidden(scope, headers, send)
        await self._app(scope, receive, send)

    def _absent_or_forbidden(self, scope: Scope, headers: Mapping[str, str], send: Send) -> Send:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, "Permissions"."""
        bucket = scope["path"].lstrip("/").partition("/")[0]
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        refused = False

        async def checked(message: MutableMapping[str, Any]) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == 404:
                refused = not self._may_list(headers, query, bucket)
                if refused:
                    text = b"" if scope["method"] == "HEAD" else _FORBIDDEN
                    await answer(send, 403, text, "application/xml")
            if not refused:
                await send(message)

        return checked


_FORBIDDEN = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


def may_list(headers: Mapping[str, str], query: Mapping[str, list[str]], bucket: str) -> bool:
    """By MiniStack's own reading of the signer's policies; called while it answers the request, which pins the account."""
    from ministack.core.iam_evaluator import enforce
    from ministack.core.router import extract_access_key_id, extract_region

    key = extract_access_key_id(headers, query)
    return (
        enforce(key, "s3:ListBucket", "s3", extract_region(headers, query), resource_arn=f"arn:aws:s3:::{bucket}")
        is None
    )


def _is_object(scope: Scope, headers: Mapping[str, str]) -> bool:
    """A path of bucket and key, asked of S3 by a signature in the header or the address."""
    scope_of_signature = headers.get("authorization", "").partition("Credential=")[2].split("/")
    service = scope_of_signature[3] if len(scope_of_signature) > 3 else ""
    if not service and b"%2Fs3%2Faws4_request" in scope.get("query_string", b""):
        service = "s3"
    _, _, key = scope["path"].lstrip("/").partition("/")
    return service == "s3" and bool(key) and not scope["path"].startswith("/_")


async def _whole(receive: Receive) -> tuple[bytes, Receive]:
    """The body, which the gateway has limited, and a `receive` that hands it out once more."""
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = bool(message.get("more_body", False))
    waiting = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return b"".join(pieces), again


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _refuse(send: Send, code: str, message: str) -> None:
    body = json.dumps({"__type": code, "message": message})
    await answer(send, 400, body.encode(), "application/x-amz-json-1.1", {"x-amzn-errortype": code})


def _log_events(body: Mapping[str, Any]) -> _Refusal:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""
    times = [event.get("timestamp", 0) for event in body.get("logEvents", ())]
    if times != sorted(times):
        return (
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        )
    if times and times[-1] - times[0] > 24 * 3600 * 1000:
        return (
            "InvalidParameterException",
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        )
    return None


def _payload(*fields: str) -> Callable[[Mapping[str, Any]], _Refusal]:
    def check(body: Mapping[str, Any]) -> _Refusal:
        for field in fields:
            if (size := len(str(body.get(field, "")).encode())) > PAYLOAD_LIMIT:
                return (
                    "ValidationException",
                    f"{field} has {size:,} bytes; Step Functions takes {PAYLOAD_LIMIT:,} at most",
                )
        return None

    return check


def _definition(body: Mapping[str, Any]) -> _Refusal:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html, InvalidDefinition."""
    if matches := sorted(unreachable(_json(str(body.get("definition", "{}")).encode()))):
        return "InvalidDefinition", f"MISSING_TRANSITION_TARGET: State {matches[0]} is not reachable"
    return None


def unreachable(scope: Mapping[str, Any]) -> set[str]:
    """Names of states that nothing leads to, those inside Map and Parallel states too."""
    states: Mapping[str, Any] = scope.get("States", {})
    targets = {scope.get("StartAt")}
    inner: set[str] = set()
    for state in states.values():
        for part in (state, *state.get("Catch", ()), *state.get("Choices", ())):
            targets |= {part[key] for key in ("Next", "Default") if key in part}
        for branch in (state.get("ItemProcessor"), state.get("Iterator"), *state.get("Branches", ())):
            inner |= unreachable(branch) if branch else set()
    return (set(states) - targets) | inner


_RULES: Mapping[str, Callable[[Mapping[str, Any]], _Refusal]] = {
    "PutLogEvents": _log_events,
    "StartExecution": _payload("input"),
    "StartSyncExecution": _payload("input"),
    "SendTaskSuccess": _payload("output"),
    "CreateStateMachine": _definition,
    "UpdateStateMachine": _definition,
}
