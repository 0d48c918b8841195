"""Canary and shadow deployments: started, promoted or aborted, each by one entry of the deployment history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.deployment.activate import change_response, pointer_of
from dropforge.deployment.active_model import Active, Candidate, none_active
from dropforge.deployment.change import Change, requested_version
from dropforge.deployment.history import Entry
from dropforge.deployment.verified_bundle import check_bundle
from dropforge.errors import Conflict, InvalidRequest
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.ports import Registry


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a candidate gets: as canary the fraction `weight` of requests, as shadow a copy of the others, or both."""

    weight: float = 0.0
    shadow: bool = False


def propose(
    change: Change, alias: str, model: str, *, traffic: Traffic, settings: Settings, registry: Registry
) -> dict[str, Any]:
    """Start the version behind an alias beside the active one, as canary, as shadow, or both.

    A candidate that was there before is replaced. Raises what set_model raises, NotFound (409) when no model is active,
    InvalidRequest when it is the active version itself or has other classes.
    """
    requested = requested_version(change, alias, model, settings=settings, registry=registry)
    new, classes = requested.active, requested.manifest.classes
    weight, shadow = traffic.weight, traffic.shadow
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
        if set(BundleManifest.from_json(check_bundle(change.store, change.bucket, active)).classes) != set(classes):
            raise InvalidRequest(
                "the candidate has other classes than the active model",
                code="candidate_unlike",
                fix="POST /set_model without canary or shadow",
            )
        at = now()
        changed = replace(active, number=number, set_at=at, set_by=change.by, candidate=second, capture=new.capture)
        fraction = f"answers {weight:.0%}" if weight else ""
        words = " and ".join(w for w in (fraction, "is scored in the shadow" if shadow else "") if w)
        return Entry(
            number=number,
            at=at,
            by=change.by,
            action="candidate",
            reason=change.reason or f"{new.model} version {new.version} {words}",
            before=pointer_of(active),
            to=pointer_of(changed) or {},
            evidence=requested.record.evidence,
        )

    return change_response(change.history.change(entry), change.log)


def decide(change: Change, action: str) -> dict[str, Any]:
    """`promote`: the candidate becomes the active model; `abort`: it goes. Needs no MLflow.

    Raises Conflict (no candidate, or a quicker change won), BundleRejected (promoted bundle altered: the active one goes on).
    """
    if action not in {"promote", "abort"}:
        raise InvalidRequest(
            f"{action!r} is no action",
            code="malformed_request",
            fix='send {"action": "promote"} or {"action": "abort"}',
        )
    history = change.history

    def entry(active: Active | None, number: int) -> Entry:
        if active is None:
            raise none_active()
        second = active.candidate
        if second is None:
            raise Conflict(
                "there is no candidate", code="no_candidate", fix='POST /set_model with "canary" or "shadow" begins one'
            )
        at = now()
        new = replace(active, number=number, set_at=at, set_by=change.by, candidate=None)
        if action == "promote":
            new = replace(
                new, model=second.model, version=second.version, alias=second.alias, run_id=second.run_id,
                bundle_uri=second.bundle_uri, bundle_sha256=second.bundle_sha256,
            )  # fmt: skip
            change.verify(new)
        begun = history.get(active.number)
        return Entry(
            number=number,
            at=at,
            by=change.by,
            action=action,
            reason=change.reason or f"{second.model} version {second.version}, the candidate",
            before=pointer_of(active),
            to=pointer_of(new) or {},
            evidence=begun.entry.evidence if begun and begun.entry and action == "promote" else {},
        )

    return change_response(history.change(entry), change.log)
