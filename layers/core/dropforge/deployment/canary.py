"""A candidate beside the active model: begun, promoted or given up, each by one entry of the ledger."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.deployment import active_version
from dropforge.deployment.activate import change_response, check_bundle, pointer_of, verify
from dropforge.deployment.active_model import Active, Candidate, none_active
from dropforge.deployment.bundle_integrity import ModelRecords
from dropforge.deployment.history import DeploymentHistory, Entry
from dropforge.errors import Conflict, InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.ports import MacKey, ObjectStore, Registry
from dropforge.registry import versions


def propose(
    alias: str,
    model: str,
    *,
    weight: float,
    shadow: bool,
    settings: Settings,
    store: ObjectStore,
    registry: Registry,
    bucket: str,
    by: str,
    log: logging.Logger,
    why: str = "",
    python: bool = True,
    key: MacKey | None = None,
) -> dict[str, Any]:
    """Put the version behind an alias beside the active one: to answer the share `weight` of requests, or in the shadow, or both.

    A candidate that was there before is replaced. Raises what set_model raises, NotFound (409) when no model is active,
    InvalidRequest when it is the active version itself or knows other classes.
    """
    version = versions.resolve(alias or settings.serving.alias, model, settings, registry)
    new = active_version.active_of(version, alias or settings.serving.alias, settings)
    classes = verify(store, bucket, new, python=python).classes
    record = ModelRecords(store, bucket).require(new)
    second = Candidate(
        new.model, new.version, new.alias, new.run_id, new.bundle_uri, new.bundle_sha256, weight=weight, shadow=shadow
    )

    def entry(active: Active | None, number: int) -> Entry:
        if active is None:
            raise none_active()
        if (active.model, active.version) == (new.model, new.version):
            raise InvalidRequest(
                f"{new.model} version {new.version} is the active model itself",
                code="candidate_is_active",
                fix="name another version, by its alias",
            )
        if set(BundleManifest.from_json(check_bundle(store, bucket, active)).classes) != set(classes):
            raise InvalidRequest(
                "the candidate knows other classes than the active model",
                code="candidate_unlike",
                fix="POST /set_model without canary or shadow",
            )
        at = now()
        changed = replace(active, number=number, set_at=at, set_by=by, candidate=second, capture=new.capture)
        share = f"answers {weight:.0%}" if weight else ""
        words = " and ".join(w for w in (share, "is scored in the shadow" if shadow else "") if w)
        return Entry(
            number=number,
            at=at,
            by=by,
            action="candidate",
            why=why or f"{new.model} version {new.version} {words}",
            before=pointer_of(active),
            to=pointer_of(changed) or {},
            evidence=record.evidence,
        )

    return change_response(DeploymentHistory(store, bucket, key).change(entry), log)


def decide(
    action: str,
    *,
    store: ObjectStore,
    bucket: str,
    by: str,
    log: logging.Logger,
    why: str = "",
    python: bool = True,
    key: MacKey | None = None,
) -> dict[str, Any]:
    """`promote`: the candidate becomes the active model; `abort`: it goes. Needs no MLflow.

    Raises Conflict (no candidate, or a quicker change won), BundleRejected (promoted bundle altered: the active one goes on).
    """
    if action not in {"promote", "abort"}:
        raise InvalidRequest(
            f"{action!r} is no action",
            code="malformed_request",
            fix='send {"action": "promote"} or {"action": "abort"}',
        )
    ledger = DeploymentHistory(store, bucket, key)

    def entry(active: Active | None, number: int) -> Entry:
        if active is None:
            raise none_active()
        second = active.candidate
        if second is None:
            raise Conflict(
                "there is no candidate", code="no_candidate", fix='POST /set_model with "canary" or "shadow" begins one'
            )
        at = now()
        new = replace(active, number=number, set_at=at, set_by=by, candidate=None)
        if action == "promote":
            new = replace(
                new, model=second.model, version=second.version, alias=second.alias, run_id=second.run_id,
                bundle_uri=second.bundle_uri, bundle_sha256=second.bundle_sha256,
            )  # fmt: skip
            verify(store, bucket, new, python=python)
        begun = ledger.get(active.number)
        return Entry(
            number=number,
            at=at,
            by=by,
            action=action,
            why=why or f"{second.model} version {second.version}, the candidate",
            before=pointer_of(active),
            to=pointer_of(new) or {},
            evidence=begun.entry.evidence if begun and begun.entry and action == "promote" else {},
        )

    return change_response(ledger.change(entry), log)
