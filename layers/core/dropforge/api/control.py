"""Every route but predictions: what the request asks, from the world's parts, as a response."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dropforge import identity
from dropforge.api import http
from dropforge.data.datasets import Datasets
from dropforge.errors import DropforgeError, InvalidRequest, NotFound
from dropforge.serving import formats
from dropforge.steps import (
    activity,
    announce,
    browse,
    candidate,
    decisions,
    mend,
    outcomes,
    publish,
    rollback,
    switch,
    versions,
    windows,
)

if TYPE_CHECKING:
    from dropforge.bootstrap import World

MAX_PAGE = 200  # uploads of one answer at most


def _body(request: http.Request) -> dict[str, Any]:
    formats.check_json(request.content_type)
    value = formats.loads(request.body) if request.body.strip() else {}
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", code="malformed_request", fix="send {…}")
    return value


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} must be text", code="malformed_request", fix=f'send {{"{key}": "…"}}')
    return value


def _upload_id(request: http.Request) -> str:
    """Raises NotFound for what is no id of an upload, before it becomes part of a key."""
    given = request.path.get("upload_id", "")
    if not identity.is_upload_id(given):
        raise NotFound(
            f"no upload {given[:40]!r}", code="upload_unknown", fix="`dropforge uploads` lists the ids: 20 hex digits"
        )
    return given


def _set_model(w: World, request: http.Request) -> http.Response:
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
        return _activated(w, request, candidate.propose(*which, weight=weight, shadow=shadow, **common))
    _publish(w)  # first: when it fails nothing was switched, and the same request can be sent again
    return _activated(w, request, switch.set_model(*which, **common))


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


def _candidate(w: World, request: http.Request) -> http.Response:
    body = _body(request)
    decided = candidate.decide(
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


def _rollback(w: World, request: http.Request) -> http.Response:
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


def _activated(w: World, request: http.Request, answer: dict[str, Any]) -> http.Response:
    announce.activation(answer, _by(request), w.announce)
    return http.Response(answer)


def _ledger(w: World, request: http.Request) -> http.Response:
    asked = request.query.get("limit", "100")
    if not asked.isdecimal() or not 1 <= int(asked) <= 1000:
        raise InvalidRequest("limit must be 1 to 1000", code="malformed_request", fix="GET /ledger?limit=100")
    return http.Response(rollback.shown(w.store, w.env.data_bucket, int(asked), w.history_key))


def _label(w: World, request: http.Request) -> http.Response:
    body = _body(request)
    labelled = versions.label(
        _text(body, "alias"),
        _text(body, "model"),
        _text(body, "version"),
        settings=w.settings(),
        registry=w.registry,
    )
    w.log("control").info("labelled", extra={"by": _by(request), "label": labelled})
    _publish(w)
    return http.Response(labelled)


def _publish(w: World) -> None:
    """Aliases to where predict finds them. A failure is the caller's to know: setting the same alias again is harmless."""
    publish.publish_labels(settings=w.settings(), store=w.store, registry=w.registry, bucket=w.env.data_bucket)


def _by(request: http.Request) -> str:
    """Who asks: the principal that signed the request or the key that opened it, never what a client says of itself alone.

    A principal may name the person it acts for, as the web app does; it answers for that name, so both stand in the history.
    """
    person = "".join(c for c in request.headers.get("x-dropforge-user", "") if c.isprintable()).strip()[:100]
    if person and request.caller.startswith("arn:"):
        return f"{person} via {request.caller}"
    return request.caller or "api"


def _monitoring(w: World, request: http.Request) -> http.Response:
    asked = request.query.get("limit", "30")
    if not asked.isdecimal() or not 1 <= int(asked) <= 365:
        raise InvalidRequest("limit must be 1 to 365", code="malformed_request", fix="GET /monitoring?limit=30")
    return http.Response(windows.shown(w.store, w.env.data_bucket, int(asked)))


def _labels(w: World, request: http.Request) -> http.Response:
    return http.Response(outcomes.accept(_body(request), store=w.store, bucket=w.env.data_bucket))


def _models(w: World, _request: http.Request) -> http.Response:
    return http.Response(
        {"models": switch.models(settings=w.settings(), store=w.store, registry=w.registry, bucket=w.env.data_bucket)}
    )


def _card(w: World, request: http.Request) -> http.Response:
    body, kind = versions.card(
        request.path.get("name", ""),
        request.path.get("version", ""),
        request.headers.get("accept", ""),
        settings=w.settings(),
        registry=w.registry,
        store=w.store,
    )
    return http.Response(body, content_type=kind)


def _activity(w: World, request: http.Request) -> http.Response:
    asked = request.query.get("minutes", "60")
    if not asked.isdecimal() or not 1 <= int(asked) <= 1440:
        raise InvalidRequest("minutes must be 1 to 1440", code="malformed_request", fix="GET /activity?minutes=60")
    return http.Response(activity.activity(w.logs, w.env.log_group_prefix, int(asked), time.time()))


def _model_info(w: World, _request: http.Request) -> http.Response:
    return http.Response(switch.model_info(store=w.store, bucket=w.env.data_bucket))


def _health(w: World, _request: http.Request) -> http.Response:
    ports = browse.HealthPorts(
        store=lambda: w.store,
        registry=lambda: w.registry,
        queue=lambda: w.queue,
        book=lambda: w.uploads,
        bucket=w.env.data_bucket,
        log=w.log("control"),
    )
    return http.Response(browse.health(ports))


def _upload_data(w: World, request: http.Request) -> http.Response:
    body = _body(request)
    name, purpose = _text(body, "filename"), _text(body, "purpose")
    form = browse.upload_form(name, purpose, settings=w.settings(), store=w.store, bucket=w.env.data_bucket)
    return http.Response(form)


def _uploads(w: World, request: http.Request) -> http.Response:
    key, cursor = request.query.get("key", ""), request.query.get("cursor", "")
    return http.Response(browse.uploads(w.uploads, key, _limit(request), cursor))


def _limit(request: http.Request) -> int:
    """Uploads of one page. Raises InvalidRequest."""
    given = request.query.get("limit", str(browse.PAGE))
    if not given.isdecimal() or not 1 <= int(given) <= MAX_PAGE:
        raise InvalidRequest(
            f"limit must be 1 to {MAX_PAGE}",
            code="malformed_request",
            fix=f"GET {request.resource}?limit={browse.PAGE}, then the same with cursor={{next}}",
        )
    return int(given)


def _upload(w: World, request: http.Request) -> http.Response:
    return http.Response(browse.upload(w.uploads, w.store, w.env.data_bucket, _upload_id(request)))


def _decide_upload(w: World, request: http.Request) -> http.Response:
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
    return http.Response(stands.model_dump(mode="json", exclude={"format_version"}))


def _datasets(w: World, _request: http.Request) -> http.Response:
    return http.Response({"datasets": decisions.listed(Datasets(w.store, w.env.data_bucket), w.settings())})


def _decide_dataset(w: World, request: http.Request) -> http.Response:
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
    return http.Response(stands.model_dump(mode="json", exclude={"format_version"}))


def _report(w: World, request: http.Request) -> http.Response:
    upload_id = _upload_id(request)
    body, kind = browse.report(w.uploads, w.store, upload_id, request.headers.get("accept", ""))
    return http.Response(body, content_type=kind)


def _quarantine(w: World, request: http.Request) -> http.Response:
    return http.Response(mend.listed(w.uploads, _limit(request), request.query.get("cursor", "")))


def _quarantined(w: World, request: http.Request) -> http.Response:
    upload_id = _upload_id(request)
    limit, offset = request.query.get("limit", str(mend.PAGE_ROWS)), request.query.get("offset", "0")
    if not limit.isdecimal() or not 1 <= int(limit) <= mend.PAGE_ROWS or not offset.isdecimal() or len(offset) > 9:
        raise InvalidRequest(
            f"limit must be 1 to {mend.PAGE_ROWS}, offset a number of rows",
            code="malformed_request",
            fix=f"GET /quarantine/{upload_id}?offset=0&limit={mend.PAGE_ROWS}",
        )
    return http.Response(mend.rows(w.store, w.env.data_bucket, upload_id, offset=int(offset), limit=int(limit)))


def _replay(w: World, request: http.Request) -> http.Response:
    upload_id, body = _upload_id(request), _body(request)
    return http.Response(
        mend.replay(body, book=w.uploads, store=w.store, bucket=w.env.data_bucket, upload_id=upload_id)
    )


def _document(w: World) -> dict[str, Any]:
    """The OpenAPI document, with a row of the active model as example where there is one."""
    from dropforge.api import openapi

    try:
        example = switch.model_info(store=w.store, bucket=w.env.data_bucket)["example"]
    except DropforgeError:
        example = None
    return openapi.document(example)


def _openapi(w: World, _request: http.Request) -> http.Response:
    return http.Response(_document(w))


def _docs(w: World, _request: http.Request) -> http.Response:
    from dropforge.api import docs_page

    policy = {"Content-Security-Policy": docs_page.POLICY}
    return http.Response(docs_page.render(_document(w)), content_type="text/html; charset=utf-8", headers=policy)


ROUTES: dict[tuple[str, str], Callable[[World, http.Request], http.Response]] = {
    ("POST", "/set_model"): _set_model,
    ("POST", "/candidate"): _candidate,
    ("POST", "/rollback"): _rollback,
    ("POST", "/label"): _label,
    ("GET", "/ledger"): _ledger,
    ("POST", "/labels"): _labels,
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
