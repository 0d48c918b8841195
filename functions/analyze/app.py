"""Lambda handler for objects that arrive under `incoming/`, for the sweep that forgets none of them, and for looks at live traffic."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from dropforge import bootstrap, events, identity, observability
from dropforge.steps import decisions
from dropforge.steps.analyze import analyze
from dropforge.steps.carry_out import carry_out
from dropforge.steps.monitor import MonitorPorts, monitor
from dropforge.steps.reporting import Ports
from dropforge.steps.retrain import retrain
from dropforge.steps.sweep import stuck_minutes, sweep

# Longer than the function's timeout with its retries: what is older has no delivery left.
SWEEP_AFTER = timedelta(minutes=20)


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """S3 notification in, upload ids and states out; or `{"sweep": {}}`, `{"retrain": {}}`, `{"monitor": {}}` in, what was done."""
    world = _world()
    log = world.log("analyze")
    ports = Ports(
        store=world.store,
        workflow=world.workflow,
        book=world.uploads,
        tracking=world.tracking,
        data_bucket=world.env.data_bucket,
        artifact_bucket=world.env.artifact_bucket,
        log=log,
    )
    if "sweep" in event:
        minutes = event["sweep"].get("older_than_minutes") if isinstance(event["sweep"], dict) else None
        done = sweep(ports, older_than=SWEEP_AFTER if minutes is None else timedelta(minutes=float(minutes)))
        log.info("sweep done", extra={"swept": len(done), "metrics": {"StuckMinutes": stuck_minutes(world.uploads)}})
        return {"swept": done}
    if "retrain" in event:
        cause = event["retrain"].get("cause", "") if isinstance(event["retrain"], dict) else ""
        record = retrain(ports, cause=str(cause)[:80])
        return {"retraining": {record.upload_id: record.state} if record else {}}
    if "monitor" in event:
        return monitor(MonitorPorts(world.store, world.env.data_bucket, log))
    states = {}
    for upload in events.uploads_in(event):
        upload_id = identity.upload_id(upload.bucket, upload.key, upload.version)
        if upload.key.startswith(decisions.PREFIX):
            log.info("decision received", extra={"key": upload.key, "done": carry_out(upload, ports)})
            continue
        with observability.context(correlation_id=upload_id):
            log.info("upload received", extra={"key": upload.key, "size": upload.size})
            states[upload_id] = analyze(upload, ports).state
    if not states:
        log.info("no upload in this event")
    return {"uploads": states}
