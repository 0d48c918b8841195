"""Generated requests over every route: no answer of 500 or more, none that the OpenAPI document forbids.

`make test` runs a few requests a route against the handlers; `make fuzz-api` sets DROPFORGE_FUZZ_EXAMPLES and prints the counts, and
`make fuzz-api CLOUD=1` sends the requests to a local cloud, whose gateway, functions and store answer them.
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
from urllib.parse import parse_qs, quote, unquote

import hypothesis
import pytest
import requests

from dropforge.adapters.s3_store import S3Store
from dropforge.api import control, predict, proxy_event, resolver
from dropforge.api.routes import ACCESS, ROUTES, required_access
from dropforge.app_context import AppContext
from dropforge.config import settings_store
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.environment import Environment
from dropforge.serving.prediction_service import PredictService
from dropforge.uploads.upload_repository import UploadRecord
from dropforge_cli.target import Target
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


class CloudGateway:
    """A deployed API as a WSGI application: sends each request on, with the key or signed by an administrator. Counts the answers."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.answered: Counter[tuple[str, str, int]] = Counter()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = quote(environ.get("PATH_INFO", "/").encode("latin-1"), safe="/")
        query = environ.get("QUERY_STRING", "")
        length = int(environ.get("CONTENT_LENGTH") or 0)
        headers = {k[5:].replace("_", "-"): v.encode("latin-1") for k, v in environ.items() if k.startswith("HTTP_")}
        headers = {k: v for k, v in headers.items() if k not in {"HOST", "CONNECTION", "X-API-KEY", "AUTHORIZATION"}}
        if kind := environ.get("CONTENT_TYPE"):
            headers["content-type"] = kind.encode("latin-1")
        target, body = path + (f"?{query}" if query else ""), environ["wsgi.input"].read(length) if length else None
        wanted = "HTTP_X_API_KEY" if required_access(environ["REQUEST_METHOD"], path) == "key" else "HTTP_AUTHORIZATION"
        if environ.get(wanted):  # the generated one opens nothing: the real one goes in its place
            answer = self._target.call(environ["REQUEST_METHOD"], target, headers=headers, data=body)
        else:
            url = self._target.outputs["ApiUrl"] + target
            answer = requests.request(environ["REQUEST_METHOD"], url, headers=headers, data=body, timeout=35)
        resource = next((p for p, pattern in PATTERNS.items() if pattern.match(unquote(path))), path)
        self.answered[environ["REQUEST_METHOD"], resource, answer.status_code] += 1
        own = ("content-length", "transfer-encoding", "connection", "content-encoding")
        given = [(k, v) for k, v in answer.headers.items() if k.lower() not in own]
        start(f"{answer.status_code} .", [*given, ("Content-Length", str(len(answer.content)))])
        return [answer.content]


@pytest.fixture(scope="module")
def gateway(bundle: Any, request: pytest.FixtureRequest) -> Iterator[Gateway | CloudGateway]:
    """The whole API with an active model, an upload, its report and its quarantined rows: over fakes, or of a local cloud."""
    created: Gateway | CloudGateway
    if os.environ.get("DROPFORGE_FUZZ_CLOUD"):
        cloud = request.getfixturevalue("cloud")
        outputs = cloud.outputs
        env = Environment(data_bucket=outputs["DataBucket"], artifact_bucket=outputs["ArtifactBucket"])
        world = AppContext(env)
        vars(world).update(store=S3Store(cloud.client("s3")))
        _furnish(world, bundle)
        created = CloudGateway(cloud.target)
    else:
        env = Environment(data_bucket=BUCKET, artifact_bucket="artifacts", mlflow_tracking_uri="http://127.0.0.1:1")
        world, tracking = AppContext(env), MemoryTracking()
        fakes = {"queue": MemoryQueue(), "workflow": MemoryWorkflow(), "registry": MemoryRegistry(tracking)}
        vars(world).update(fakes, store=MemoryStore(), logs=MemoryLogs())
        settings_store.apply(world.store, BUCKET, (ROOT / "settings.yaml").read_bytes())
        _furnish(world, bundle)
        created = Gateway(world, PredictService(world.store, BUCKET, logging.getLogger("fuzz")))
    yield created
    if "DROPFORGE_FUZZ_EXAMPLES" in os.environ:
        with Path(os.environ["DROPFORGE_FUZZ_LOG"]).open("a") as out:
            out.writelines(f"{n}\t{status}\t{m}\t{p}\n" for (m, p, status), n in created.answered.items())


def _furnish(world: AppContext, bundle: Any) -> None:
    """An active model whose hash is on record, and an upload with a report and a quarantined row."""
    store, data, artifacts = world.store, world.env.data_bucket, world.env.artifact_bucket
    uri, text = f"s3://{artifacts}/mlflow/1/bundle", bundle.manifest.to_json()
    for name, content in (("manifest.json", text), ("model.onnx", bundle.onnx), ("explain.npz", bundle.explain)):
        store.put(f"{uri}/{name}", content)
    active = Active("demo-forest", "1", "Production", "r1", uri, hashlib.sha256(text).hexdigest())
    ActivePointer(store, data).replace(active, "")
    ModelRecords(store, data).write(ModelRecord.of(active, serve="onnx", by="test"))
    world.uploads.open(UploadRecord(upload_id=ID, bucket=data, key="incoming/a.csv", version="1"))
    store.put(f"s3://{artifacts}/reports/r.html", b"<!doctype html>")
    store.put(f"s3://{artifacts}/reports/r.json", b'{"verdict": "pass"}')
    folder = f"s3://{data}/quarantine/{ID}"
    store.put(f"{folder}/rows.csv", b'line,column,code,reason,raw\n3,,too_many_fields,4 of 3,"2,fine,no,more"\n')
    store.put(f"{folder}/reasons.json", b'{"header": ["age", "note", "label"], "delimiter": ","}')
    reports = {"report_uri": f"s3://{artifacts}/reports/r.html", "report_json_uri": f"s3://{artifacts}/reports/r.json"}
    world.uploads.update(ID, **reports, rows_quarantined=1, quarantine_uri=folder)


@pytest.fixture(scope="module")
def described(gateway: Gateway) -> Any:
    """The document as the API gives it, and half of the ids and names in paths made to be there."""
    import schemathesis  # here: both processes of a run would import it at collection, for seconds
    from schemathesis.config import SchemathesisConfig

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


@pytest.mark.parametrize("mode", ["positive", "negative"], ids=["valid", "invalid"])
@pytest.mark.parametrize(("method", "path"), [(r.method, r.path) for r in ROUTES])
def test_no_generated_request_breaks_the_api(described: Any, method: str, path: str, mode: str) -> None:
    """Below 500, as documented, and what the document forbids is refused."""
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    operation = described[path][method]
    checks = [check for check in CHECKS.get_all() if check.__name__ in WANTED]
    try:
        cases = operation.as_strategy(generation_mode=GenerationMode(mode))
        hypothesis.find(cases, lambda _: True, settings=SETTINGS)
    except (hypothesis.errors.NoSuchExample, hypothesis.errors.Unsatisfiable):
        pytest.skip("the route takes nothing that could be wrong")

    @SETTINGS
    @hypothesis.given(case=cases)
    def run(case: Any) -> None:
        case.call_and_validate(checks=checks)

    run()
