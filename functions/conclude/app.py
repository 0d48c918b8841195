"""Lambda handler of the state machine's last step."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import bootstrap, observability
from dropforge.messages import ConcludeRequest
from dropforge.steps import announce, promote, publish
from dropforge.steps.conclude import conclude


@cache
def _world() -> bootstrap.World:
    return bootstrap.world()


@observability.masked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """ConcludeRequest in, Conclusion out."""
    world = _world()
    log = world.log("conclude")
    message = ConcludeRequest.parse(event)
    with observability.context(correlation_id=message.request.upload_id):
        settings = world.settings(message.request.settings_uri)
        log.info("concluding", extra={"outcomes": len(message.outcomes)})
        conclusion = conclude(
            message,
            settings=settings,
            registry=world.registry,
            tracking=world.tracking(settings.project),
            book=world.uploads,
            store=world.store,
            bucket=world.env.data_bucket,
            log=log,
        )
        announce.challenger(conclusion, world.announce)
        promoted = promote.automatically(
            conclusion,
            settings=settings,
            store=world.store,
            registry=world.registry,
            book=world.uploads,
            bucket=world.env.data_bucket,
            log=log,
            python=bool(world.env.python_function),
            key=world.history_key,
            announce=world.announce,
        )
        publish.publish_labels(
            settings=settings, store=world.store, registry=world.registry, bucket=world.env.data_bucket
        )
        log.info(
            "concluded",
            extra={"promoted": promoted, "registered": len(conclusion.registered), "failed": sorted(conclusion.failed)},
        )
        return conclusion.model_dump(mode="json")
