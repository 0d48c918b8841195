"""Generated requests over every route, against the handlers: no answer of 500 or more, none that the OpenAPI document forbids.

`make test` runs a few requests a route; `make fuzz-api` sets DROPFORGE_FUZZ_EXAMPLES and prints the counts.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig

from dropforge.api import control, predict, proxy_event, resolver
from dropforge.api.routes import ACCESS, ROUTES, required_access
from dropforge.app_context import AppContext
from dropforge.config import settings_store
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.environment import Environment
from dropforge.serving.prediction_service import PredictService
from dropforge.uploads.upload_repository import UploadRecord
from dropforge_local.memory import (
    MemoryLogs,
    MemoryQueue,
    MemoryRegistry,
    MemoryStore,
    MemoryTracking,
    MemoryWorkflow,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("DROPFORGE_FUZZ_EXAMPLES", "2"))
BUCKET, ID = "bucket", "0123456789abcdef0123"
PATTERNS = {r.path: re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", r.path) + "$") for r in ROUTES}

load_all_checks()
# Not among them: that every valid body is accepted. Which columns a row needs is the active model's matter, not the document's.
WANTED = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method",
)  # fmt: skip


SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Gateway:
    """API Gateway as a WSGI application: request to event, the handler's answer to response. Counts what it answers."""

    def __init__(self, world: AppContext, service: PredictService) -> None:
        self._service = service
        self._app_context = world
        self.answered: Counter[tuple[str, str, int]] = Counter()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = unquote(environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace"))
        matches = [(p, m) for p, pattern in PATTERNS.items() if (m := pattern.match(path))]
        resource, matched = matches[0] if matches else (path, None)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        headers = {k[5:].replace("_", "-"): v for k, v in environ.items() if k.startswith("HTTP_")}
        event = {
            "httpMethod": environ["REQUEST_METHOD"],
            "resource": resource,
            "path": path,
            "headers": {**headers, "content-type": environ.get("CONTENT_TYPE", "")},
            "multiValueQueryStringParameters": parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True),
            "pathParameters": matched.groupdict() if matched else None,
            "requestContext": {"requestId": "fuzz"},
            "body": base64.b64encode(body).decode() or None,
            "isBase64Encoded": bool(body),
        }
        wanted = "x-api-key" if required_access(event["httpMethod"], resource) == "key" else "authorization"
        if (
            matches
            and (event["httpMethod"], resource) in ACCESS
            and not {k.lower(): v for k, v in headers.items()}.get(wanted)
        ):
            start("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"message": "Forbidden"}']
        log = logging.getLogger("fuzz")
        log.setLevel(logging.CRITICAL)
        predicts = resource in {r.path for r in ROUTES if r.function == "predict"}
        act = (
            partial(resolver.dispatch, module=predict, subject=lambda: self._service)
            if predicts
            else partial(resolver.dispatch, module=control, subject=lambda: self._app_context)
        )
        answer = proxy_event.respond(event, log, act)
        self.answered[event["httpMethod"], resource, answer["statusCode"]] += 1
        text = answer["body"].encode()
        start(f"{answer['statusCode']} .", [*answer["headers"].items(), ("Content-Length", str(len(text)))])
        return [text]


@pytest.fixture(scope="module")
def gateway(bundle: Any) -> Iterator[Gateway]:
    """The whole API over fakes, with an active model, an upload, its report and its quarantined rows."""
    store, uri, text = MemoryStore(), "s3://artifacts/1/bundle", bundle.manifest.to_json()
    for name, content in (("manifest.json", text), ("model.onnx", bundle.onnx), ("explain.npz", bundle.why)):
        store.put(f"{uri}/{name}", content)
    active = Active("demo-forest", "1", "Production", "r1", uri, hashlib.sha256(text).hexdigest())
    ActivePointer(store, BUCKET).replace(active, "")
    ModelRecords(store, BUCKET).write(ModelRecord.of(active, serve="onnx", by="test"))
    env = Environment(data_bucket=BUCKET, artifact_bucket="artifacts", mlflow_tracking_uri="http://127.0.0.1:1")
    world, tracking = AppContext(env), MemoryTracking()
    fakes = {"store": store, "queue": MemoryQueue(), "workflow": MemoryWorkflow(), "registry": MemoryRegistry(tracking)}
    vars(world).update(fakes, logs=MemoryLogs())
    settings_store.apply(store, BUCKET, (ROOT / "settings.yaml").read_bytes())
    world.uploads.open(UploadRecord(upload_id=ID, bucket=BUCKET, key="incoming/a.csv", version="1"))
    store.put("s3://artifacts/r.html", b"<!doctype html>")
    store.put("s3://artifacts/r.json", b'{"verdict": "pass"}')
    folder = f"s3://{BUCKET}/quarantine/{ID}"
    store.put(f"{folder}/rows.csv", b'line,column,code,reason,raw\n3,,too_many_fields,4 of 3,"2,fine,no,more"\n')
    store.put(f"{folder}/reasons.json", b'{"header": ["age", "note", "label"], "delimiter": ","}')
    facts = {"report_uri": "s3://artifacts/r.html", "report_json_uri": "s3://artifacts/r.json"}
    world.uploads.update(ID, **facts, rows_quarantined=1, quarantine_uri=folder)
    created = Gateway(world, PredictService(store, BUCKET, logging.getLogger("fuzz")))
    yield created
    if "DROPFORGE_FUZZ_EXAMPLES" in os.environ:
        with Path(os.environ["DROPFORGE_FUZZ_LOG"]).open("a") as out:
            out.writelines(f"{n}\t{status}\t{m}\t{p}\n" for (m, p, status), n in created.answered.items())


@pytest.fixture(scope="module")
def described(gateway: Gateway) -> Any:
    """The document as the API gives it, and half of the ids and names in paths made to be there."""
    # Not 5xx, which the default takes for a refusal; and 413, which it does not.
    error = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}})
    schema = schemathesis.openapi.from_wsgi("/openapi.json", gateway, config=error, headers={"x-api-key": "fuzz"})
    turns = iter(range(10**9))

    @schema.hook
    def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        known = {"upload_id": ID, "model": "demo-forest"}
        if not path_parameters or next(turns) % 2:
            return path_parameters
        return {k: known.get(k, v) for k, v in path_parameters.items()}

    return schema


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
@pytest.mark.parametrize(("method", "path"), [(r.method, r.path) for r in ROUTES])
def test_no_generated_request_breaks_the_api(described: Any, method: str, path: str, mode: GenerationMode) -> None:
    """Below 500, as documented, and what the document forbids is refused."""
    operation = described[path][method]
    checks = [check for check in CHECKS.get_all() if check.__name__ in WANTED]
    try:
        cases = operation.as_strategy(generation_mode=mode)
        hypothesis.find(cases, lambda _: True, settings=SETTINGS)
    except (hypothesis.errors.NoSuchExample, hypothesis.errors.Unsatisfiable):
        pytest.skip("the route takes nothing that could be wrong")

    @SETTINGS
    @hypothesis.given(case=cases)
    def run(case: Any) -> None:
        case.call_and_validate(checks=checks)

    run()
