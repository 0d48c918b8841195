"""What the API shows of uploads, reports and the system's health, and how a file gets in."""

from __future__ import annotations

import posixpath
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dropforge.errors import DropforgeError, InvalidRequest, NotFound
from dropforge.ports import ObjectStore, Queue, Registry
from dropforge.serving.pointer import ActivePointer
from dropforge.settings import Settings
from dropforge.steps.documents import document
from dropforge.steps.switch import check_bundle
from dropforge.tuning import progress
from dropforge.uploads import UploadBook, UploadRecord
from dropforge.uris import join

_SAFE = re.compile(r"[^\w.\- ]+")
LINK_SECONDS = 3600


def upload_form(
    filename: Any, purpose: str = "", *, settings: Settings, store: ObjectStore, bucket: str
) -> dict[str, Any]:
    """A form for one file of any name and up to data.limits.max_bytes; the upload begins when the file has arrived.

    `purpose`: `train` (also when empty), or `batch` for a file to be scored.
    Raises InvalidRequest for a name that is no file name, or another purpose.
    """
    folder = {"": "incoming", "train": "incoming", "batch": "batch"}.get(purpose)
    if folder is None:
        raise InvalidRequest(f"{purpose!r} is no purpose", code="purpose_unknown", fix="send train or batch")
    if not isinstance(filename, str) or not filename.strip():
        raise InvalidRequest("filename is missing", code="filename_missing", fix='send {"filename": "data.csv"}')
    safe = _SAFE.sub("_", posixpath.basename(filename.replace("\\", "/"))).strip(". ")[-120:]
    if not safe:
        raise InvalidRequest(
            f"{filename!r} is no file name", code="filename_invalid", fix="send a plain name such as data.csv"
        )
    key = f"{folder}/{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4().hex[:12]}/{safe}"
    form = store.presign_post(f"s3://{bucket}/{key}", max_bytes=settings.data.limits.max_bytes, seconds=LINK_SECONDS)
    return {
        "url": form.url,
        "fields": dict(form.fields),
        "key": key,
        "max_bytes": settings.data.limits.max_bytes,
        "expires_in_seconds": LINK_SECONDS,
        "next": f"POST the file to url with these fields, then GET /uploads?key={key}",
    }


def uploads(book: UploadBook, key: str = "", limit: int = 50) -> list[dict[str, Any]]:
    """Newest first; of one key when it is given."""
    return [_short(r) for r in book.list() if not key or r.key == key][:limit]


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
    }
    return {
        **record.model_dump(mode="json", include=wanted),
        "received_at": record.history[0].at if record.history else "",
        "reason": record.reason.message if record.reason else "",
    }


def upload(book: UploadBook, store: ObjectStore, bucket: str, upload_id: str) -> dict[str, Any]:
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
    told = progress.read(store, bucket, upload_id, record.plan) if record.state == "training" else []
    return {
        **record.model_dump(mode="json"),
        "links": links,
        "progress": [p.model_dump(mode="json") for p in told],
    }


def report(book: UploadBook, store: ObjectStore, upload_id: str, accept: str) -> tuple[str, str]:
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


def health(*, store: ObjectStore, registry: Registry, queue: Queue, book: UploadBook, bucket: str) -> dict[str, Any]:
    """Each part asked; `ok` when all that predictions need is there. Never raises: a sick part is an answer."""
    pointer = ActivePointer(store, bucket)
    parts: dict[str, Any] = {
        "store": _asked(lambda: {"reachable": store.stat(join(f"s3://{bucket}", "config/settings.yaml")) is not None}),
        "active_model": _asked(lambda: _verified(store, bucket, pointer)),
        "mlflow": _asked(lambda: {"reachable": registry.resolve("Production", []) == []}),
        "training_queue": _asked(lambda: {"depth": queue.depth()}),
        "last_upload": _asked(lambda: _last(book)),
    }
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


def _last(book: UploadBook) -> dict[str, Any]:
    newest = book.list()[:1]
    return {"state": newest[0].state if newest else None}


def _asked(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return ask()
    except DropforgeError as error:
        # Its message may name addresses inside; who asks here has an API key and no more.
        return {"error": error.code, "message": error.code.replace("_", " "), "fix": error.fix}
