"""An HTTP proxy on loopback that does wrong on purpose, by a seed: between a component and the service it calls."""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = (
    "unavailable",  # 503 without asking the service
    "refused",  # the connection is reset before the service is asked
    "lost",  # the service is asked, and its answer is lost
    "cut",  # half of the answer arrives, then the connection is reset
    "twice",  # the service is asked twice
    "slow",  # the answer is late
    "held",  # the request waits until another one has passed it
)
_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "expect", "content-length"}


class FaultProxy:
    """Forwards to 127.0.0.1:`port`; each request suffers fault `kind` with probability `faults[kind]`.

    `done` counts what happened. Only requests whose path contains `only` suffer. Use as a context manager.
    """

    def __init__(self, port: int, faults: Mapping[str, float], *, seed: int, only: str = "") -> None:
        assert set(faults) <= set(KINDS)
        self.faults = dict(faults)
        self.done: Counter[str] = Counter()
        self._upstream = port
        self._only = only
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._passed = threading.Condition()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def draw(self, path: str) -> str:
        """The fault of the next request; empty for none."""
        with self._lock:
            number = self._random.random()
            result = ""
            if self._only in path:
                for kind, share in self.faults.items():
                    if number < share:
                        result = kind
                        break
                    number -= share
            self.done[result or "none"] += 1
            return result

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, list[Any], bytes]:
        """Status, headers and body as the service answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=120)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()
            with self._passed:
                self._passed.notify_all()

    def wait_for_another(self) -> None:
        with self._passed:
            self._passed.wait(0.3)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def _serve(self) -> None:
        body = self._body()
        fault = self.owner.draw(self.path)
        if fault == "refused":
            self._reset()
            return
        if fault == "unavailable":
            self._send(503, [("Content-Type", "text/plain")], b"the proxy says no")
            return
        if fault == "held":
            self.owner.wait_for_another()
        if fault == "slow":
            time.sleep(0.2)
        headers = dict(self.headers.items())
        try:
            if fault == "twice":
                self.owner.ask(self.command, self.path, headers, body)
            status, answered, content = self.owner.ask(self.command, self.path, headers, body)
        except OSError:
            self._reset()
            return
        if fault == "lost":
            self._reset()
        elif fault == "cut" and len(content) > 1:
            self._send(status, answered, content, half=True)
            self._reset()
        else:
            self._send(status, answered, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815 - names of the base class

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, headers: list[Any], content: bytes, *, half: bool = False) -> None:
        length = next((v for k, v in headers if k.lower() == "content-length"), str(len(content)))
        try:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if half else content)
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def _reset(self) -> None:
        """RST, not FIN: what a peer that died looks like."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        return

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the connection was reset on purpose
            return

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return
