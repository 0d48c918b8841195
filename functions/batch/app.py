"""Lambda handler for files that arrive under `batch/`."""

from __future__ import annotations

from functools import cache
from logging import Logger
from typing import Any

from dropforge import app_context, ids, observability
from dropforge.batch.score_file import BatchPorts, score
from dropforge.uploads import s3_events
from dropforge.uploads.event_deliveries import retried_soon
from dropforge.uploads.upload_attempt import Context, Invocation


@cache
def _app_context() -> app_context.AppContext:
    return app_context.create()


@observability.masked
def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """S3 notification in, by a queue or by itself, upload ids and their states out."""
    world, delivered = _app_context(), s3_events.delivery(event)
    log = world.log("batch")
    with retried_soon(delivered, lambda: world.batch_queue, log):
        return _handled(delivered.event, Invocation.of(context), world, log)


def _handled(
    event: dict[str, Any], invocation: Invocation, world: app_context.AppContext, log: Logger
) -> dict[str, Any]:
    ports = BatchPorts(
        store=world.store,
        book=world.uploads,
        data_bucket=world.env.data_bucket,
        log=log,
        python=world.python_function,
    )
    states = {}
    for upload in s3_events.uploads_in(event):
        upload_id = ids.upload_id(upload.bucket, upload.key, upload.version)
        with observability.context(correlation_id=upload_id):
            log.info("file received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = score(upload, ports, invocation).state
    if not states:
        log.info("no file in this event")
    return {"uploads": states}
