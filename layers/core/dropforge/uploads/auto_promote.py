"""Let the challenger answer by itself, where settings.yaml says so (`promotion.auto_promote`)."""

from __future__ import annotations

import logging

from dropforge.announce import Announce, activation, nobody
from dropforge.config.settings import Settings
from dropforge.deployment import activate, active_version
from dropforge.errors import BundleRejected, Conflict
from dropforge.messages import Conclusion
from dropforge.observability import failure
from dropforge.ports import MacKey, ObjectStore, Registry
from dropforge.registry import versions
from dropforge.registry.aliases import CHALLENGER
from dropforge.uploads.upload_repository import UploadRepository


def automatically(
    conclusion: Conclusion,
    *,
    settings: Settings,
    store: ObjectStore,
    registry: Registry,
    book: UploadRepository,
    bucket: str,
    log: logging.Logger,
    python: bool = True,
    key: MacKey | None = None,
    announce: Announce = nobody,
) -> bool:
    """Label the challenger with the serving alias and switch to it, when `auto_promote` is on and the gate chose one.

    The deployment history says that the gate did it, and why; the way back is the same as from a switch by hand. True when it answers
    now. A bundle that fails its check, or a quicker switch by a person, leaves the served model as it is: False.
    Raises Unavailable when the registry or the store does not answer. It is decided once for each upload and kept in its
    record: a repeat answers what was decided, and does not undo what people have done since.
    """
    challenger = conclusion.challenger
    if not settings.promotion.auto_promote or challenger is None:
        return False
    decided = book.get(conclusion.upload_id).promoted
    if decided is not None:
        return decided
    promoted = _promote(
        conclusion, challenger.name, settings, store, registry, bucket, log, python=python, key=key, announce=announce
    )
    book.update(conclusion.upload_id, promoted=promoted)
    return promoted


def _promote(
    conclusion: Conclusion,
    model: str,
    settings: Settings,
    store: ObjectStore,
    registry: Registry,
    bucket: str,
    log: logging.Logger,
    *,
    python: bool,
    key: MacKey | None,
    announce: Announce,
) -> bool:
    alias = settings.serving.alias
    version = versions.resolve(CHALLENGER, model, settings, registry)
    try:
        activate.verify(
            store, bucket, active_version.active_of(version, alias, settings), python=python
        )  # before the alias moves
        versions.set_alias(alias, version.name, version.version, settings=settings, registry=registry)
        answer = activate.set_model(
            alias,
            model,
            settings=settings,
            store=store,
            registry=registry,
            bucket=bucket,
            by="auto_promote",
            log=log,
            why="; ".join(conclusion.reasons),
            python=python,
            key=key,
        )
    except (BundleRejected, Conflict) as error:
        log.warning("the challenger was not promoted", extra=failure(error))
        return False
    activation(answer, "auto_promote", announce)
    return True
