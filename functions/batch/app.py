"""Lambda handler for files that arrive under `batch/`."""

from __future__ import annotations

from functools import cache
from logging import Logger
from typing import Any

from dropforge import app_context, ids, observability
from dropforge.batch.batch_ports import BatchPorts
from dropforge.batch.score_file import score, shards_scored
from dropforge.batch.scoring_shards import score_shard
from dropforge.uploads import s3_events
from dropforge.uploads.event_deliveries import retried_soon
from dropforge.uploads.upload_attempt import Context, Invocation


@cache
def _app_context() -> app_context.AppContext:
    return app_context.create()


@observability.masked
def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """S3 notification in, by a queue or by itself, upload ids and their states out; or one of these in, what was done out:

    `{"shard": {"upload_id": …, "stage": …, "number": 1}}` of a Distributed Map, `{"shards": {"upload_id": …, "stage": …}}` behind it.
    """
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
        workflow=world.workflow,
        python=world.python_function,
    )
    if "shard" in event or "shards" in event:
        return _shards(event, invocation, ports)
    states = {}
    for upload in s3_events.uploads_in(event):
        upload_id = ids.upload_id(upload.bucket, upload.key, upload.version)
        with observability.context(correlation_id=upload_id):
            log.info("file received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = score(upload, ports, invocation).state
    if not states:
        log.info("no file in this event")
    return {"uploads": states}


def _shards(event: dict[str, Any], invocation: Invocation, ports: BatchPorts) -> dict[str, Any]:
    request = event.get("shard") or event["shards"]
    upload_id, stage = str(request["upload_id"]), str(request["stage"])
    with observability.context(correlation_id=upload_id):
        if "shards" in event:
            return {"uploads": {upload_id: shards_scored(upload_id, stage, ports, invocation).state}}
        number = int(request["number"])
        ports.log.info("shard received", extra={"shard": number, "stage": stage})
        score_shard(upload_id, stage, number, ports)
        return {"shard": number}
