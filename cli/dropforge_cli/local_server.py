"""The API without Lambda: the same handlers behind uvicorn.

It turns a request into the event API Gateway would send, asks `dropforge.api.routes` what the route needs, and writes the
handler's answer. Callers' routes want API_KEY, administration ADMIN_KEY, both in `x-api-key`; a key that is not set opens
nothing, and is looked at before the body is. `GET /livez` says that the process lives, without a key. There is no TLS here: put a
proxy in front. Connections cost no thread while they wait; their number, their time and the size of what they send have limits.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import signal
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dropforge.api.routes import ROUTES, path_of, required_access
from dropforge.errors import PermanentError

Handler = Callable[[dict[str, Any], object], dict[str, Any]]
MAX_BODY = 6_000_000  # Lambda's limit, so that both doors refuse the same
HEAD_SECONDS = 10.0  # a connection may be open without a whole request head
BODY_SECONDS = 30.0  # a body may take from its first byte to its last
MAX_HEAD = 16_384  # bytes of request line and headers
MAX_CONNECTIONS = 512
_WORKERS = 40  # requests at the same time; others wait
ADMINISTRATOR = "administration key"  # in the deployment history: a key has no person
_LIVE = "/livez"
_PREDICT_PATHS = {route.path for route in ROUTES if route.function == "predict"}


def load(functions: Path) -> dict[str, Handler]:
    """The Lambda handlers of `functions/`, by function. Raises PermanentError when they are not there."""
    matches = {}
    for name in ("predict", "control"):
        source = functions / name / "app.py"
        spec = util.spec_from_file_location(f"dropforge_function_{name}", source)
        if spec is None or spec.loader is None or not source.is_file():
            raise PermanentError(
                f"{source} is not there", code="no_functions", fix="name the project's functions folder"
            )
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        matches[name] = module.handler
    return matches


def event(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, caller: str = ""
) -> dict[str, Any]:
    """The proxy event API Gateway would make of this request. `caller`: who the key speaks for; empty for callers of predictions.

    `path` as it came: the route that the key was compared with and the route that is answered are read from the same text.
    """
    resource, parameters = path_of(path)
    unquoted = {name: unquote(text) for name, text in parameters.items()}
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    return {
        "httpMethod": method,
        "path": path,
        "resource": resource,
        "headers": dict(headers),
        "multiValueQueryStringParameters": parse_qs(query, keep_blank_values=True),
        "pathParameters": unquoted,
        "body": text,
        "isBase64Encoded": encoded,
        "requestContext": {"requestId": str(uuid.uuid4()), "identity": {"userArn": caller or None}},
    }


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application:
    """The ASGI application: key first, then the body, then a handler in a thread."""

    def __init__(self, handlers: Mapping[str, Handler], keys: Mapping[str, str]) -> None:
        """`handlers` by function (predict, control); `keys` by what they open (key, admin)."""
        self._handlers, self._keys = handlers, keys
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        raw_path = scope.get("raw_path") or scope["path"].encode()
        path = raw_path.decode("latin-1")
        if path == _LIVE:
            await _write(send, 200, {"Content-Type": "application/json"}, '{"live": true}')
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        route = "key" if required_access(scope["method"], path) == "key" else "admin"
        opened = self.opened_by(headers.get("x-api-key", ""))
        if opened not in ("admin", route):
            await _refuse(send, 403, "forbidden", "this route wants another key", "send x-api-key")
            return
        length = headers.get("content-length", "0")
        try:
            if not length.isdecimal() or int(length) > MAX_BODY:
                raise OverflowError
            body = await asyncio.wait_for(_body(receive), BODY_SECONDS)
        except OverflowError:
            await _refuse(send, 413, "body_too_large", f"the body is larger than {MAX_BODY:,} bytes", "send fewer rows")
            return
        except TimeoutError:
            await _refuse(
                send, 408, "body_too_slow", f"the body took longer than {BODY_SECONDS:.0f} s", "send it at once"
            )
            return
        if body is None:
            return  # the client hung up
        query = scope["query_string"].decode("latin-1")
        created = event(scope["method"], path, query, headers, body, ADMINISTRATOR if opened == "admin" else "")
        handler = self._handlers["predict" if created["resource"] in _PREDICT_PATHS else "control"]
        answer = await asyncio.get_running_loop().run_in_executor(self._workers, handler, created, None)
        await _write(send, answer["statusCode"], answer["headers"], answer["body"])

    def opened_by(self, given: str) -> str:
        """What the key opens: admin (every route), key (callers' routes) or nothing. An empty key opens nothing."""
        for name in ("admin", "key"):
            known = self._keys.get(name, "")
            if known and hmac.compare_digest(known.encode(), given.encode("latin-1")):
                return name
        return ""


async def _body(receive: Receive) -> bytes | None:
    """None when the client hung up. Raises OverflowError when it is too large."""
    pieces, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY:
            raise OverflowError
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _refuse(send: Send, status: int, code: str, message: str, fix: str) -> None:
    document = {"code": code, "message": message, "fix": fix, "request_id": ""}
    # The body was not read: what follows on this connection is no request.
    await _write(send, status, {"Content-Type": "application/json", "Connection": "close"}, json.dumps(document))


async def _write(send: Send, status: int, headers: Mapping[str, str], body: str) -> None:
    raw = body.encode()
    given = {**headers, "Content-Length": str(len(raw))}
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": raw})


class _Patience(H11Protocol):
    """Uvicorn waits for the head of a request for ever; here a connection without a request in work is closed after HEAD_SECONDS."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it as well
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Server:
    """The application at an address. Stopping lets requests in work finish."""

    def __init__(self, address: tuple[str, int], handlers: Mapping[str, Handler], keys: Mapping[str, str]) -> None:
        """Listens at once, so that a taken port is an error here (OSError), and port 0 has a number."""
        self._socket = socket.create_server(address, backlog=128)
        config = uvicorn.Config(
            Application(handlers, keys),
            http=_Patience,
            lifespan="off",
            ws="none",
            log_level="warning",
            access_log=False,  # the handlers log every request themselves, in one structured line
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=int(HEAD_SECONDS),
            timeout_graceful_shutdown=int(BODY_SECONDS),
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        self._server = uvicorn.Server(config)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Until SIGTERM, SIGINT or `stop`; answers what is in work before it returns. Signals reach it in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal once more when all is answered
                signal.signal(number, _ended)
        self._server.run(sockets=[self._socket])

    def start(self) -> threading.Thread:
        """Run in a thread of its own; returns when it answers."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        while not self._server.started and thread.is_alive():
            time.sleep(0.005)
        return thread

    def stop(self) -> None:
        """Answer what is under way, then end."""
        self._server.should_exit = True


def _ended(_number: int, _frame: FrameType | None) -> None:
    """Told to stop, and stopped: that is success."""
    raise SystemExit(0)


def main() -> None:
    """Entry point of the container: API_PORT (8080) on API_HOST (loopback, unless the image says otherwise)."""
    from dropforge.environment import Environment

    env = Environment.read().require("api_key")
    handlers = load(Path(env.functions_folder or "functions"))
    Server((env.api_host, int(env.api_port)), handlers, {"key": env.api_key, "admin": env.admin_key}).run()


if __name__ == "__main__":
    main()
