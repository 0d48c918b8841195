"""Who may talk to the page: our own ASGI application around Gradio's.

Gradio by itself answers every Host, any origin under any name but localhost, and offers each event as an endpoint for programs. Here
a request passes when its Host is one of the page's names and it comes from the page itself, and only to what the page uses.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_OWN_SITE: Final = frozenset({"", "same-origin", "none"})
LIVE: Final = "/livez"  # load balancers and containers ask by an address, not by a name of the page; it tells nothing
_UPLOAD: Final = "/gradio_api/upload"
_FILE: Final = "/gradio_api/file="
# What the page asks for. Everything else of Gradio (calls by name, its own documentation, proxy, runs) stays closed.
_PATHS: Final = (
    "/",
    "/config",
    "/theme.css",
    "/favicon.ico",
    "/robots.txt",
    "/manifest.json",
    "/login",
    "/logout",
    "/livez",
)
_FOLDERS: Final = (
    "/assets/", "/static/", "/svelte/", "/login_check", _UPLOAD, "/gradio_api/queue/", "/gradio_api/heartbeat/", _FILE,
    "/gradio_api/login_check", "/gradio_api/app_id", "/gradio_api/startup-events", "/gradio_api/cancel", "/gradio_api/user",
)  # fmt: skip
_MESSAGE_BYTES: Final = 16_000_000  # of what is no file: forms and events
# Gradio's page is inline script and style, and compiles the handlers of our views; nothing may come from, or go to, elsewhere.
POLICY: Final = "; ".join(
    (
        "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval'", "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:", "font-src 'self' data:", "connect-src 'self'", "worker-src 'self' blob:", "frame-src 'self'",
        "object-src 'none'", "base-uri 'self'", "form-action 'self'", "frame-ancestors 'none'",
    )
)  # fmt: skip
_HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Perimeter:
    """ASGI middleware: names, origins, paths and sizes; the headers by which browsers keep others out."""

    def __init__(self, app: Application, hosts: Sequence[str], upload_bytes: int) -> None:
        """`hosts`: names of the page without a port. `upload_bytes`: the largest file."""
        self._app, self._hosts, self._upload_bytes = app, frozenset(hosts), upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == LIVE):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page has no WebSocket
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers_of(scope)
        limit = self._upload_bytes if scope["path"] == _UPLOAD else _MESSAGE_BYTES
        error = self._refusal(scope, headers, limit)
        if error:
            await _answer(_with_headers(send), *error)
        else:
            await self._app(scope, _limited(receive, limit), _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str], limit: int) -> tuple[int, str, str, str] | None:
        host = headers.get("host", "")
        if host.rpartition(":")[0] not in self._hosts and host not in self._hosts:
            return (
                403,
                "foreign_host",
                f"this page is not called {host[:100]!r}",
                "name it: DROPFORGE_UI_HOSTS, or --hosts",
            )
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "foreign_origin", "a page of another origin may not send requests here", "open this page itself"
        link = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if site not in _OWN_SITE and not link:
            return 403, "foreign_origin", "a page of another site may not send requests here", "open this page itself"
        path = scope["path"]
        # By an address in place of a file, Gradio fetches what lies elsewhere and shows it as a part of this page.
        if (path not in _PATHS and not path.startswith(_FOLDERS)) or (path.startswith(_FILE) and ":" in path):
            return (
                404,
                "path_unknown",
                "the page has no such path",
                "programs call the API: see GET /openapi.json there",
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            return (
                413,
                "body_too_large",
                f"more than {limit:,} bytes",
                "put large files into the bucket: dropforge upload",
            )
        return None


def _headers_of(scope: Scope) -> dict[str, str]:
    """Names in lower case; a header that comes twice has both values, so that none of them can hide the other."""
    result: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        result[name] = f"{result[name]}, {value}" if name in result else value
    return result


def _limited(receive: Receive, limit: int) -> Receive:
    """A body that does not tell its length ends where the limit is: the rest is a disconnected client."""
    left = limit

    async def counted() -> MutableMapping[str, Any]:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return counted


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in _HEADERS}
            stored = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in own]
            message = {**message, "headers": [*stored, *_HEADERS]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, code: str, message: str, fix: str) -> None:
    body = json.dumps({"code": code, "message": message, "fix": fix}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
