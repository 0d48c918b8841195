"""An API on loopback that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dropforge_ui import signing


class Server:
    """Answers what `answers` says for (method, path), and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                outer.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, output = outer.answers.get(
                    (self.command, self.path.partition("?")[0]), (404, {"message": "no"})
                )
                raw = output if isinstance(output, bytes) else json.dumps(output).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = _answer  # noqa: N815 - the names the base class calls

            def log_message(self, *_arguments: Any) -> None:
                """Nothing on the test's output."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    created = Server()
    thread = threading.Thread(target=created.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield created
    created.http.shutdown()
    created.http.server_close()
    thread.join()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For signatures; nothing of the machine's own, and nobody is asked over the network."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    signing._credentials.cache_clear()
    yield
    signing._credentials.cache_clear()
