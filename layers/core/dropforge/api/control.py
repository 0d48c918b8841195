"""Handlers of every route but predictions (see `routes`): the request translated into a call, its result into a response."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dropforge import announce, ids
from dropforge.api import proxy_event, resolver
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.deployment import activate, canary, publish_alias_index, rollback
from dropforge.deployment.change import Change
from dropforge.errors import DropforgeError, InvalidRequest, NotFound
from dropforge.monitoring import ground_truth, windows
from dropforge.operations import activity
from dropforge.registry import versions
from dropforge.serving import request_formats
from dropforge.uploads import decisions, resubmit, upload_queries

if TYPE_CHECKING:
    from dropforge.app_context import AppContext


def _body(request: proxy_event.Request) -> dict[str, Any]:
    request_formats.check_json(request.content_type)
    value = request_formats.loads(request.body) if request.body.strip() else {}
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", code="malformed_request", fix="send {…}")
    return value


def _reason(body: dict[str, Any]) -> str:
    """What the history stores with a decision. Clients of before the field was renamed send `why`."""
    return _text(body, "reason") or _text(body, "why")


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


def set_model(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Activate the version behind an alias, or start it as canary or shadow."""
    body = _body(request)
    traffic = _traffic(body)
    which = _text(body, "alias"), _text(body, "model")
    change, settings = _change(w, request, body), w.settings()
    if traffic.weight or traffic.shadow:
        started = canary.propose(change, *which, traffic=traffic, settings=settings, registry=w.registry)
        return _activated(w, request, started)
    _publish(w)  # first: when it fails nothing was activated, and the same request can be sent again
    return _activated(w, request, activate.set_model(change, *which, settings=settings, registry=w.registry))


def _change(w: AppContext, request: proxy_event.Request, body: dict[str, Any]) -> Change:
    """Who changes the active model, and why."""
    return Change(
        store=w.store,
        bucket=w.env.data_bucket,
        by=_by(request),
        log=w.log("control"),
        reason=_reason(body),
        python=bool(w.env.python_function),
        key=w.history_key,
    )


def _traffic(body: dict[str, Any]) -> canary.Traffic:
    weight, shadow = body.get("canary"), body.get("shadow", False)
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1):
        raise InvalidRequest(
            "canary must be a fraction between 0 and 1",
            code="malformed_request",
            fix='send {"canary": 0.1}, or leave it out',
        )
    if not isinstance(shadow, bool):
        raise InvalidRequest("shadow must be true or false", code="malformed_request", fix='send {"shadow": true}')
    return canary.Traffic(float(weight or 0), shadow)


def decide_rollout(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Promote or abort the canary or shadow deployment."""
    body = _body(request)
    return _activated(w, request, canary.decide(_change(w, request, body), _text(body, "action")))


def roll_back(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Activate the entry before the active one, or a numbered one."""
    body = _body(request)
    to = body.get("to")
    if to is not None and (isinstance(to, bool) or not isinstance(to, int) or to < 1):
        raise InvalidRequest("to must be the number of an entry", code="malformed_request", fix='send {"to": 3}, or {}')
    return _activated(w, request, rollback.rollback(_change(w, request, body), to))


def _activated(w: AppContext, request: proxy_event.Request, answer: dict[str, Any]) -> proxy_event.Response:
    announce.activation(answer, _by(request), w.announce)
    return proxy_event.Response(answer)


def list_history(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """The newest entries of the deployment history, with its verification."""
    return proxy_event.Response(
        rollback.shown(w.store, w.env.data_bucket, resolver.query_integer(request, "limit"), w.history_key)
    )


def set_alias(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Set an alias on a version and publish the alias index."""
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


def show_monitoring(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """The newest windows of live traffic."""
    return proxy_event.Response(windows.shown(w.store, w.env.data_bucket, resolver.query_integer(request, "limit")))


def accept_ground_truth(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Store ground truth of earlier predictions."""
    return proxy_event.Response(ground_truth.accept(_body(request), store=w.store, bucket=w.env.data_bucket))


def list_models(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    """Every version of every model."""
    return proxy_event.Response(
        {"models": activate.models(settings=w.settings(), store=w.store, registry=w.registry, bucket=w.env.data_bucket)}
    )


def show_card(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """The model card, HTML or JSON by Accept."""
    body, kind = versions.card(
        request.path.get("name", ""),
        request.path.get("version", ""),
        request.headers.get("accept", ""),
        settings=w.settings(),
        registry=w.registry,
        store=w.store,
    )
    return proxy_event.Response(body, content_type=kind)


def show_activity(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Calls and problems of the last minutes, from the logs."""
    minutes = resolver.query_integer(request, "minutes")
    return proxy_event.Response(activity.activity(w.logs, w.env.log_group_prefix, minutes, time.time()))


def show_model_info(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    """The active model."""
    return proxy_event.Response(activate.model_info(store=w.store, bucket=w.env.data_bucket))


def check_health(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    """State of every part."""
    ports = upload_queries.HealthPorts(
        store=lambda: w.store,
        registry=lambda: w.registry,
        queue=lambda: w.queue,
        book=lambda: w.uploads,
        bucket=w.env.data_bucket,
        log=w.log("control"),
    )
    return proxy_event.Response(upload_queries.health(ports))


def create_upload_form(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """A presigned form for one upload."""
    body = _body(request)
    name, purpose = _text(body, "filename"), _text(body, "purpose")
    form = upload_queries.upload_form(name, purpose, settings=w.settings(), store=w.store, bucket=w.env.data_bucket)
    return proxy_event.Response(form)


def list_uploads(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """A page of uploads, of one key when it is given."""
    key, cursor = request.query.get("key", ""), request.query.get("cursor", "")
    return proxy_event.Response(
        upload_queries.uploads(w.uploads, key, resolver.query_integer(request, "limit"), cursor)
    )


def show_upload(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """One upload."""
    return proxy_event.Response(upload_queries.upload(w.uploads, w.store, w.env.data_bucket, _upload_id(request)))


def decide_upload(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Record the approval or rejection of an upload."""
    body = _body(request)
    stands = decisions.decide_upload(
        _upload_id(request),
        decisions.upload_action(_text(body, "action")),
        decisions.Author(_by(request), _reason(body)),
        store=w.store,
        book=w.uploads,
        bucket=w.env.data_bucket,
    )
    return proxy_event.Response(stands.model_dump(mode="json", exclude={"format_version"}))


def list_datasets(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    """Accepted datasets."""
    return proxy_event.Response({"datasets": decisions.listed(DatasetStore(w.store, w.env.data_bucket), w.settings())})


def decide_dataset(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Record a decision about a dataset."""
    body = _body(request)
    stands = decisions.decide_dataset(
        request.path.get("dataset_id", ""),
        decisions.dataset_action(_text(body, "action")),
        decisions.Author(_by(request), _reason(body)),
        store=w.store,
        settings=w.settings(),
        bucket=w.env.data_bucket,
    )
    return proxy_event.Response(stands.model_dump(mode="json", exclude={"format_version"}))


def show_report(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """The report of an upload, HTML or JSON by Accept."""
    upload_id = _upload_id(request)
    body, kind = upload_queries.report(w.uploads, w.store, upload_id, request.headers.get("accept", ""))
    return proxy_event.Response(body, content_type=kind)


def list_quarantine(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """A page of uploads with quarantined rows."""
    return proxy_event.Response(
        resubmit.listed(w.uploads, resolver.query_integer(request, "limit"), request.query.get("cursor", ""))
    )


def show_quarantine(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """A page of quarantined rows."""
    upload_id = _upload_id(request)
    limit, offset = resolver.query_integer(request, "limit"), resolver.query_integer(request, "offset")
    return proxy_event.Response(resubmit.rows(w.store, w.env.data_bucket, upload_id, offset=offset, limit=limit))


def resubmit_rows(w: AppContext, request: proxy_event.Request) -> proxy_event.Response:
    """Store corrected rows as a new upload."""
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


def show_openapi(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    """The OpenAPI document."""
    return proxy_event.Response(_document(w))


def show_docs(w: AppContext, _request: proxy_event.Request) -> proxy_event.Response:
    """The OpenAPI document as a page."""
    from dropforge.api import docs_page

    policy = {"Content-Security-Policy": docs_page.POLICY}
    return proxy_event.Response(docs_page.render(_document(w)), content_type="text/html; charset=utf-8", headers=policy)
