"""Lambda handler of the schedule that forgets no upload: it sends events again and does none of the work."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from dropforge import bootstrap, observability, retry_limits
from dropforge.steps.recovery import RecoveryPorts, recover, stuck_minutes
from dropforge.steps.upload_ports import Ports


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


@observability.masked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """`{}` or `{"older_than_minutes": 0}` in, upload ids and what was done out."""
    world = _world()
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
