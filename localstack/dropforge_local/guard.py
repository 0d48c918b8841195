"""What stands before every local server: a browser lends its reach to loopback to any page it shows.

A page of another origin can send requests to 127.0.0.1 (though it cannot read the answers), and a page whose name is bound to
127.0.0.1 after it was loaded (DNS rebinding) can read them too. So a request is refused when its Host is none of ours, when its
Origin is another one, or when the browser says that it comes from another site. Programs send neither Origin nor Sec-Fetch-Site.
Starlette's TrustedHostMiddleware checks the first alone, and importing it would cost the emulator a third of its start.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_OWN_SITE = frozenset({"", "same-origin", "none"})  # none: the person typed the address
_LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def loopback_hosts(port: int, *names: str) -> frozenset[str]:
    """The values of Host by which a server at `port` of loopback is known."""
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", *names))


def headers_of(scope: Scope) -> dict[str, str]:
    """Names in lower case; a header that comes twice has both values, so that none of them can hide the other."""
    matches: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        matches[name] = f"{matches[name]}, {value}" if name in matches else value
    return matches


class Guard:
    """An ASGI application that passes on the requests of programs and of its own pages only."""

    def __init__(
        self, app: Application, hosts: Iterable[str], origins: Iterable[str] = (), *, links: bool = False
    ) -> None:
        """`hosts`: accepted values of Host; pages served under them are its own. `origins`: further pages that may send requests.

        `links`: whether people may come by a link from elsewhere (GET of a whole page, whose answer no foreign page can read).
        """
        self._app, self._links = app, links
        self._hosts = frozenset(hosts)
        self._origins = frozenset({*(f"http://{host}" for host in self._hosts), *origins})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        reason = "" if scope["type"] == "lifespan" else self.reason_to_refuse(scope)
        if not reason:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refuse(send, 403, "foreign_request", reason, "call it from a program, or from its own page")

    def reason_to_refuse(self, scope: Scope) -> str:
        """Empty when the request may pass."""
        headers = headers_of(scope)
        if headers.get("host", "") not in self._hosts:
            return f"no server of that name listens here: Host must be {' or '.join(sorted(self._hosts))}"
        if "origin" in headers and headers["origin"] not in self._origins:
            return "a page of another origin may not send requests here"
        if headers.get("sec-fetch-site", "") in _OWN_SITE or headers.get("origin") in self._origins:
            return ""
        return "" if self._links and _is_link(scope, headers) else "a page of another site may not send requests here"


def _is_link(scope: Scope, headers: Mapping[str, str]) -> bool:
    return scope.get("method") == "GET" and all(headers.get(name) == value for name, value in _LINK.items())


async def refuse(send: Send, status: int, code: str, message: str, fix: str) -> None:
    """Answer in the form of the API's errors, without reading the body."""
    body = json.dumps({"code": code, "message": message, "fix": fix, "request_id": ""})
    await answer(send, status, body.encode(), "application/json")


async def answer(send: Send, status: int, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
    """A whole response; `more`: further headers."""
    given = {"content-type": kind, "content-length": str(len(body)), **(more or {})}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
