"""Lambda handler of the state machine's last step."""

from __future__ import annotations

from functools import cache
from typing import Any

from dropforge import announce, app_context, observability
from dropforge.deployment import publish_alias_index
from dropforge.deployment.change import Change
from dropforge.messages import ConcludeRequest
from dropforge.uploads import auto_promote
from dropforge.uploads.conclude_upload import ConcludeContext, conclude


@cache
def _app_context() -> app_context.AppContext:
    return app_context.create()


@observability.masked
def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """ConcludeRequest in, Conclusion out."""
    world = _app_context()
    log = world.log("conclude")
    message = ConcludeRequest.parse(event)
    with observability.context(correlation_id=message.request.upload_id):
        settings = world.settings(message.request.settings_uri)
        log.info("concluding", extra={"outcomes": len(message.outcomes)})
        conclusion = conclude(
            message,
            ConcludeContext(
                settings=settings,
                registry=world.registry,
                tracking=world.tracking(settings.project),
                book=world.uploads,
                store=world.store,
                bucket=world.env.data_bucket,
                log=log,
            ),
        )
        announce.challenger(conclusion, world.announce)
        change = Change(
            world.store,
            world.env.data_bucket,
            "auto_promote",
            log,
            python=bool(world.env.python_function),
            key=world.history_key,
        )
        promoted = auto_promote.automatically(
            conclusion, change, settings=settings, registry=world.registry, book=world.uploads, announce=world.announce
        )
        publish_alias_index.publish_alias_index(
            settings=settings, store=world.store, registry=world.registry, bucket=world.env.data_bucket
        )
        log.info(
            "concluded",
            extra={"promoted": promoted, "registered": len(conclusion.registered), "failed": sorted(conclusion.failed)},
        )
        return conclusion.model_dump(mode="json")
