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
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from dropforge.api.routes import ACCESS
from dropforge_cli import local_server

ROOT = Path(__file__).parents[3]
KEYS = {"key": "callers", "admin": "people"}


@pytest.fixture(scope="module")
def events() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def seen(events: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Events of this test that reached a handler, with the function's name."""
    events.clear()
    return events


@pytest.fixture(scope="module")
def url(events: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """One server for all: it takes half a second to stop."""

    def answering(name: str) -> local_server.Handler:
        def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
            events.append((name, event))
            if event["body"] == "slow":
                time.sleep(0.4)
            return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": '{"é": 1}'}

        return handler

    running = local_server.Server(("127.0.0.1", 0), {n: answering(n) for n in ("predict", "control")}, KEYS)
    thread = running.start()
    yield f"http://127.0.0.1:{running.port}"
    running.stop()
    thread.join(10)
    assert not thread.is_alive()


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
    assert local_server.Application({}, {"key": "", "admin": ""}).opened_by("") == ""
    assert local_server.Application({}, {}).opened_by("") == ""


def _raw(url: str, sent: bytes, seconds: float = 5) -> bytes:
    """What comes back for these bytes, until the server hangs up or nothing more comes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(sent)
        result = b""
        while b"\r\n\r\n" not in result:
            piece = connection.recv(2000)
            if not piece:
                break
            result += piece
        return result


@pytest.mark.parametrize("length", ["-1", "abc", "1_0", "9" * 30, "1, 2", "0x10", "1e3", "\u0661"])
@pytest.mark.parametrize("key", ["callers", "wrong"])
def test_a_length_that_is_none_is_an_error_of_the_client(
    url: str, seen: list[tuple[str, dict[str, Any]]], length: str, key: str
) -> None:
    """Nonsense in Content-Length is answered with 4xx, with or without the key, and the server goes on."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\nContent-Length: {length}\r\n\r\n"
    assert _raw(url, head.encode()).startswith(b"HTTP/1.1 4")
    assert not seen
    assert requests.get(f"{url}/livez", timeout=5).json() == {"live": True}


@pytest.mark.parametrize(
    "target",
    [
        "//v2/models/#", "//v2/models/x#/../set_model", "http://x/models", "//x/models", "//x/set_model", "http:/predict//set_model",
        "/v2/models/x%2f..%2f..%2fmodels",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_form_of_a_target_leads_a_callers_key_to_administration(
    url: str, seen: list[tuple[str, dict[str, Any]]], method: str, target: str
) -> None:
    """With an authority, a fragment, a scheme or an encoded slash: the route that is answered is the one the key opens."""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nx-api-key: callers\r\nContent-Length: 0\r\n\r\n"
    answer = _raw(url, head.encode())
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 200", b"HTTP/1.1 400"))
    assert all(ACCESS.get((method, event["resource"])) == "key" for _, event in seen)


def test_the_key_is_looked_at_before_the_body(url: str, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """With a wrong key the refusal comes although the body that was promised never does."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nx-api-key: wrong\r\nContent-Length: 1000\r\n\r\n"
    assert _raw(url, head).startswith(b"HTTP/1.1 403")
    assert not seen


def test_a_body_that_is_too_large_is_refused(url: str, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """By its length before it is read, and by what came when no length is told."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nx-api-key: callers\r\nContent-Length: 99999999\r\n\r\n"
    assert _raw(url, head).startswith(b"HTTP/1.1 413")
    pieces = (b"x" * 1_000_000 for _ in range(local_server.MAX_BODY // 1_000_000 + 1))
    with suppress(requests.ConnectionError):  # it hung up on the rest, which is as good
        response = requests.post(f"{url}/predict", data=pieces, headers={"x-api-key": "callers"}, timeout=10)
        assert response.status_code == 413
    assert not seen
    assert requests.post(f"{url}/predict", data=iter([b"sl", b"ow"]), headers={"x-api-key": "callers"}, timeout=5).ok
    assert seen[0][1]["body"] == "slow"
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{url}/livez", timeout=5).json() == {"live": True}


def test_a_head_that_never_ends_is_refused(url: str) -> None:
    """Headers have a limit too."""
    assert _raw(url, b"GET /livez HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 200_000).startswith(b"HTTP/1.1 4")


def test_idle_connections_hold_nobody_up(url: str) -> None:
    """With 200 connections that never ask anything, or never finish asking, others are answered."""
    host, port = url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=5) for _ in range(200)]
    try:
        for i, connection in enumerate(idle):
            if i % 2:
                connection.sendall(
                    b"POST /predict HTTP/1.1\r\nx-api-key: callers\r\nContent-Length: 10\r\n\r\n12"[: 20 + i]
                )
        assert requests.get(f"{url}/models", headers={"x-api-key": "people"}, timeout=5).ok
    finally:
        for connection in idle:
            connection.close()


def test_a_slow_client_is_let_go(monkeypatch: pytest.MonkeyPatch, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """A connection without a whole head is closed, a body that does not come is 408; none of it reaches a handler."""
    monkeypatch.setattr(local_server, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(local_server, "BODY_SECONDS", 0.2)
    running = local_server.Server(("127.0.0.1", 0), {}, KEYS)
    thread, address = running.start(), f"http://127.0.0.1:{running.port}"
    try:
        assert _raw(address, b"GET /mod") == b""
        assert _raw(address, b"") == b""
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nx-api-key: callers\r\nContent-Length: 10\r\n\r\n12"
        assert _raw(address, head).startswith(b"HTTP/1.1 408")
    finally:
        running.stop()
        thread.join(10)


def test_who_did_it_is_the_key_not_a_header(url: str, seen: list[tuple[str, dict[str, Any]]]) -> None:
    """The history names the key that opened the route, whatever the client calls itself."""
    from dropforge.api import control, proxy_event

    given = {"x-api-key": "people", "x-dropforge-user": "mallory"}
    requests.post(f"{url}/set_model", json={}, headers=given, timeout=5)
    requests.post(f"{url}/ground_truth", json={}, headers=given | {"x-api-key": "callers"}, timeout=5)
    assert [control._by(proxy_event.read(event)) for _, event in seen] == [local_server.ADMINISTRATOR, "api"]


def test_what_is_in_work_is_answered_when_it_stops(seen: list[tuple[str, dict[str, Any]]]) -> None:
    """Requests in work when the server is told to stop get their answers."""

    def slow(event: dict[str, Any], _context: object) -> dict[str, Any]:
        seen.append(("predict", event))
        time.sleep(0.3)
        return {"statusCode": 200, "headers": {}, "body": "done"}

    running = local_server.Server(("127.0.0.1", 0), {"predict": slow}, KEYS)
    thread = running.start()
    got: list[str] = []
    address = f"http://127.0.0.1:{running.port}/predict"
    asking = threading.Thread(
        target=lambda: got.append(requests.post(address, headers={"x-api-key": "callers"}, timeout=5).text)
    )
    asking.start()
    while not seen:
        time.sleep(0.01)
    running.stop()
    asking.join()
    thread.join(10)
    assert got == ["done"]


def test_the_real_handlers_run_behind_it(tmp_path: Path) -> None:
    """The process of the container starts, lives, answers in the API's own words without a store, and ends on SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys; from pathlib import Path; from dropforge_cli import local_server as server; "
        f"server.Server(('127.0.0.1', {port}), server.load(Path(sys.argv[1])), {KEYS!r}).run()"
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


def test_no_command_takes_a_secret_as_an_option() -> None:
    """Everybody on a machine can read command lines: keys, passwords and tokens come by the environment or in a file."""
    import typer

    from dropforge_cli.main import app

    def options(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (o for o in parameter.opts if o.startswith("-"))
        for inner in getattr(command, "commands", {}).values():
            yield from options(inner)

    names = set(options(typer.main.get_command(app)))
    assert "--port" in names
    assert not {n for n in names if any(word in n for word in ("key", "secret", "password", "token"))}
