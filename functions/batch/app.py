"""Lambda handler for files that arrive under `batch/`."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import bootstrap, events, identity, observability
from dropforge.steps.attempt import Context, Invocation
from dropforge.steps.batch import BatchPorts, score


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """S3 notification in, upload ids and their states out."""
    world, invocation = _world(), Invocation.of(context)
    log = observability.logger("batch", world.env.log_level)
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
