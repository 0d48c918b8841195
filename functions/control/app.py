"""Lambda handler of every route but /predict."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import bootstrap, observability
from dropforge.api import http, routes
from dropforge.errors import InvalidRequest
from dropforge.serving import formats
from dropforge.steps import browse, switch


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


def _body(request: http.Request) -> dict[str, Any]:
    value = formats.loads(request.body) if request.body.strip() else {}
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", code="malformed_request", fix="send {…}")
    return value


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} must be text", code="malformed_request", fix=f'send {{"{key}": "…"}}')
    return value


def _set_model(request: http.Request) -> http.Response:
    w, body = _world(), _body(request)
    switched = switch.set_model(
        _text(body, "alias"),
        _text(body, "model"),
        settings=w.settings(),
        store=w.store,
        registry=w.registry,
        bucket=w.env.data_bucket,
        by=request.headers.get("x-dropforge-user", "api"),
        log=observability.logger("control", w.env.log_level),
    )
    return http.Response(switched)


def _models(_request: http.Request) -> http.Response:
    return http.Response({"models": switch.models(settings=_world().settings(), registry=_world().registry)})


def _model_info(_request: http.Request) -> http.Response:
    w = _world()
    return http.Response(
        switch.model_info(store=w.store, bucket=w.env.data_bucket, mlflow_url=w.env.mlflow_tracking_uri)
    )


def _health(_request: http.Request) -> http.Response:
    w = _world()
    return http.Response(
        browse.health(store=w.store, registry=w.registry, queue=w.queue, book=w.uploads, bucket=w.env.data_bucket)
    )


def _upload_data(request: http.Request) -> http.Response:
    w, name = _world(), _text(_body(request), "filename")
    return http.Response(browse.upload_form(name, settings=w.settings(), store=w.store, bucket=w.env.data_bucket))


def _uploads(request: http.Request) -> http.Response:
    return http.Response({"uploads": browse.uploads(_world().uploads, request.query.get("key", ""))})


def _upload(request: http.Request) -> http.Response:
    return http.Response(browse.upload(_world().uploads, _world().store, request.path.get("upload_id", "")))


def _report(request: http.Request) -> http.Response:
    w, upload_id = _world(), request.path.get("upload_id", "")
    body, kind = browse.report(w.uploads, w.store, upload_id, request.headers.get("accept", ""))
    return http.Response(body, content_type=kind)


ROUTES: dict[tuple[str, str], routes.Action] = {
    ("POST", "/set_model"): _set_model,
    ("GET", "/models"): _models,
    ("GET", "/model_info"): _model_info,
    ("GET", "/health"): _health,
    ("POST", "/upload_data"): _upload_data,
    ("GET", "/uploads"): _uploads,
    ("GET", "/uploads/{upload_id}"): _upload,
    ("GET", "/reports/{upload_id}"): _report,
}


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """API Gateway proxy event in, proxy response out."""
    return http.respond(event, observability.logger("control"), lambda request: routes.dispatch(request, ROUTES))
