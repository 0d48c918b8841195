"""Train anew without a new upload: the newest accepted data, the settings in force, on a schedule or by hand.

A retraining is an upload that brings no file: it has a record, a run and an end like any other, and a date for a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from dropforge import ids, keys
from dropforge.config import settings_store
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import NotFound, RejectedUpload
from dropforge.uploads.start_training import start_training
from dropforge.uploads.upload_attempt import Attempt, Invocation, reason_of
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import RETRAIN, UploadRecord


def retrain(
    ports: Ports,
    invocation: Invocation | None = None,
    *,
    cause: str = "",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> UploadRecord | None:
    """Start it, once a day, dataset and settings at most: asked again it answers with the record there is. None while there
    is no data.

    `cause`: another reason than the calendar, by which it is started once (a dataset was revoked); part of its key.

    Raises Unavailable. Settings that are wrong end the record as failed.
    """
    history = DatasetStore(ports.store, ports.data_bucket).history()
    if not history:
        ports.log.info("nothing to train on yet")
        return None
    newest, key = history[-1].dataset_id, f"{RETRAIN}{clock():%Y-%m-%d}{cause and f'-{cause}'}"
    version = f"{newest}/{_settings_digest(ports)}"
    record = UploadRecord(
        upload_id=ids.upload_id(ports.data_bucket, key, version),
        bucket=ports.data_bucket,
        key=key,
        version=version,
        dataset_id=newest,
    )
    return resume(ports.book.open(record), ports, invocation)


def _settings_digest(ports: Ports) -> str:
    """Of the text, whether it can be read or not; empty when there is none."""
    try:
        text = ports.store.get(keys.settings(ports.data_bucket)).body
    except NotFound:
        return ""
    return hashlib.sha256(text).hexdigest()[:16]


def resume(record: UploadRecord, ports: Ports, invocation: Invocation | None = None) -> UploadRecord:
    """Bring a retraining to its workflow, wherever it stopped before; one that trains or has ended is left alone."""

    def rejected(record: UploadRecord, error: RejectedUpload) -> UploadRecord:
        return ports.book.advance(record.upload_id, "failed", reason=reason_of(error, "retraining"))

    attempt = Attempt(ports.book, ports.log, "retraining", invocation or Invocation(), rejected)
    return attempt.run(record, lambda record, _deadline: _start(record, ports))


def _start(record: UploadRecord, ports: Ports) -> UploadRecord:
    settings, settings_uri = settings_store.in_force(ports.store, ports.data_bucket)
    upload_id, newest = record.upload_id, record.dataset_id
    reference_id = DatasetStore(ports.store, ports.data_bucket).reference_id(settings.data)
    tags = {"upload_id": upload_id, "dataset_id": newest, "dropforge.kind": "retraining"}
    run = ports.tracking(settings.project).ensure_run(upload_id, name=record.key, tags=tags)
    record = ports.book.advance(
        upload_id, "analysed", reference_id=reference_id, run_id=run.run_id, settings_sha=settings.sha256
    )
    return start_training(record, settings, settings_uri, ports)
