"""Lambda handler for files that arrive under `batch/`."""

from __future__ import annotations

from functools import cache
from logging import Logger
from typing import Any

from dropforge import bootstrap, events, identity, observability
from dropforge.steps.attempt import Context, Invocation
from dropforge.steps.batch import BatchPorts, score
from dropforge.steps.deliveries import retried_soon


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


@observability.masked
def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """S3 notification in, by a queue or by itself, upload ids and their states out."""
    world, delivered = _world(), events.delivery(event)
    log = world.log("batch")
    with retried_soon(delivered, lambda: world.batch_queue, log):
        return _handled(delivered.event, Invocation.of(context), world, log)


def _handled(event: dict[str, Any], invocation: Invocation, world: bootstrap.World, log: Logger) -> dict[str, Any]:
    ports = BatchPorts(
        store=world.store,
        book=world.uploads,
        data_bucket=world.env.data_bucket,
        log=log,
        python=world.python_function,
    )
    states = {}
    for upload in events.uploads_in(event):
        upload_id = identity.upload_id(upload.bucket, upload.key, upload.version)
        with observability.context(correlation_id=upload_id):
            log.info("file received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = score(upload, ports, invocation).state
    if not states:
        log.info("no file in this event")
    return {"uploads": states}
