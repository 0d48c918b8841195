"""Every route but predictions: what the request asks, from the world's parts, as a response."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge import observability
from dropforge.api import http
from dropforge.errors import InvalidRequest
from dropforge.serving import formats
from dropforge.steps import browse, mend, switch

if TYPE_CHECKING:
    from dropforge.bootstrap import World


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


def _set_model(w: World, request: http.Request) -> http.Response:
    body = _body(request)
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


def _models(w: World, _request: http.Request) -> http.Response:
    return http.Response({"models": switch.models(settings=w.settings(), registry=w.registry)})


def _model_info(w: World, _request: http.Request) -> http.Response:
    return http.Response(
        switch.model_info(store=w.store, bucket=w.env.data_bucket, mlflow_url=w.env.mlflow_tracking_uri)
    )


def _health(w: World, _request: http.Request) -> http.Response:
    return http.Response(
        browse.health(store=w.store, registry=w.registry, queue=w.queue, book=w.uploads, bucket=w.env.data_bucket)
    )


def _upload_data(w: World, request: http.Request) -> http.Response:
    name = _text(_body(request), "filename")
    return http.Response(browse.upload_form(name, settings=w.settings(), store=w.store, bucket=w.env.data_bucket))


def _uploads(w: World, request: http.Request) -> http.Response:
    return http.Response({"uploads": browse.uploads(w.uploads, request.query.get("key", ""))})


def _upload(w: World, request: http.Request) -> http.Response:
    return http.Response(browse.upload(w.uploads, w.store, request.path.get("upload_id", "")))


def _report(w: World, request: http.Request) -> http.Response:
    upload_id = request.path.get("upload_id", "")
    body, kind = browse.report(w.uploads, w.store, upload_id, request.headers.get("accept", ""))
    return http.Response(body, content_type=kind)


def _quarantine(w: World, _request: http.Request) -> http.Response:
    return http.Response({"uploads": mend.listed(w.uploads)})


def _quarantined(w: World, request: http.Request) -> http.Response:
    return http.Response(mend.rows(w.store, w.env.data_bucket, request.path.get("upload_id", "")))


def _replay(w: World, request: http.Request) -> http.Response:
    upload_id, body = request.path.get("upload_id", ""), _body(request)
    return http.Response(
        mend.replay(body, book=w.uploads, store=w.store, bucket=w.env.data_bucket, upload_id=upload_id)
    )


ROUTES: dict[tuple[str, str], Callable[[World, http.Request], http.Response]] = {
    ("POST", "/set_model"): _set_model,
    ("GET", "/models"): _models,
    ("GET", "/model_info"): _model_info,
    ("GET", "/health"): _health,
    ("POST", "/upload_data"): _upload_data,
    ("GET", "/uploads"): _uploads,
    ("GET", "/uploads/{upload_id}"): _upload,
    ("GET", "/reports/{upload_id}"): _report,
    ("GET", "/quarantine"): _quarantine,
    ("GET", "/quarantine/{upload_id}"): _quarantined,
    ("POST", "/quarantine/{upload_id}"): _replay,
}
