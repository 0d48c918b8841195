"""Lambda handler for objects that arrive under `incoming/`, for the start of trainings, and for looks at live traffic."""

from __future__ import annotations

from functools import cache
from logging import Logger
from typing import Any

from dropforge import bootstrap, events, identity, keys, observability
from dropforge.steps.analyze import analyze
from dropforge.steps.attempt import Context, Invocation
from dropforge.steps.carry_out import carry_out
from dropforge.steps.deliveries import retried_soon
from dropforge.steps.monitor import MonitorPorts, monitor
from dropforge.steps.retrain import resume, retrain
from dropforge.steps.trigger import due
from dropforge.steps.upload_ports import Ports


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


@observability.masked
def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """S3 notification in, by a queue or by itself, upload ids and states out; or one of these in, what was done out:

    `{"trigger": {"round": 1}}`, `{"retrain": {}}` or `{"retrain": {"upload_id": …}}` to go on with one, `{"monitor": {}}`.
    """
    world, delivered = _world(), events.delivery(event)
    log = world.log("analyze")
    with retried_soon(delivered, lambda: world.uploads_queue, log):
        return _handled(delivered.event, Invocation.of(context), world, log)


def _handled(event: dict[str, Any], invocation: Invocation, world: bootstrap.World, log: Logger) -> dict[str, Any]:
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
        return {"wait_seconds": due(int(event["trigger"]["round"]), ports)}
    if "retrain" in event:
        asked = event["retrain"] if isinstance(event["retrain"], dict) else {}
        if upload_id := asked.get("upload_id", ""):
            return {"retraining": {upload_id: resume(ports.book.get(upload_id), ports, invocation).state}}
        record = retrain(ports, invocation, cause=str(asked.get("cause", ""))[:80])
        return {"retraining": {record.upload_id: record.state} if record else {}}
    if "monitor" in event:
        return monitor(MonitorPorts(world.store, world.env.data_bucket, log, world.announce))
    states = {}
    for upload in events.uploads_in(event):
        upload_id = identity.upload_id(upload.bucket, upload.key, upload.version)
        if upload.key.startswith(keys.DECISIONS):
            log.info("decision received", extra={"key": upload.key, "done": carry_out(upload, ports)})
            continue
        with observability.context(correlation_id=upload_id):
            log.info("upload received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = analyze(upload, ports, invocation).state
    if not states:
        log.info("no upload in this event")
    return {"uploads": states}
