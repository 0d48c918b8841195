"""Train anew without a new upload: the newest accepted data, the settings in force, on a schedule or by hand.

A retraining is an upload that brings no file: it has a record, a run and an end like any other, and a date for a key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from dropforge import identity, settings_store
from dropforge.data.datasets import Datasets
from dropforge.errors import Conflict
from dropforge.steps import requests
from dropforge.steps.reporting import Ports
from dropforge.uploads import UploadRecord

PREFIX = "retrain/"  # of the keys of such records


def retrain(
    ports: Ports, *, cause: str = "", clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> UploadRecord | None:
    """Start it, once a day and dataset at most: asked again it answers with the record there is. None while there is no data.

    `cause`: another reason than the calendar, by which it is started once (a dataset was revoked); part of its key.

    Raises SettingsError, Unavailable.
    """
    history = Datasets(ports.store, ports.data_bucket).history()
    if not history:
        ports.log.info("nothing to train on yet")
        return None
    newest, key = history[-1].dataset_id, f"{PREFIX}{clock():%Y-%m-%d}{cause and f'-{cause}'}"
    record = UploadRecord(
        upload_id=identity.upload_id(ports.data_bucket, key, newest),
        bucket=ports.data_bucket,
        key=key,
        version=newest,
        dataset_id=newest,
    )
    return resume(ports.book.open(record), ports)


def resume(record: UploadRecord, ports: Ports) -> UploadRecord:
    """Bring a retraining to its workflow, wherever it stopped before; one that trains or has ended is left alone."""
    if record.terminal or record.state == "training":
        return record
    settings, settings_uri = settings_store.in_force(ports.store, ports.data_bucket)
    datasets = Datasets(ports.store, ports.data_bucket)
    upload_id, newest, key = record.upload_id, record.dataset_id, record.key
    reference_id = datasets.reference_id(settings.data)
    tags = {"upload_id": upload_id, "dataset_id": newest, "dropforge.kind": "retraining"}
    run = ports.tracking(settings.project).ensure_run(upload_id, name=key, tags=tags)
    if record.state == "received":
        ports.book.advance(upload_id, "analysed", dataset_id=newest, reference_id=reference_id, run_id=run.run_id)
    request = requests.build(
        settings,
        upload_id=upload_id,
        dataset_id=newest,
        dataset_uri=datasets.training_manifest(datasets.manifest(newest), reference_id, settings.data),
        settings_uri=settings_uri,
        parent_run_id=run.run_id,
    )
    kept = requests.uri(ports.data_bucket, newest, upload_id)
    ports.store.put(kept, request.json_text().encode(), content_type="application/json")
    requests.tell_cost(settings, upload_id, ports.book, ports.log)
    ports.workflow.start(identity.execution_name(upload_id), request.json_text())
    ports.log.info("retraining started", extra={"correlation_id": upload_id, "jobs": len(request.jobs)})
    try:
        return ports.book.advance(upload_id, "training", plan=requests.plan(request))
    except Conflict:  # the workflow was quicker and has concluded
        return ports.book.get(upload_id)
