"""Hand one upload over to the training workflow. Repeatable: names derive from the upload, the workflow starts once."""

from __future__ import annotations

from collections.abc import Sequence

from dropforge import ids, keys
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import Conflict
from dropforge.uploads import training_request
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import UploadRecord


def start_training(
    record: UploadRecord, settings: Settings, settings_uri: str, ports: Ports, family: Sequence[str] = ()
) -> UploadRecord:
    """Start the workflow on the record's dataset by the settings' history rule; return the record, now in training.

    `family`: datasets that count as one upload together with this one. Raises Unavailable, NotFound for a dataset that is gone.
    """
    datasets = DatasetStore(ports.store, ports.data_bucket)
    dataset_uri = datasets.training_manifest(
        datasets.manifest(record.dataset_id), datasets.reference_id(settings.data), settings.data, family
    )
    # What the children are trained on, once, on their parent: parts by address and sha256; its own rows lie beside it.
    parts = ports.store.get(dataset_uri).body
    ports.tracking(settings.project).put_artifacts(record.run_id, {"data/training.json": parts})
    request = training_request.build(
        settings,
        upload_id=record.upload_id,
        dataset_id=record.dataset_id,
        dataset_uri=dataset_uri,
        settings_uri=settings_uri,
        parent_run_id=record.run_id,
    )
    # Stored for recovery: an execution whose machine dies is started again with the same request.
    stored = keys.training_request(ports.data_bucket, record.dataset_id, record.upload_id)
    ports.store.put(stored, request.json_text().encode(), content_type="application/json")
    # Before the fan-out, so that it is known even when nothing comes back.
    training_request.log_cost(settings, record.upload_id, ports.book, ports.log)
    started = ports.workflow.start(ids.execution_name(record.upload_id), request.json_text())
    ports.log.info(
        "training started" if started else "training was started before",
        extra={"correlation_id": record.upload_id, "jobs": len(request.jobs)},
    )
    try:
        return ports.book.advance(record.upload_id, "training", plan=training_request.plan(request))
    except Conflict:  # the workflow was quicker and has concluded
        return ports.book.get(record.upload_id)
