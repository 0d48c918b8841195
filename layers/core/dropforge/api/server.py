"""The API without Lambda: the same handlers behind one small HTTP server.

It turns a request into the event API Gateway would send, asks `dropforge.api.access` what the route needs, and writes the
handler's answer. Callers' routes want API_KEY, administration ADMIN_KEY, both in `x-api-key`; a key that is not set opens
nothing. `GET /livez` says that the process lives, without a key. There is no TLS here: put a proxy in front.
"""

from __future__ import annotations

import base64
import hmac
import json
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dropforge.api import predicting
from dropforge.api.access import ACCESS, needed
from dropforge.errors import PermanentError

Handler = Callable[[dict[str, Any], object], dict[str, Any]]
MAX_BODY = 6_000_000  # Lambda's limit, so that both doors refuse the same
_LIVE = "/livez"
_PREDICTING = {resource for _, resource in predicting.ROUTES}


def load(functions: Path) -> dict[str, Handler]:
    """The Lambda handlers of `functions/`, by function. Raises PermanentError when they are not there."""
    found = {}
    for name in ("predict", "control"):
        source = functions / name / "app.py"
        spec = util.spec_from_file_location(f"dropforge_function_{name}", source)
        if spec is None or spec.loader is None or not source.is_file():
            raise PermanentError(
                f"{source} is not there", code="no_functions", fix="name the project's functions folder"
            )
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = module.handler
    return found


def event(method: str, target: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The proxy event API Gateway would make of this request."""
    split = urlsplit(target)
    resource, path = _resource(split.path)
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    return {
        "httpMethod": method,
        "path": split.path,
        "resource": resource,
        "headers": dict(headers),
        "multiValueQueryStringParameters": parse_qs(split.query, keep_blank_values=True),
        "pathParameters": path,
        "body": text,
        "isBase64Encoded": encoded,
        "requestContext": {"requestId": str(uuid.uuid4()), "identity": {}},
    }


def _resource(path: str) -> tuple[str, dict[str, str]]:
    """The route a path belongs to, and its parameters; the path itself when there is none."""
    parts = path.strip("/").split("/")
    for resource in dict.fromkeys(r for _, r in ACCESS):
        pattern = resource.strip("/").split("/")
        pairs = list(zip(pattern, parts, strict=False))
        if len(pattern) == len(parts) and all(p == given or p.startswith("{") for p, given in pairs):
            return resource, {p.strip("{}"): unquote(given) for p, given in pairs if p.startswith("{")}
    return path, {}


class _Requests(BaseHTTPRequestHandler):
    """One connection. The server holds handlers and keys."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "dropforge"
    sys_version = ""
    timeout = 30  # seconds a client may be silent
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def handle(self) -> None:
        self.busy = False
        self.server.open.add(self)
        try:
            super().handle()
        finally:
            self.server.open.discard(self)

    def _answer(self) -> None:
        self.busy = True
        try:
            self._route()
        finally:
            self.busy = False
            self.close_connection = self.close_connection or self.server.stopping

    def _route(self) -> None:
        if self.path == _LIVE:
            self._write(200, {"Content-Type": "application/json"}, '{"live": true}')
            return
        body = self._body()
        if body is None:
            return
        route = "key" if needed(self.command, self.path) == "key" else "admin"
        if not self.server.admits(route, self.headers.get("x-api-key", "")):
            self._refuse(403, "forbidden", "this route wants another key", "send x-api-key")
            return
        made = event(self.command, self.path, dict(self.headers.items()), body)
        function = "predict" if made["resource"] in _PREDICTING else "control"
        answer = self.server.handlers[function](made, None)
        self._write(answer["statusCode"], answer["headers"], answer["body"])

    def _body(self) -> bytes | None:
        """None when the request was refused."""
        length = self.headers.get("content-length", "0")
        if self.headers.get("transfer-encoding") or not length.isdigit():
            self._refuse(411, "length_required", "the request does not tell its length", "send content-length")
            return None
        if int(length) > MAX_BODY:
            self._refuse(413, "body_too_large", f"the body is larger than {MAX_BODY:,} bytes", "send fewer rows")
            return None
        return self.rfile.read(int(length))

    def _refuse(self, status: int, code: str, message: str, fix: str) -> None:
        told = {"code": code, "message": message, "fix": fix, "request_id": ""}
        self.close_connection = True  # the body was not read
        self._write(status, {"Content-Type": "application/json"}, json.dumps(told))

    def _write(self, status: int, headers: Mapping[str, str], body: str) -> None:
        raw = body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """The handlers log every request themselves, in one structured line."""


class Server(ThreadingHTTPServer):
    """Requests in threads; closing waits for those in work."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handlers: Mapping[str, Handler], keys: Mapping[str, str]) -> None:
        """`handlers` by function (predict, control); `keys` by what they open (key, admin)."""
        self.handlers = handlers
        self._keys = keys
        self.open: set[_Requests] = set()
        self.stopping = False
        super().__init__(address, _Requests)

    def server_close(self) -> None:
        """Let those in work finish; hang up on clients that keep a connection without asking anything."""
        self.stopping = True
        for connection in list(self.open):
            if not connection.busy:
                with suppress(OSError):
                    connection.connection.shutdown(socket.SHUT_RD)
        super().server_close()

    def admits(self, route: str, given: str) -> bool:
        """The administration's key opens callers' routes too; an empty key opens nothing."""
        opening = [self._keys.get("admin", ""), *([self._keys.get("key", "")] if route == "key" else ())]
        return any(k and hmac.compare_digest(k.encode(), given.encode()) for k in opening)


def serve(server: Server) -> None:
    """Until SIGTERM or SIGINT; answers what is in work before it returns. Called in the main thread."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()  # it waits for serve_forever, which runs here

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with server:
        server.serve_forever(poll_interval=0.2)


def main() -> None:
    """Entry point of the container: API_PORT (8080) on API_HOST (loopback, unless the image says otherwise)."""
    from dropforge.environment import Environment

    env = Environment.read().require("api_key")
    handlers = load(Path(env.functions_folder or "functions"))
    serve(Server((env.api_host, int(env.api_port)), handlers, {"key": env.api_key, "admin": env.admin_key}))


if __name__ == "__main__":
    main()
