"""What the API shows of uploads, reports and the system's health, and how a file gets in."""

from __future__ import annotations

import logging
import posixpath
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dropforge import keys
from dropforge.config.settings import Settings
from dropforge.deployment.active_model import ActivePointer
from dropforge.deployment.verified_bundle import check_bundle
from dropforge.errors import DropforgeError, InvalidRequest, NotFound
from dropforge.ports import ObjectStore, Queue, Registry
from dropforge.stored_pages import document
from dropforge.training import progress
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository

_SAFE = re.compile(r"[^\w.\- ]+")
LINK_SECONDS = 3600
PAGE = 50  # uploads of one answer, when no other number is asked for


def upload_form(
    filename: Any, purpose: str = "", *, settings: Settings, store: ObjectStore, bucket: str
) -> dict[str, Any]:
    """A form for one file of any name and up to data.limits.max_bytes; the upload begins when the file has arrived.

    `purpose`: `train` (also when empty), or `batch` for a file to be scored.
    Raises InvalidRequest for a name that is no file name, or another purpose.
    """
    folder = {"": keys.INCOMING, "train": keys.INCOMING, "batch": keys.BATCH}.get(purpose)
    if folder is None:
        raise InvalidRequest(f"{purpose!r} is no purpose", code="purpose_unknown", fix="send train or batch")
    if not isinstance(filename, str) or not filename.strip():
        raise InvalidRequest("filename is missing", code="filename_missing", fix='send {"filename": "data.csv"}')
    safe = _SAFE.sub("_", posixpath.basename(filename.replace("\\", "/"))).strip(". ")[-120:]
    if not safe:
        raise InvalidRequest(
            f"{filename!r} is no file name", code="filename_invalid", fix="send a plain name such as data.csv"
        )
    key = f"{folder}{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex[:12]}/{safe}"
    form = store.presign_post(keys.uri(bucket, key), max_bytes=settings.data.limits.max_bytes, seconds=LINK_SECONDS)
    return {
        "url": form.url,
        "fields": dict(form.fields),
        "key": key,
        "max_bytes": settings.data.limits.max_bytes,
        "expires_in_seconds": LINK_SECONDS,
        "next": f"POST the file to url with these fields, then GET /uploads?key={key}",
    }


def uploads(book: UploadRepository, key: str = "", limit: int = PAGE, cursor: str = "") -> dict[str, Any]:
    """Newest first, of one key when it is given; `next` is the cursor of the page after this one, empty on the last.

    Raises InvalidRequest for a cursor that is none.
    """
    page = book.index.of_key(key, limit, cursor) if key else book.index.newest(limit, cursor)
    return {"uploads": [_short(r) for r in book.page(page)], "next": page.cursor}


def _short(record: UploadRecord) -> dict[str, Any]:
    wanted = {
        "upload_id",
        "kind",
        "key",
        "state",
        "verdict",
        "rows_in",
        "rows_used",
        "rows_quarantined",
        "dataset_id",
        "challenger",
        "trained_by",
    }
    return {
        **record.model_dump(mode="json", include=wanted),
        "received_at": record.received_at,
        "reason": record.reason.message if record.reason else "",
    }


def upload(book: UploadRepository, store: ObjectStore, bucket: str, upload_id: str) -> dict[str, Any]:
    """The state record with links that open and, while it is in training, how far each model is. Raises NotFound."""
    record = book.get(upload_id)
    links = {"run": record.run_url} if record.run_url else {}
    for name, uri in (
        ("report_html", record.report_uri),
        ("report_json", record.report_json_uri),
        ("predictions", record.predictions_uri),
    ):
        if uri:
            links[name] = store.presign_get(uri, LINK_SECONDS)
    output = progress.read(store, bucket, upload_id, record.plan) if record.state == "training" else []
    return {
        **record.model_dump(mode="json"),
        "links": links,
        "progress": [p.model_dump(mode="json") for p in output],
    }


def report(book: UploadRepository, store: ObjectStore, upload_id: str, accept: str) -> tuple[str, str]:
    """Body and content type of the report: JSON when asked for, else HTML. Raises NotFound while there is none."""
    record = book.get(upload_id)
    wants_json = "application/json" in accept and "text/html" not in accept
    uri = record.report_json_uri if wants_json else record.report_uri
    if not uri:
        raise NotFound(
            f"upload {upload_id} has no report yet (it is {record.state})",
            code="no_report",
            fix="try again when it is analysed",
        )
    return document(store, uri), "application/json" if wants_json else "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class HealthPorts:
    """What is asked. Each is built inside its own check, so that one that cannot even be built is one sick part."""

    store: Callable[[], ObjectStore]
    registry: Callable[[], Registry]
    queue: Callable[[], Queue]
    book: Callable[[], UploadRepository]
    bucket: str
    log: logging.Logger


def health(ports: HealthPorts) -> dict[str, Any]:
    """Each part asked; `ok` when all that predictions need is there. Never raises: a sick part is an answer."""
    settings_uri = keys.settings(ports.bucket)
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "store": lambda: {"reachable": ports.store().stat(settings_uri) is not None},
        "active_model": lambda: _verified(ports.store(), ports.bucket, ActivePointer(ports.store(), ports.bucket)),
        "mlflow": lambda: {"reachable": ports.registry().resolve("Production", []) == []},
        "training_queue": lambda: {"depth": ports.queue().depth()},
        "last_upload": lambda: _last(ports.book()),
    }
    parts = {name: _checked(name, check, ports.log) for name, check in checks.items()}
    serving = all("error" not in parts[p] for p in ("store", "active_model"))
    every = all("error" not in p for p in parts.values())
    return {
        "status": "ok" if every else "degraded" if serving else "not_ready",
        "live": True,
        "ready": serving,
        "parts": parts,
    }


def _verified(store: ObjectStore, bucket: str, pointer: ActivePointer) -> dict[str, Any]:
    """The active model's identity, its bundle read and both hashes compared."""
    active, _ = pointer.read()
    check_bundle(store, bucket, active)
    return {**active.identity(), "bundle": "verified"}


def _last(book: UploadRepository) -> dict[str, Any]:
    newest = book.newest()
    return {"state": newest.state if newest else None}


def _checked(name: str, check: Callable[[], dict[str, Any]], log: logging.Logger) -> dict[str, Any]:
    try:
        return check()
    except DropforgeError as error:
        # Its message may name addresses inside; who asks here has an API key and no more.
        return {"error": error.code, "message": error.code.replace("_", " "), "fix": error.fix}
    except Exception:
        # /health must answer whatever is broken; what it was stands in the log, not in a stranger's hands.
        log.exception("health check failed", extra={"part": name})
        return {"error": "internal_error", "message": "internal error", "fix": "read the log of `control`"}
