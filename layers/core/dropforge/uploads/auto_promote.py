"""Activate the challenger of a conclusion, where settings.yaml says so (`promotion.auto_promote`)."""

from __future__ import annotations

from dataclasses import replace

from dropforge.announce import Announce, activation, nobody
from dropforge.config.settings import Settings
from dropforge.deployment import activate, active_version
from dropforge.deployment.change import Change
from dropforge.errors import BundleRejected, Conflict
from dropforge.messages import Conclusion
from dropforge.observability import failure
from dropforge.ports import Registry
from dropforge.registry import versions
from dropforge.registry.aliases import CHALLENGER
from dropforge.uploads.upload_repository import UploadRepository


def automatically(
    conclusion: Conclusion,
    change: Change,
    *,
    settings: Settings,
    registry: Registry,
    book: UploadRepository,
    announce: Announce = nobody,
) -> bool:
    """Set the serving alias on the challenger and activate it, when `auto_promote` is on and the gate chose one.

    The deployment history says that the gate did it, and why; a rollback is the same as after an activation by hand. True when the
    challenger is active now. A bundle that fails its check, or an activation by a person in the meantime, leaves the active model as
    it is: False. Raises Unavailable when the registry or the store does not answer. It is decided once for each upload and stored in
    its record: a repeat returns what was decided, and does not undo what people have done since.
    """
    challenger = conclusion.challenger
    if not settings.promotion.auto_promote or challenger is None:
        return False
    decided = book.get(conclusion.upload_id).promoted
    if decided is not None:
        return decided
    promoted = _promote(
        challenger.name, replace(change, reason="; ".join(conclusion.reasons)), settings, registry, announce
    )
    book.update(conclusion.upload_id, promoted=promoted)
    return promoted


def _promote(model: str, change: Change, settings: Settings, registry: Registry, announce: Announce) -> bool:
    alias = settings.serving.alias
    version = versions.resolve(CHALLENGER, model, settings, registry)
    try:
        change.verify(active_version.active_of(version, alias, settings))  # before the alias moves
        versions.set_alias(alias, version.name, version.version, settings=settings, registry=registry)
        activated = activate.set_model(change, alias, model, settings=settings, registry=registry)
    except (BundleRejected, Conflict) as error:
        change.log.warning("the challenger was not promoted", extra=failure(error))
        return False
    activation(activated, change.by, announce)
    return True
