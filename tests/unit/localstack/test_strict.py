"""The local cloud refuses what AWS refuses, with AWS's own codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dropforge_local.strict import PAYLOAD_LIMIT, Strict, unreachable

ROOT = Path(__file__).parents[3]
Ask = Callable[..., tuple[int, str]]
SIGNED = "AWS4-HMAC-SHA256 Credential=K/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


@pytest.fixture
def reached() -> list[bytes]:
    """Bodies of the requests that came to the emulator."""
    return []


@pytest.fixture
def ask(reached: list[bytes]) -> Ask:
    """One request of a caller who may list the bucket `mine` only, to an emulator in which no object is."""

    async def emulator(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        reached.append((await receive())["body"])
        status = 404 if scope["method"] in {"GET", "HEAD"} else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"<Code>NoSuchKey</Code>", "more_body": False})

    strict = Strict(emulator, lambda _headers, _query, bucket: bucket == "mine")

    def send(method: str, path: str, headers: dict[str, str], body: bytes = b"", query: str = "") -> tuple[int, str]:
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        }  # fmt: skip
        pieces = [
            {"type": "http.request", "body": body[len(body) // 2 :], "more_body": False},
            {"type": "http.request", "body": body[: len(body) // 2], "more_body": True},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return pieces.pop() if body else {"type": "http.request", "body": b""}

        async def collect(message: Any) -> None:
            sent.append(message)

        asyncio.run(strict(scope, receive, collect))
        return sent[0]["status"], b"".join(m.get("body", b"") for m in sent).decode()

    return send


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("presigned", [False, True])
def test_an_absent_object_is_forbidden_to_who_may_not_list(ask: Ask, method: str, presigned: bool) -> None:
    """403 AccessDenied, without a body for HEAD; who may list the bucket learns that it is absent."""
    headers = {} if presigned else {"authorization": SIGNED.format("s3")}
    query = "X-Amz-Credential=K%2F20260101%2Fus-east-1%2Fs3%2Faws4_request" if presigned else ""
    status, body = ask(method, "/other/a.csv", headers, query=query)
    assert status == 403
    assert ("AccessDenied" in body) == (method == "GET")
    assert ask(method, "/mine/a.csv", headers, query=query)[0] == 404


@pytest.mark.parametrize(("path", "service"), [("/other", "s3"), ("/2015-03-31/functions/a", "lambda")])
def test_other_absent_things_are_absent(ask: Ask, path: str, service: str) -> None:
    """A bucket itself, and whatever is no object."""
    assert ask("GET", path, {"authorization": SIGNED.format(service)})[0] == 404


DAY = 24 * 3600 * 1000
BAD_PARAMETER = "InvalidParameterException"
UNREACHABLE = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}, "B": {"Type": "Pass", "End": True}}}
INSIDE = {"StartAt": "M", "States": {"M": {"Type": "Map", "End": True, "ItemProcessor": UNREACHABLE}}}


@pytest.mark.parametrize(
    ("target", "bad", "good", "code"),
    [
        ("Logs_20140328.PutLogEvents", {"logEvents": [{"timestamp": 2}, {"timestamp": 1}]}, {}, BAD_PARAMETER),
        ("Logs_20140328.PutLogEvents", {"logEvents": [{"timestamp": 0}, {"timestamp": DAY + 1}]}, {}, BAD_PARAMETER),
        (
            "AWSStepFunctions.StartExecution", {"input": "é" * (PAYLOAD_LIMIT // 2 + 1)}, {"input": "e" * PAYLOAD_LIMIT},
            "ValidationException",
        ),
        ("AWSStepFunctions.SendTaskSuccess", {"output": "x" * (PAYLOAD_LIMIT + 1)}, {"output": "{}"}, "ValidationException"),
        ("AWSStepFunctions.CreateStateMachine", {"definition": json.dumps(UNREACHABLE)}, {"definition": "{}"}, "InvalidDefinition"),
        ("AWSStepFunctions.UpdateStateMachine", {"definition": json.dumps(INSIDE)}, {}, "InvalidDefinition"),
    ],
)  # fmt: skip
def test_a_call_that_aws_refuses_does_not_reach_the_emulator(
    ask: Ask, reached: list[bytes], target: str, bad: dict[str, Any], good: dict[str, Any], code: str
) -> None:
    """400 with AWS's code; a good one arrives as it was sent."""
    status, body = ask("POST", "/", {"x-amz-target": target}, json.dumps(bad).encode())
    assert (status, json.loads(body)["__type"]) == (400, code)
    assert reached == []
    sent = json.dumps(good).encode()
    assert ask("POST", "/", {"x-amz-target": target}, sent)[0] == 200
    assert reached == [sent]


def test_the_workflow_of_the_project_is_none_of_them() -> None:
    """Every state of statemachine/training.asl.yaml is reached."""
    assert unreachable(yaml.safe_load((ROOT / "statemachine" / "training.asl.yaml").read_text())) == set()
