"""Lambda handler for objects that arrive under `incoming/`, for the start of trainings, and for looks at live traffic."""

from __future__ import annotations

from functools import cache
from logging import Logger
from typing import Any

from dropforge import app_context, ids, keys, observability
from dropforge.monitoring.monitor_run import MonitorPorts, monitor
from dropforge.uploads import s3_events
from dropforge.uploads.analyze_upload import shards_read
from dropforge.uploads.apply_decision import carry_out
from dropforge.uploads.event_deliveries import retried_soon
from dropforge.uploads.join_parts import due as folder_due
from dropforge.uploads.join_parts import receive
from dropforge.uploads.retrain import resume, retrain
from dropforge.uploads.retrain_trigger import due
from dropforge.uploads.shard_tasks import read_shard
from dropforge.uploads.upload_attempt import Context, Invocation
from dropforge.uploads.upload_ports import Ports


@cache
def _app_context() -> app_context.AppContext:
    return app_context.create()


@observability.masked
def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """S3 notification in, by a queue or by itself, upload ids and states out; or one of these in, what was done out:

    `{"trigger": {"round": 1}}` or `{"trigger": {"round": {"folder": "incoming/sales/"}}}` of a workflow that waits,
    `{"shard": {"upload_id": …, "stage": …, "number": 1}}` of a Distributed Map, `{"shards": {"upload_id": …, "stage": …}}` behind it,
    `{"retrain": {}}` or `{"retrain": {"upload_id": …}}` to go on with one, `{"monitor": {}}`.
    """
    world, delivered = _app_context(), s3_events.delivery(event)
    log = world.log("analyze")
    with retried_soon(delivered, lambda: world.uploads_queue, log):
        return _handled(delivered.event, Invocation.of(context), world, log)


def _handled(
    event: dict[str, Any], invocation: Invocation, world: app_context.AppContext, log: Logger
) -> dict[str, Any]:
    ports = Ports(
        store=world.store,
        workflow=world.workflow,
        book=world.uploads,
        tracking=world.tracking,
        data_bucket=world.env.data_bucket,
        artifact_bucket=world.env.artifact_bucket,
        log=log,
        announce=world.announce,
    )
    if "trigger" in event:
        return {"wait_seconds": _trigger(event["trigger"]["round"], world, ports)}
    if "shard" in event or "shards" in event:
        return _shards(event, invocation, ports)
    if "retrain" in event:
        requested = event["retrain"] if isinstance(event["retrain"], dict) else {}
        if upload_id := requested.get("upload_id", ""):
            return {"retraining": {upload_id: resume(ports.book.get(upload_id), ports, invocation).state}}
        record = retrain(ports, invocation, cause=str(requested.get("cause", ""))[:80])
        return {"retraining": {record.upload_id: record.state} if record else {}}
    if "monitor" in event:
        return monitor(MonitorPorts(world.store, world.env.data_bucket, log, world.announce))
    states = {}
    for upload in s3_events.uploads_in(event):
        upload_id = ids.upload_id(upload.bucket, upload.key, upload.version)
        if upload.key.startswith(keys.DECISIONS):
            log.info("decision received", extra={"key": upload.key, "done": carry_out(upload, ports)})
            continue
        with observability.context(correlation_id=upload_id):
            log.info("upload received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = receive(upload, ports, invocation)
    if not states:
        log.info("no upload in this event")
    return {"uploads": states}


def _trigger(requested: Any, world: app_context.AppContext, ports: Ports) -> int:
    if isinstance(requested, dict):
        return folder_due(str(requested["folder"]), ports)
    return due(int(requested), ports, events=world.uploads_queue.depth)


def _shards(event: dict[str, Any], invocation: Invocation, ports: Ports) -> dict[str, Any]:
    request = event.get("shard") or event["shards"]
    upload_id, stage = str(request["upload_id"]), str(request["stage"])
    with observability.context(correlation_id=upload_id):
        if "shards" in event:
            return {"uploads": {upload_id: shards_read(upload_id, stage, ports, invocation).state}}
        number = int(request["number"])
        ports.log.info("shard received", extra={"shard": number, "stage": stage})
        read_shard(upload_id, stage, number, ports.store, ports.data_bucket)
        return {"shard": number}
