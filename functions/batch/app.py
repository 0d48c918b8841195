"""Lambda handler for files that arrive under `batch/`, and for the sweep that forgets none of them."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from dropforge import bootstrap, events, identity, observability
from dropforge.steps.batch import BatchPorts, score, sweep

# Longer than the function's timeout with its retries: what is older has no delivery left.
SWEEP_AFTER = timedelta(minutes=20)


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """S3 notification in, upload ids and their states out; or `{"sweep": {}}` in, what was swept out."""
    world = _world()
    log = observability.logger("batch", world.env.log_level)
    ports = BatchPorts(
        store=world.store,
        book=world.uploads,
        data_bucket=world.env.data_bucket,
        log=log,
        python=world.python_function,
    )
    if "sweep" in event:
        minutes = event["sweep"].get("older_than_minutes") if isinstance(event["sweep"], dict) else None
        done = sweep(ports, older_than=SWEEP_AFTER if minutes is None else timedelta(minutes=float(minutes)))
        log.info("sweep done", extra={"swept": len(done)})
        return {"swept": done}
    states = {}
    for upload in events.uploads_in(event):
        upload_id = identity.upload_id(upload.bucket, upload.key, upload.version)
        with observability.context(correlation_id=upload_id):
            log.info("file received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = score(upload, ports).state
    if not states:
        log.info("no file in this event")
    return {"uploads": states}
