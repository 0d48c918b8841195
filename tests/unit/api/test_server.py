"""The API over plain HTTP: the handlers of the functions, nothing of its own but the way in."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from dropforge.api import server
from dropforge.api.access import ACCESS

ROOT = Path(__file__).parents[3]
KEYS = {"key": "callers", "admin": "people"}


@pytest.fixture
def seen() -> list[tuple[str, dict[str, Any]]]:
    """Events that reached a handler, with the function's name."""
    return []


@pytest.fixture
def url(seen: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    def answering(name: str) -> server.Handler:
        def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
            seen.append((name, event))
            if event["body"] == "slow":
                time.sleep(0.4)
            return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": '{"é": 1}'}

        return handler

    running = server.Server(("127.0.0.1", 0), {n: answering(n) for n in ("predict", "control")}, KEYS)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_request_becomes_the_event_of_api_gateway(url: str, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """Method, path, route, parameters, repeated query values, headers and body arrive as the gateway would send them."""
    answer = requests.post(
        f"{url}/quarantine/ab%20c?x=1&x=2", data='{"rows": []}', headers={"x-api-key": "people"}, timeout=5
    )
    assert (answer.status_code, answer.json()) == (200, {"é": 1})
    ((name, event),) = seen
    assert name == "control"
    recorded = json.loads((ROOT / "events" / "replay.json").read_text())
    assert set(event) <= set(recorded) | {"multiValueQueryStringParameters"}
    assert (event["httpMethod"], event["resource"]) == ("POST", "/quarantine/{upload_id}")
    assert event["pathParameters"] == {"upload_id": "ab c"}
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
    assert (event["body"], event["isBase64Encoded"]) == ('{"rows": []}', False)
    assert event["requestContext"]["requestId"]


def test_bytes_that_are_no_text_arrive_unharmed(url: str, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """A body in another encoding is handed over as base64."""
    requests.post(f"{url}/predict", data=b"\xff\xfe", headers={"x-api-key": "callers"}, timeout=5)
    ((name, event),) = seen
    assert (name, event["isBase64Encoded"]) == ("predict", True)
    assert base64.b64decode(event["body"]) == b"\xff\xfe"


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS))
def test_every_route_wants_its_key(url: str, seen: list[tuple[str, dict[str, Any]]], method: str, path: str) -> None:
    """Without a key and with a wrong one nothing reaches a handler; the callers' key opens callers' routes only."""
    for key in ("", "wrong", "calle", "callers "):
        assert requests.request(
            method, url + path, headers={"x-api-key": key.strip() or "-"}, timeout=5
        ).status_code in ((403,) if key.strip() != "callers" else (200, 403))
    seen.clear()
    status = requests.request(method, url + path, headers={"x-api-key": "callers"}, timeout=5).status_code
    assert (status == 200) == (ACCESS[method, path] == "key") == (len(seen) == 1)
    assert requests.request(method, url + path, headers={"x-api-key": "people"}, timeout=5).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/v2/models/m/infer", "/models"])
def test_each_route_goes_to_its_function(url: str, seen: list[tuple[str, dict[str, Any]]], path: str) -> None:
    """What a model answers comes from `predict`, everything else from `control`, as template.yaml has it."""
    requests.get(url + path, headers={"x-api-key": "people"}, timeout=5)
    assert [name for name, _ in seen] == ["control" if path == "/models" else "predict"]


def test_an_empty_key_opens_nothing() -> None:
    """A key that was not set is no key, whoever sends an empty one."""
    running = server.Server(("127.0.0.1", 0), {}, {"key": "", "admin": ""})
    try:
        assert not running.admits("key", "")
        assert not running.admits("admin", "")
    finally:
        running.server_close()


def test_a_body_that_is_too_large_is_refused_unread(url: str, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """The length alone is enough for 413; an unknown length is 411; a connection goes on after an ordinary answer."""
    host, port = url.removeprefix("http://").split(":")
    for head, status in (("Content-Length: 99999999", b"413"), ("Transfer-Encoding: chunked", b"411")):
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            raw.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nx-api-key: callers\r\n{head}\r\n\r\n".encode())
            assert status in raw.recv(200)
    assert not seen
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{url}/livez", timeout=5).json() == {"live": True}


def test_a_silent_client_does_not_hold_it_up() -> None:
    """A connection that is kept open without a request is hung up on when the server stops."""
    running = server.Server(("127.0.0.1", 0), {}, KEYS)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with requests.Session() as session:
        session.get(f"http://127.0.0.1:{running.server_port}/livez", timeout=5)
        running.shutdown()
        closing = threading.Thread(target=running.server_close)
        closing.start()
        closing.join(server._Requests.timeout / 2)
        assert not closing.is_alive()
    thread.join()


def test_what_is_in_work_is_answered_when_it_stops(seen: list[tuple[str, dict[str, Any]]]) -> None:
    """Requests in work when the server is told to stop get their answers."""

    def slow(event: dict[str, Any], _context: object) -> dict[str, Any]:
        seen.append(("predict", event))
        time.sleep(0.3)
        return {"statusCode": 200, "headers": {}, "body": "done"}

    running = server.Server(("127.0.0.1", 0), {"predict": slow}, KEYS)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    got: list[str] = []
    address = f"http://127.0.0.1:{running.server_port}/predict"
    asking = threading.Thread(
        target=lambda: got.append(requests.post(address, headers={"x-api-key": "callers"}, timeout=5).text)
    )
    asking.start()
    while not seen:
        time.sleep(0.01)
    running.shutdown()
    running.server_close()
    asking.join()
    thread.join()
    assert got == ["done"]


def test_the_real_handlers_run_behind_it(tmp_path: Path) -> None:
    """The process of the container starts, lives, answers in the API's own words without a store, and ends on SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys; from pathlib import Path; from dropforge.api import server; "
        f"server.serve(server.Server(('127.0.0.1', {port}), server.load(Path(sys.argv[1])), {KEYS!r}))"
    )
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        "DATA_BUCKET": "d", "ARTIFACT_BUCKET": "a", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code, ROOT / "functions"], env=env, cwd=tmp_path)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(400):
            try:
                requests.get(f"{url}/livez", timeout=1)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        wrong = requests.get(f"{url}/predict", headers={"x-api-key": "callers"}, timeout=10)
        assert wrong.status_code in {403, 405}
        unknown = requests.get(f"{url}/nowhere", headers={"x-api-key": "people"}, timeout=10)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "path_unknown")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
