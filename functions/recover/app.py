"""Lambda handler of the schedule that forgets no upload: it sends events again and does none of the work."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from dropforge import app_context, observability, retry_limits
from dropforge.uploads.recovery import RecoveryPorts, recover, stuck_minutes
from dropforge.uploads.upload_ports import Ports


@cache
def _app_context() -> app_context.AppContext:
    return app_context.create()


@observability.masked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """`{}` or `{"older_than_minutes": 0}` in, upload ids and what was done out."""
    world = _app_context()
    log = world.log("recover")
    ports = RecoveryPorts(
        Ports(
            store=world.store,
            workflow=world.workflow,
            book=world.uploads,
            tracking=world.tracking,
            data_bucket=world.env.data_bucket,
            artifact_bucket=world.env.artifact_bucket,
            log=log,
        ),
        uploads=world.uploads_queue,
        files=world.batch_queue,
    )
    minutes = event.get("older_than_minutes")
    done = recover(
        ports, older_than=retry_limits.RECOVERY_AFTER if minutes is None else timedelta(minutes=float(minutes))
    )
    log.info("recovery done", extra={"recovered": len(done), "metrics": {"StuckMinutes": stuck_minutes(world.uploads)}})
    return {"recovered": done}
