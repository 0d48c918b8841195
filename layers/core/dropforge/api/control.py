"""Every route but predictions: what the request asks, from the world's parts, as a response."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge import announce, ids
from dropforge.api import proxy_event
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.deployment import activate, canary, publish_alias_index, rollback
from dropforge.errors import DropforgeError, InvalidRequest, NotFound
from dropforge.monitoring import ground_truth, windows
from dropforge.operations import activity
from dropforge.registry import versions
from dropforge.serving import request_formats
from dropforge.uploads import decisions, resubmit, upload_queries

if TYPE_CHECKING:
    from dropforge.app_context import AppContext

MAX_PAGE = 200  # uploads of one answer at most


def _body(request: proxy_event.Request) -> dict[str, Any]:
    request_formats.check_json(request.content_type)
    value = request_formats.loads(request.body) if request.body.strip() else {}
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", code="malformed_request", fix="send {…}")
    return value


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} must be text", code="malformed_request", fix=f'send {{"{key}": "…"}}')
    return value


def _upload_id(request: proxy_event.Request) -> str:
    """Raises NotFound for what is no id of an upload, before it becomes part of a key."""
    given = request.path.get("upload_id", "")
    if not ids.is_upload_id(given):
        raise NotFound(
            f"no upload {given[:40]!r}", code="upload_unknown", fix="`dropforge uploads` lists the ids: 20 hex digits"
        )
    return given


def _set_model(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    weight, shadow = _beside(body)
    which = _text(body, "alias"), _text(body, "model")
    common: dict[str, Any] = {
        "settings": w.settings(),
        "store": w.store,
        "registry": w.registry,
        "bucket": w.env.data_bucket,
        "by": _by(request),
        "log": w.log("control"),
        "why": _text(body, "why"),
        "python": bool(w.env.python_function),
        "key": w.history_key,
    }
    if weight or shadow:
        return _activated(w, request, canary.propose(*which, weight=weight, shadow=shadow, **common))
    _publish(w)  # first: when it fails nothing was switched, and the same request can be sent again
    return _activated(w, request, activate.set_model(*which, **common))


def _beside(body: dict[str, Any]) -> tuple[float, bool]:
    weight, shadow = body.get("canary"), body.get("shadow", False)
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1):
        raise InvalidRequest(
            "canary must be a share between 0 and 1",
            code="malformed_request",
            fix='send {"canary": 0.1}, or leave it out',
        )
    if not isinstance(shadow, bool):
        raise InvalidRequest("shadow must be true or false", code="malformed_request", fix='send {"shadow": true}')
    return float(weight or 0), shadow


def _rollout(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    decided = canary.decide(
        _text(body, "action"),
        store=w.store,
        bucket=w.env.data_bucket,
        by=_by(request),
        log=w.log("control"),
        why=_text(body, "why"),
        python=bool(w.env.python_function),
        key=w.history_key,
    )
    return _activated(w, request, decided)


def _rollback(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    to = body.get("to")
    if to is not None and (isinstance(to, bool) or not isinstance(to, int) or to < 1):
        raise InvalidRequest("to must be the number of an entry", code="malformed_request", fix='send {"to": 3}, or {}')
    done = rollback.rollback(
        to,
        store=w.store,
        bucket=w.env.data_bucket,
        by=_by(request),
        log=w.log("control"),
        why=_text(body, "why"),
        python=bool(w.env.python_function),
        key=w.history_key,
    )
    return _activated(w, request, done)


def _activated(w: AppContext, request: proxy_event.Request, answer: dict[str, Any]) -> proxy_event.Response:
    announce.activation(answer, _by(request), w.announce)
    return proxy_event.Response(answer)


def _history(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    requested = request.query.get("limit", "100")
    if not requested.isdecimal() or not 1 <= int(requested) <= 1000:
        raise InvalidRequest("limit must be 1 to 1000", code="malformed_request", fix="GET /history?limit=100")
    return proxy_event.Response(rollback.shown(w.store, w.env.data_bucket, int(requested), w.history_key))


def _set_alias(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    alias_set = versions.set_alias(
        _text(body, "alias"),
        _text(body, "model"),
        _text(body, "version"),
        settings=w.settings(),
        registry=w.registry,
    )
    w.log("control").info("alias set", extra={"by": _by(request), "alias": alias_set})
    _publish(w)
    return proxy_event.Response(alias_set)


def _publish(w: AppContext) -> None:
    """Aliases to where predict finds them. A failure is the caller's to know: setting the same alias again is harmless."""
    publish_alias_index.publish_alias_index(
        settings=w.settings(), store=w.store, registry=w.registry, bucket=w.env.data_bucket
    )


def _by(request: proxy_event.Request) -> str:
    """Who asks: the principal that signed the request or the key that opened it, never what a client says of itself alone.

    A principal may name the person it acts for, as the web app does; it answers for that name, so both stand in the history.
    """
    person = "".join(c for c in request.headers.get("x-dropforge-user", "") if c.isprintable()).strip()[:100]
    if person and request.caller.startswith("arn:"):
        return f"{person} via {request.caller}"
    return request.caller or "api"


def _monitoring(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    requested = request.query.get("limit", "30")
    if not requested.isdecimal() or not 1 <= int(requested) <= 365:
        raise InvalidRequest("limit must be 1 to 365", code="malformed_request", fix="GET /monitoring?limit=30")
    return proxy_event.Response(windows.shown(w.store, w.env.data_bucket, int(requested)))


def _ground_truth(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response(ground_truth.accept(_body(request), store=w.store, bucket=w.env.data_bucket))


def _models(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response(
        {"models": activate.models(settings=w.settings(), store=w.store, registry=w.registry, bucket=w.env.data_bucket)}
    )


def _card(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body, kind = versions.card(
        request.path.get("name", ""),
        request.path.get("version", ""),
        request.headers.get("accept", ""),
        settings=w.settings(),
        registry=w.registry,
        store=w.store,
    )
    return proxy_event.Response(body, content_type=kind)


def _activity(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    requested = request.query.get("minutes", "60")
    if not requested.isdecimal() or not 1 <= int(requested) <= 1440:
        raise InvalidRequest("minutes must be 1 to 1440", code="malformed_request", fix="GET /activity?minutes=60")
    return proxy_event.Response(activity.activity(w.logs, w.env.log_group_prefix, int(requested), time.time()))


def _model_info(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response(activate.model_info(store=w.store, bucket=w.env.data_bucket))


def _health(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    ports = upload_queries.HealthPorts(
        store=lambda: w.store,
        registry=lambda: w.registry,
        queue=lambda: w.queue,
        book=lambda: w.uploads,
        bucket=w.env.data_bucket,
        log=w.log("control"),
    )
    return proxy_event.Response(upload_queries.health(ports))


def _upload_data(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    name, purpose = _text(body, "filename"), _text(body, "purpose")
    form = upload_queries.upload_form(name, purpose, settings=w.settings(), store=w.store, bucket=w.env.data_bucket)
    return proxy_event.Response(form)


def _uploads(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    key, cursor = request.query.get("key", ""), request.query.get("cursor", "")
    return proxy_event.Response(upload_queries.uploads(w.uploads, key, _limit(request), cursor))


def _limit(request: proxy_event.Request) -> int:
    """Uploads of one page. Raises InvalidRequest."""
    given = request.query.get("limit", str(upload_queries.PAGE))
    if not given.isdecimal() or not 1 <= int(given) <= MAX_PAGE:
        raise InvalidRequest(
            f"limit must be 1 to {MAX_PAGE}",
            code="malformed_request",
            fix=f"GET {request.resource}?limit={upload_queries.PAGE}, then the same with cursor={{next}}",
        )
    return int(given)


def _upload(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response(upload_queries.upload(w.uploads, w.store, w.env.data_bucket, _upload_id(request)))


def _decide_upload(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    stands = decisions.decide_upload(
        _upload_id(request),
        decisions.upload_action(_text(body, "action")),
        store=w.store,
        book=w.uploads,
        bucket=w.env.data_bucket,
        by=_by(request),
        why=_text(body, "why"),
    )
    return proxy_event.Response(stands.model_dump(mode="json", exclude={"format_version"}))


def _datasets(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response({"datasets": decisions.listed(DatasetStore(w.store, w.env.data_bucket), w.settings())})


def _decide_dataset(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    body = _body(request)
    stands = decisions.decide_dataset(
        request.path.get("dataset_id", ""),
        decisions.dataset_action(_text(body, "action")),
        store=w.store,
        settings=w.settings(),
        bucket=w.env.data_bucket,
        by=_by(request),
        why=_text(body, "why"),
    )
    return proxy_event.Response(stands.model_dump(mode="json", exclude={"format_version"}))


def _report(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    upload_id = _upload_id(request)
    body, kind = upload_queries.report(w.uploads, w.store, upload_id, request.headers.get("accept", ""))
    return proxy_event.Response(body, content_type=kind)


def _quarantine(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response(resubmit.listed(w.uploads, _limit(request), request.query.get("cursor", "")))


def _quarantined(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    upload_id = _upload_id(request)
    limit, offset = request.query.get("limit", str(resubmit.PAGE_ROWS)), request.query.get("offset", "0")
    if not limit.isdecimal() or not 1 <= int(limit) <= resubmit.PAGE_ROWS or not offset.isdecimal() or len(offset) > 9:
        raise InvalidRequest(
            f"limit must be 1 to {resubmit.PAGE_ROWS}, offset a number of rows",
            code="malformed_request",
            fix=f"GET /quarantine/{upload_id}?offset=0&limit={resubmit.PAGE_ROWS}",
        )
    return proxy_event.Response(
        resubmit.rows(w.store, w.env.data_bucket, upload_id, offset=int(offset), limit=int(limit))
    )


def _replay(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    upload_id, body = _upload_id(request), _body(request)
    return proxy_event.Response(
        resubmit.replay(body, book=w.uploads, store=w.store, bucket=w.env.data_bucket, upload_id=upload_id)
    )


def _document(w: AppContext) -> dict[str, Any]:
    """The OpenAPI document, with a row of the active model as example where there is one."""
    from dropforge.api import openapi

    try:
        example = activate.model_info(store=w.store, bucket=w.env.data_bucket)["example"]
    except DropforgeError:
        example = None
    return openapi.document(example)


def _openapi(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    return proxy_event.Response(_document(w))


def _docs(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    from dropforge.api import docs_page

    policy = {"Content-Security-Policy": docs_page.POLICY}
    return proxy_event.Response(docs_page.render(_document(w)), content_type="text/html; charset=utf-8", headers=policy)


ROUTES: dict[tuple[str, str], Callable[[AppContext, proxy_event.Request], proxy_event.Response]] = {
    ("POST", "/set_model"): _set_model,
    ("POST", "/rollout"): _rollout,
    ("POST", "/rollback"): _rollback,
    ("POST", "/aliases"): _set_alias,
    ("GET", "/history"): _history,
    ("POST", "/ground_truth"): _ground_truth,
    ("GET", "/monitoring"): _monitoring,
    ("GET", "/models"): _models,
    ("GET", "/models/{name}/{version}/card"): _card,
    ("GET", "/activity"): _activity,
    ("GET", "/model_info"): _model_info,
    ("GET", "/health"): _health,
    ("GET", "/openapi.json"): _openapi,
    ("GET", "/docs"): _docs,
    ("POST", "/upload_data"): _upload_data,
    ("GET", "/uploads"): _uploads,
    ("GET", "/uploads/{upload_id}"): _upload,
    ("POST", "/uploads/{upload_id}"): _decide_upload,
    ("GET", "/datasets"): _datasets,
    ("POST", "/datasets/{dataset_id}"): _decide_dataset,
    ("GET", "/reports/{upload_id}"): _report,
    ("GET", "/quarantine"): _quarantine,
    ("GET", "/quarantine/{upload_id}"): _quarantined,
    ("POST", "/quarantine/{upload_id}"): _replay,
}
