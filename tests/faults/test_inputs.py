"""Texts of strangers that become keys, names and pages: no foreign read, no outbound call, no script, no secret in a log."""

from __future__ import annotations

import base64
import csv
import io
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from dropforge import observability
from dropforge.api import control, proxy_event, resolver
from dropforge.app_context import AppContext as Parts
from dropforge.config import settings_store
from dropforge.environment import Environment
from dropforge.errors import Unavailable
from dropforge_local.memory import MemoryLogs, MemoryQueue, MemoryRegistry, MemoryStore
from harness.world import SETTINGS, AppContext, table

Figure = Callable[[str], None]
PATHS = [
    "../../../../etc/passwd", "..", ".", "../", "..\\..\\windows\\win.ini", "/etc/passwd", "//etc/passwd", "%2e%2e%2f", "..%2f..",
    "%252e%252e%252f", "....//....//", "..;/", "../serving/active", "../../config/settings", "a/../../b", "uploads/../serving",
    "\u0000", "a\u0000.json", "..%c0%af", "..%00/", "‥/‥/", "．．／", "~/.aws/credentials", "$HOME/.aws", "`id`", "$(id)", "{{7*7}}",
    "file:///etc/passwd", "file://localhost/etc/passwd", "gopher://127.0.0.1:6379/_", "ftp://127.0.0.1/x", "dict://127.0.0.1:11211/",
    "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://127.0.0.1:5500/", "http://2130706433/", "http://0x7f.1/",
    "https://evil.example/x", "//evil.example/x", "http:\\\\evil.example", "s3://other-bucket/key", "s3://data/../x", "arn:aws:s3:::x",
    "jar:http://evil.example!/", "ldap://evil.example/x", "data:text/plain,x", "mlflow-artifacts:/x", "models:/x/1", "runs:/x/y",
    "x" * 3000,
]  # fmt: skip


class _Watched(MemoryStore):
    """Keeps which addresses are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []

    def get(self, uri: str, version: str = "") -> Any:
        self.requests.append(uri)
        return super().get(uri, version)

    def put(self, uri: str, body: bytes, **how: Any) -> str:
        self.requests.append(uri)
        return super().put(uri, body, **how)


@pytest.fixture
def parts() -> Parts:
    created = Parts(
        Environment(data_bucket="data", artifact_bucket="artifacts", mlflow_tracking_uri="http://127.0.0.1:1")
    )
    vars(created).update(store=_Watched(), registry=MemoryRegistry(), queue=MemoryQueue(), logs=MemoryLogs())
    settings_store.apply(created.store, "data", SETTINGS)
    return created


def _ask(
    parts: Parts, method: str, resource: str, *, body: Any = None, path: Any = None, query: Any = None
) -> dict[str, Any]:
    event = {
        "httpMethod": method,
        "resource": resource,
        "path": resource,
        "headers": {"Content-Type": "application/json", "X-Dropforge-User": "somebody"},
        "pathParameters": path,
        "multiValueQueryStringParameters": {k: [v] for k, v in (query or {}).items()} or None,
        "requestContext": {"requestId": "r"},
        "body": base64.b64encode(json.dumps(body).encode()).decode() if body is not None else None,
        "isBase64Encoded": body is not None,
    }
    return proxy_event.respond(
        event, logging.getLogger("faults"), lambda request: resolver.dispatch(request, control, lambda: parts)
    )


@pytest.mark.promise(25)
def test_no_payload_reads_elsewhere_or_calls_out(parts: Parts, figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths and addresses in every text that could become a key or a name: 4xx or a harmless name, no read, no socket."""
    calls: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, address: calls.append(address))
    store: Any = parts.store
    allowed = ("config/settings.yaml", "serving/", "ledger/")
    places = 0
    for payload in PATHS:
        asks: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", "/set_model", {"body": {"alias": payload}}),
            ("POST", "/set_model", {"body": {"alias": "Production", "model": payload}}),
            ("POST", "/aliases", {"body": {"model": payload, "version": payload, "alias": payload}}),
            ("POST", "/rollback", {"body": {"to": payload}}),
            ("POST", "/upload_data", {"body": {"filename": payload}}),
            ("GET", "/uploads", {"query": {"key": payload}}),
            *((m, r, {"path": {"upload_id": payload}}) for m, r in resolver.handlers(control) if "{upload_id}" in r),
        ]
        for method, resource, given in asks:
            if (method, resource) not in resolver.handlers(control):
                continue
            places += 1
            store.requests.clear()
            answer = _ask(parts, method, resource, **given)
            assert answer["statusCode"] < 500, (payload, method, resource, answer)
            foreign = [u for u in store.requests if not u.removeprefix("s3://data/").startswith(allowed)]
            assert foreign == [], (payload, method, resource)
            if resource == "/upload_data" and answer["statusCode"] == 200:
                key = json.loads(answer["body"])["fields"]["key"]
                assert key.startswith("incoming/")
                assert ".." not in key.split("/")
                assert key.count("/") == 5
    assert len(PATHS) == 50
    assert calls == []
    figure(f"{len(PATHS)} payloads in {places} places: 0 foreign reads, 0 outbound sockets, 0 answers of 5xx")


@pytest.mark.promise(32)
def test_no_secret_of_a_failing_dependency_is_logged(parts: Parts, figure: Figure, capsys: Any) -> None:
    """Credentials in the environment, in headers and in a presigned form do not reach the log when calls fail."""
    canary = "AKIACANARY0SECRET0VALUE"
    log = observability.logger("canary")
    store: Any = parts.store
    for handler in log.handlers:
        handler.stream = __import__("sys").stdout  # type: ignore[attr-defined]

    def away(*_: object, **__: object) -> Any:
        raise Unavailable("the store does not answer", code="aws_unreachable", fix="try again")

    failures = 0
    for n in range(100):
        store.get = away if n % 2 else lambda *_: {}["missing"]
        event = {
            "httpMethod": "POST",
            "resource": "/set_model",
            "path": "/set_model",
            "headers": {
                "Authorization": f"AWS4-HMAC-SHA256 {canary}",
                "x-api-key": canary,
                "X-Amz-Security-Token": canary,
            },
            "requestContext": {"requestId": "r", "identity": {"apiKey": canary, "accessKey": canary}},
            "body": json.dumps({"alias": "Production", "password": canary}),
        }
        answer = proxy_event.respond(event, log, lambda request: resolver.dispatch(request, control, lambda: parts))
        failures += answer["statusCode"] >= 500
        assert canary not in answer["body"]
    output = capsys.readouterr()
    assert failures == 100
    assert canary not in output.out + output.err
    assert output.out.count("\n") >= 100
    figure(f"a canary secret in {failures} failures: 0 times in {output.out.count(chr(10))} log lines and answers")


@pytest.mark.promise(25)
def test_pages_and_tables_are_harmless(world: AppContext, figure: Figure) -> None:
    """Scripts and formulas in cells, headers and file names: escaped in the report, disarmed in the quarantine's CSV."""
    world.deliver(world.put("reference.csv", table(9999)))
    script = "<script>alert(1)</script>"
    formulas = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "=cmd|' /C calc'!A0"]
    lines = table(3, rows=200).decode().splitlines()
    lines += [f'"{f}",Rome,yes' for f in formulas] + [f"{script},Rome,yes"]
    record = world.deliver(world.put(f"{script.replace('/', '')}.csv", "\n".join(lines).encode()))
    assert record.state == "training", record.reason
    page = world.store.get(record.report_uri).body.decode()
    assert "<script>alert" not in page
    stored = world.store.get(f"{record.quarantine_uri}/rows.csv").body.decode()
    cells = [c for row in csv.reader(io.StringIO(stored)) for c in row]
    assert record.rows_quarantined >= 5
    assert [c for c in cells if c[:1] in {"=", "+", "@", "\t"} or c.startswith("-1+")] == []
    bad = world.deliver(world.put("x.csv", f"{script},b,label\n1,2,yes\n".encode()))
    assert bad.state == "blocked"
    assert "<script>alert" not in world.store.get(bad.report_uri).body.decode()
    figure(f"{len(formulas)} formulas and scripts in cells, headers and names: 0 alive in reports and CSV")


@pytest.mark.promise(21)
def test_a_bad_request_is_never_a_5xx(parts: Parts, times: Callable[[int, int], int], figure: Figure) -> None:
    """Random bodies, of random types and depths, for every route of the control function."""
    import random

    rng, count = random.Random(21), times(400, 10_000)
    pieces = [None, True, -1, 1e308, 10**50, "", "x", "\ud800", "é" * 50, [], {}, [[]], {"a": 1}, "=1", "null", 0.1]

    def value(depth: int = 0) -> Any:
        if depth > 3 or rng.random() < 0.5:
            return rng.choice(pieces)
        if rng.random() < 0.5:
            return [value(depth + 1) for _ in range(rng.randint(0, 3))]
        names = ["alias", "model", "version", "filename", "rows", "line", "raw", "to", "by", "reason", "key", "x"]
        return {rng.choice(names): value(depth + 1) for _ in range(rng.randint(0, 4))}

    table_, statuses = list(resolver.handlers(control)), dict[int, int]()
    offline = {"/health"}  # speaks to the queue, in this world a fake without fault
    for _ in range(count):
        method, resource = rng.choice(table_)
        if resource in offline:
            continue
        path = {"upload_id": rng.choice(["0" * 20, "x", "", "é"])} if "{upload_id}" in resource else None
        answer = _ask(parts, method, resource, body=value(), path=path, query={"key": str(value())[:200]})
        statuses[answer["statusCode"]] = statuses.get(answer["statusCode"], 0) + 1
        assert answer["statusCode"] < 500, (method, resource, answer)
    figure(f"{count:,} requests: 0 answers of 5xx ({', '.join(f'{n:,} × {s}' for s, n in sorted(statuses.items()))})")
