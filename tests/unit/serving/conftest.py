"""A small real bundle, its store, and requests to it."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dropforge.api import predict, proxy_event, resolver
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.serving.prediction_service import PredictService
from dropforge_local.memory import MemoryStore

from ...forest_bundle import Bundle, trained

BUCKET = "bucket"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """As forest_bundle has it."""
    return trained()


@pytest.fixture
def stored(bundle: Bundle) -> tuple[MemoryStore, Callable[..., Active]]:
    """A store, and a function that keeps the bundle at a place and points the API to it."""
    store = MemoryStore()

    def activate(
        version: str = "1", *, manifest: bytes | None = None, onnx: bytes | None = None, point: bool = True
    ) -> Active:
        uri = f"s3://artifacts/{version}/bundle"
        text = bundle.manifest.to_json()
        store.put(f"{uri}/manifest.json", manifest if manifest is not None else text)
        store.put(f"{uri}/explain.npz", bundle.explain)
        store.put(f"{uri}/model.onnx", onnx if onnx is not None else bundle.onnx)
        active = Active(
            "demo-forest", version, "Production", "r1", uri, hashlib.sha256(text).hexdigest(), number=int(version)
        )
        ModelRecords(store, BUCKET).write(ModelRecord.of(active, serve="onnx", by="test"))
        if point:
            pointer = ActivePointer(store, BUCKET)
            try:
                etag = pointer.read()[1]
            except Exception:
                etag = ""
            pointer.replace(active, etag)
        return active

    return store, activate


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(stored: tuple[MemoryStore, Callable[..., Active]]) -> Ask:
    """The prediction routes as API Gateway calls them: `ask("POST", "/predict", {…}, explain="true")` gives status and body."""
    store, _ = stored
    service = PredictService(store, BUCKET, logging.getLogger("test"))

    def call(
        method: str,
        resource: str,
        body: Any = None,
        content_type: str = "application/json",
        named: str = "",
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> tuple[int, Any]:
        raw = (
            body
            if isinstance(body, bytes | None)
            else body.encode()
            if isinstance(body, str)
            else json.dumps(body).encode()
        )
        event = {
            "httpMethod": method,
            "resource": resource,
            "path": resource,
            "headers": {"Content-Type": content_type, **(headers or {})},
            "multiValueQueryStringParameters": {k: [v] for k, v in query.items()} or None,
            "pathParameters": {"model": named} if named else None,
            "requestContext": {"requestId": "the-request"},
            "body": base64.b64encode(raw).decode() if raw is not None else None,
            "isBase64Encoded": raw is not None,
        }
        answer = proxy_event.respond(
            event, logging.getLogger("test"), lambda r: resolver.dispatch(r, predict, lambda: service)
        )
        return answer["statusCode"], json.loads(answer["body"])

    return call
