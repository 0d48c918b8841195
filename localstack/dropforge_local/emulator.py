"""`python -m dropforge_local.emulator`: the emulated AWS behind a gateway of ours.

MiniStack takes any secret for its root account, answers every origin, and resets itself for anybody. It is an ASGI
application, so it runs inside one that checks the browser's origin (guard.py), the signature of the root account, and leaves
out its administrative routes. Everything else, such as signatures of roles and IAM policies, MiniStack checks itself (AUTH=true).
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote
from xml.sax.saxutils import escape

from dropforge_local.credentials import ACCESS_KEY, SECRET_KEY, create, read
from dropforge_local.emulator_logs import start_trimming
from dropforge_local.guard import Application, Guard, Receive, Scope, Send, answer, headers_of, loopback_hosts, refuse
from dropforge_local.relay import HOST_NAME
from dropforge_local.strict import Strict, may_list

HEALTH, READY = "/_ministack/health", "/_ministack/ready"
_PUBLIC = frozenset({HEALTH, READY})
_API = "/_aws/execute-api/"  # MiniStack checks API keys and signatures of these itself
_MAX_API_BODY = 10_000_000  # bytes, as API Gateway has it; the emulator reads a body before it looks at the key
_MAX_BODY = 128_000_000  # bytes; AWS takes 50 MB of zipped code, which are 67 MB of base64
_ALGORITHM = "AWS4-HMAC-SHA256"
_XML_SERVICES = frozenset({"s3", "sts", "iam", "cloudformation", "sns", "ec2"})


class Gateway:
    """Passes on the requests that are signed by an account, ask the API, or bring a presigned form."""

    def __init__(self, app: Application, root: Mapping[str, str]) -> None:
        """`root`: access key and secret of the root account, by the names of the AWS tools' variables."""
        self._app = app
        self._key, self._secret = root[ACCESS_KEY], root[SECRET_KEY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no WebSocket API is part of the stack
        path, headers = scope["path"], headers_of(scope)
        if path in _PUBLIC or path.startswith(_API):
            length = headers.get("content-length", "0")
            if length.isdecimal() and int(length) <= _MAX_API_BODY:
                await self._app(scope, _limited(receive, _MAX_API_BODY), send)
            else:
                await refuse(send, 413, "body_too_large", f"more than {_MAX_API_BODY:,} bytes", "send less at once")
        elif path.startswith("/_"):
            await refuse(send, 404, "path_unknown", "the emulator is administered by dropforge", "see dropforge --help")
        else:
            await self._signed(scope, headers, receive, send)

    async def _signed(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        from ministack.core.router import extract_access_key_id

        query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        key = extract_access_key_id(headers, query)  # what MiniStack will take the caller for
        if not key:
            if _is_form(scope, headers, query) or scope["method"] == "OPTIONS":
                await self._app(
                    scope, receive, send
                )  # a form holds its signature, which MiniStack compares with the policy
            else:
                await _refuse(send, headers, "MissingAuthenticationToken", "the request is not signed")
            return
        if key != self._key:
            if _is_root(key):
                await _refuse(send, headers, "InvalidClientTokenId", "the local cloud knows no such access key")
            else:
                await self._app(scope, receive, send)  # of a role or a user: MiniStack checks the signature
            return
        body: bytes | None = b""
        if not headers.get("x-amz-content-sha256"):
            body, receive = await _read(receive)
        if body is None:
            await refuse(send, 413, "body_too_large", f"more than {_MAX_BODY:,} bytes", "put it into a bucket")
        elif reason := self._mismatch(scope, headers, query, body):
            await _refuse(send, headers, "SignatureDoesNotMatch", reason)
        else:
            await self._app(scope, receive, send)

    def _mismatch(self, scope: Scope, headers: dict[str, str], query: dict[str, list[str]], body: bytes) -> str:
        """Why the root account did not sign this; empty when it did."""
        from ministack.core import sigv4

        if "AWSAccessKeyId" in query or headers.get("authorization", "").startswith("AWS "):
            return f"sign with {_ALGORITHM} (boto3: signature_version='s3v4')"
        presigned = not headers.get("authorization")
        result = sigv4.parse_query_signature(query) if presigned else sigv4.parse_header_signature(headers)
        if not isinstance(result, sigv4.HeaderSignature):
            return str(result[1])
        algorithm = (
            (query.get("X-Amz-Algorithm") or [""])[0] if presigned else headers["authorization"].partition(" ")[0]
        )
        if result.access_key_id != self._key or algorithm != _ALGORITHM or result.date_stamp != result.amz_date[:8]:
            return f"sign with {_ALGORITHM}, key and date of one day"
        if "host" not in result.signed_headers.split(";"):
            return "Host must be signed"
        if stale := _stale(sigv4, result, query, presigned=presigned):
            return stale
        raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
        _, text = sigv4.header_signing_documents(
            result, scope["method"], raw_path, query, headers, body, presigned=presigned
        )
        expected = sigv4.calculate_signature(self._secret, result.date_stamp, result.region, result.service, text)
        return "" if hmac.compare_digest(expected.encode(), result.signature.encode()) else "the secret is another one"


def _stale(sigv4: Any, signature: Any, query: dict[str, list[str]], *, presigned: bool) -> str:
    """Empty for a signature of now: within the minutes the service allows, or within the time a presigned address is good for."""
    expires = query.get("X-Amz-Expires", [""])[0]
    if presigned and signature.service == "s3" and expires:
        try:
            return "the address has expired" if sigv4.presigned_request_is_expired(signature.amz_date, expires) else ""
        except ValueError:
            return "X-Amz-Date or X-Amz-Expires is malformed"
    failure = sigv4.request_time_failure(signature)
    return str(failure[1]) if failure else ""


def _is_root(key: str) -> bool:
    """Keys that MiniStack takes for its root account without looking at the secret."""
    from ministack.core.iam_evaluator import is_root_access_key

    return bool(is_root_access_key(key))


def _is_form(scope: Scope, headers: Mapping[str, str], query: Mapping[str, object]) -> bool:
    """Whether it is a presigned form of S3: POST of multipart/form-data to a bucket."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    bucket = scope["path"].strip("/")
    return (
        scope["method"] == "POST" and kind == "multipart/form-data" and bool(bucket) and "/" not in bucket and not query
    )


def _limited(receive: Receive, limit: int) -> Receive:
    """A body that does not tell its length ends where the limit is: the rest is a client that hung up."""
    left = limit

    async def counted() -> Any:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return counted


async def _read(receive: Receive) -> tuple[bytes | None, Receive]:
    """The body (None when it is too large), and a `receive` that hands it out once more."""
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        more = message.get("more_body", False)
        if size > _MAX_BODY:
            return None, receive
    body = b"".join(pieces)
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return waiting.pop() if waiting else await receive()

    return body, again


async def _refuse(send: Send, headers: Mapping[str, str], code: str, reason: str) -> None:
    """In the form that the clients of the service read: XML for the older ones, JSON for the others."""
    message = f'{reason}; the credentials of the local cloud are set by: eval "$(dropforge env)"'
    scope = headers.get("authorization", "").partition("Credential=")[2].split("/")
    if len(scope) > 3 and scope[3] in _XML_SERVICES:
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
        await answer(send, 403, body.encode(), "text/xml")
    else:
        body = json.dumps({"__type": code, "message": message})
        await answer(send, 403, body.encode(), "application/json", {"x-amzn-errortype": code})


def application(root: Mapping[str, str], port: int, origins: Sequence[str] = ()) -> Application:
    """MiniStack behind the gateway and the guard, as strict as AWS. `origins`: pages that may post presigned forms."""
    from ministack.app import app

    return Guard(Gateway(Strict(app, may_list), root), loopback_hosts(port, HOST_NAME), origins)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM. MiniStack takes the rest of its configuration from its environment variables."""
    parser = argparse.ArgumentParser(prog="dropforge_local.emulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin", action="append", default=[], help="a page that may post presigned forms")
    parser.add_argument("--credentials", type=Path, required=True, help="file with the key of the root account")
    given = parser.parse_args(arguments)
    given.credentials.parent.mkdir(parents=True, exist_ok=True)
    create(given.credentials)
    root = read(given.credentials)
    # For what MiniStack signs and verifies itself. Its functions get the credentials of their roles in place of these.
    os.environ |= {**root, "GATEWAY_PORT": str(given.port)}
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    guarded = application(root, given.port, given.origin)  # importing MiniStack sets defaults of Hypercorn
    config = Config()
    config.bind = [f"127.0.0.1:{given.port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    _raise_file_limit()
    start_trimming()
    asyncio.run(serve(guarded, config))  # type: ignore[arg-type]  # Hypercorn's types name the messages one by one


def _raise_file_limit() -> None:
    """A burst of connections passes the usual 1024 files."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
