"""No value of a request reaches a log: a canary is sent in every place of every route, and looked for in what was logged."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dropforge.api import control, predict, proxy_event, resolver
from dropforge.api.routes import ACCESS
from dropforge.app_context import AppContext
from dropforge.batch import score_file
from dropforge.batch.batch_ports import BatchPorts
from dropforge.config import settings_store
from dropforge.environment import Environment
from dropforge.errors import NotFound, PermanentError, Unavailable
from dropforge.messages import UploadEvent
from dropforge.observability import JsonFormatter
from dropforge.serving.prediction_service import PredictService
from dropforge.uploads.upload_repository import UploadRepository
from dropforge_local.memory import MemoryQueue, MemoryRegistry, MemoryStore, MemoryTracking, MemoryWorkflow

from .conftest import BUCKET

ROOT = Path(__file__).parents[3]
CANARY = "c4n4ry"
ROW = {"age": 39, "job": "cook", "member": True, "joined": "2021-03-01"}
BODIES: list[tuple[str, bytes]] = [
    ("application/json", json.dumps(body).encode())
    for body in (
        {CANARY: CANARY}, [CANARY], CANARY, {"records": CANARY}, {"records": [CANARY]}, {"records": [{CANARY: CANARY}]},
        *({"records": [{**ROW, name: CANARY}]} for name in ROW), {"records": [{**ROW, "age": [CANARY]}]},
        {"instances": [{**ROW, "age": CANARY}]}, {"inputs": {**ROW, "age": [CANARY]}},
        {"dataframe_split": {"columns": [*ROW], "data": [[CANARY] * len(ROW)]}}, {"dataframe_records": [{**ROW, "joined": CANARY}]},
        {"inputs": [{"name": "age", "shape": [1], "datatype": "BYTES", "data": [CANARY]}]},
        {"alias": CANARY, "model": CANARY, "version": CANARY, "reason": CANARY}, {"alias": CANARY, "canary": CANARY},
        {"to": CANARY}, {"action": CANARY}, {"filename": CANARY + ".csv"}, {"filename": CANARY, "purpose": CANARY},
        {"rows": [{"line": 2, "raw": CANARY}]}, {"rows": CANARY}, {"labels": [{"prediction_id": CANARY, "label": CANARY}]},
    )
] + [
    ("application/json", b'{"records": [{"age": ' + CANARY.encode() + b"}"), ("application/json", b"\xff" + CANARY.encode()),
    ("text/csv", f"age,job\n{CANARY},{CANARY}\n".encode()), ("text/csv", CANARY.encode()), (CANARY, b"x"),
    ("text/csv; header=" + CANARY, b"a"),
]  # fmt: skip


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, Callable[[], str]]]:
    """A logger with the product's own formatter, and what was written by it and by every other logger."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter("api", "Dropforge").format(record))

    root, handler = logging.getLogger(), Collect()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logger = logging.getLogger("canary")
    logger.setLevel(logging.DEBUG)
    yield logger, lambda: "\n".join(lines)
    root.removeHandler(handler)
    root.setLevel(level)


@cache
def _settings() -> dict[str, bytes]:
    """The objects of the project's settings, which take a while to read."""
    store = MemoryStore()
    settings_store.apply(store, BUCKET, (ROOT / "settings.yaml").read_bytes())
    return {o.uri: store.get(o.uri).body for o in store.list(f"s3://{BUCKET}/")}


def _app_context(logger: logging.Logger) -> AppContext:
    store = MemoryStore()
    for uri, body in _settings().items():
        store.put(uri, body)
    created = AppContext(
        Environment(data_bucket=BUCKET, artifact_bucket="artifacts", mlflow_tracking_uri="http://127.0.0.1:1")
    )
    vars(created).update({"store": store, "queue": MemoryQueue(), "registry": MemoryRegistry(MemoryTracking())})
    vars(created)["log"] = lambda _service: logger
    return created


def _event(method: str, resource: str, kind: str, body: bytes) -> dict[str, Any]:
    """The canary stands in every part that a caller writes."""
    names = [part.strip("{}") for part in resource.split("/") if part.startswith("{")]
    return {
        "httpMethod": method, "resource": resource, "path": f"/{CANARY}{resource}",
        "headers": {"Content-Type": kind, "Accept": CANARY, "x-dropforge-user": CANARY, CANARY: CANARY},
        "multiValueQueryStringParameters": {
            name: [CANARY] for name in ("model", "alias", "coverage", "explain", "limit", "minutes", "key", CANARY)
        },
        "pathParameters": dict.fromkeys(names, CANARY),
        "requestContext": {"requestId": "r"}, "body": base64.b64encode(body).decode(), "isBase64Encoded": True,
    }  # fmt: skip


@pytest.mark.parametrize(("method", "resource"), [*sorted(ACCESS), ("POST", f"/{CANARY}"), (CANARY, "/predict")])
def test_no_value_of_a_request_is_logged(
    stored: Any, log: tuple[logging.Logger, Callable[[], str]], method: str, resource: str
) -> None:
    """Whatever is wrong with the request, with or without an active model: its line names route, status and code alone."""
    logger, written = log
    store, activate = stored
    service, world = PredictService(store, BUCKET, logger), _app_context(logger)
    statuses = set()
    for active in (False, True):
        if active:
            activate()
        for number, (kind, body) in enumerate(BODIES):
            for query in (True, False) if number == 0 else (False,):
                event = _event(method, resource, kind, body)
                if not query:
                    event["multiValueQueryStringParameters"] = None
                for module, subject in ((control, world), (predict, service)):
                    if (method, resource) in resolver.handlers(module) or resource == f"/{CANARY}":
                        act = lambda r, m=module, s=subject: resolver.dispatch(r, m, lambda: s)  # noqa: E731 - one expression
                        statuses.add(proxy_event.respond(event, logger, act)["statusCode"])
    assert max(statuses, default=404) < 600
    assert written().count('"answered"') >= len(BODIES) or method == CANARY
    assert CANARY not in written()


@pytest.mark.parametrize(
    "error",
    [ValueError(CANARY), KeyError(CANARY), Unavailable(CANARY, code="away", fix=CANARY), PermanentError(CANARY, code="no", fix="x"),
     NotFound(CANARY, code="gone", fix="x")],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_a_failure_is_logged_by_its_kind_and_place(
    log: tuple[logging.Logger, Callable[[], str]], error: Exception
) -> None:
    """Messages of exceptions quote what was sent, those of their causes too: the log has the kinds, our code and the lines of code."""
    logger, written = log

    def act(_request: proxy_event.Request) -> proxy_event.Response:
        try:
            raise RuntimeError(CANARY)
        except RuntimeError as cause:
            raise error from cause

    answer = proxy_event.respond(_event("GET", "/models", "text/plain", b""), logger, act)
    assert CANARY not in written()
    lines = [json.loads(line) for line in written().splitlines()]
    if answer["statusCode"] >= 500:
        output = next(line for line in lines if "stack" in line)
        assert output["error"].startswith(type(error).__name__)
        assert any("test_logs.py" in place for place in output["stack"])
    else:
        assert lines[-1]["code"] == "gone"


def test_a_candidate_that_fails_logs_no_row(stored: Any, log: tuple[logging.Logger, Callable[[], str]]) -> None:
    """An error of a model beside the active one quotes the row: only its kind and place are logged."""
    from dropforge.observability import failure

    try:
        float(CANARY)
    except ValueError as error:
        fields = failure(error)
    assert CANARY not in json.dumps(fields)
    assert fields["error"] == "ValueError"
    assert list(itertools.islice(fields["stack"], 1))


def test_a_file_to_be_scored_logs_no_cell(stored: Any, log: tuple[logging.Logger, Callable[[], str]]) -> None:
    """Odd files through batch, with a model that answers: what is wrong with them stands in their records alone."""
    store, activate = stored
    activate()
    logger, written = log
    settings_store.apply(store, BUCKET, (ROOT / "settings.yaml").read_bytes())
    ports = BatchPorts(store, UploadRepository(store, BUCKET), BUCKET, logger, MemoryWorkflow())
    header = ",".join(ROW).encode() + b"\n"
    good, bad = b"39,cook,true,2021-03-01\n", CANARY.encode()
    bodies = [
        header + bad + b",cook,true,2021-03-01\n", header + b"39,cook,true," + bad + b"\n", header + good + bad + b"\n",
        header + b'39,"' + bad + b"\n", header.replace(b"age", bad) + good, header + b"39," + bad + b"\xff,true,2021-03-01\n", bad,
        header + b"39," + bad + b"\0,true,2021-03-01\n", header + good.strip() + b"," + bad + b"\n",
        gzip.compress(header + bad * 99)[:-9],
    ]  # fmt: skip
    for number, body in enumerate(bodies):
        uri = f"s3://{BUCKET}/batch/{number}.csv" + ".gz" * (number == len(bodies) - 1)
        store.put(uri, body)
        upload = UploadEvent(bucket=BUCKET, key=uri.partition(f"{BUCKET}/")[2], version=store.get(uri).version)
        score_file.score(upload, ports)
    assert written().count("level") >= len(bodies)
    assert CANARY not in written()
