"""Activate a model version; the active model and every version as people read them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecords
from dropforge.deployment.change import Change, requested_version
from dropforge.deployment.history import Entry
from dropforge.deployment.verified_bundle import check_bundle
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.ports import ObjectStore, Registry
from dropforge.registry import versions


def set_model(change: Change, alias: str, model: str, *, settings: Settings, registry: Registry) -> dict[str, Any]:
    """Activate the version behind an alias.

    Returns the active model and the one before it. Raises what requested_version raises (the active model stays), and Conflict
    when another change finished first.
    """
    requested = requested_version(change, alias, model, settings=settings, registry=registry)
    new = requested.active

    def entry(active: Active | None, number: int) -> Entry:
        at = now()
        return Entry(
            number=number,
            at=at,
            by=change.by,
            action="set_model",
            reason=change.reason or f"the alias {new.alias}",
            before=pointer_of(active),
            to=pointer_of(replace(new, number=number, set_at=at, set_by=change.by)) or {},
            evidence=requested.record.evidence,
        )

    return change_response(change.history.change(entry), change.log)


def change_response(entry: Entry, log: logging.Logger) -> dict[str, Any]:
    """The answer to a change, and its line in the log."""
    answer = {
        "model": identity_of(entry.to),
        "previous": identity_of(entry.before),
        "set_at": entry.at,
        "number": entry.number,
        "action": entry.action,
        "candidate": rollout_of(entry.to),
    }
    log.info(
        "model switched",
        extra={
            "number": entry.number,
            "action": entry.action,
            "by": entry.by,
            "to": answer["model"],
            "from": answer["previous"],
        },
    )
    return answer


def identity_of(pointer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """name, version, alias, run_id of a pointer in the ledger."""
    if not pointer:
        return None
    name = pointer.get("model") or pointer.get("name", "")  # records of before the chain kept the identity only
    return {"name": name, **{k: pointer.get(k, "") for k in ("version", "alias", "run_id")}}


def rollout_of(pointer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Identity of the candidate beside a pointer's model, with its share and whether it is scored in the shadow."""
    second = pointer.get("candidate")
    return {**(identity_of(second) or {}), "weight": second["weight"], "shadow": second["shadow"]} if second else None


def pointer_of(active: Active | None) -> dict[str, Any] | None:
    """What an entry keeps of a pointer: everything but the hash of the entry itself."""
    return {k: v for k, v in asdict(active).items() if k != "record_sha256"} if active else None


def model_info(*, store: ObjectStore, bucket: str) -> dict[str, Any]:
    """The active model: identity, schema, metrics, dataset, an example row. For API-key callers: no address inside.

    Raises NotFound (409) when none is active."""
    active, _ = ActivePointer(store, bucket).read()
    manifest = BundleManifest.from_json(check_bundle(store, bucket, active))
    return {
        "model": active.identity(),
        "candidate": rollout_of(asdict(active)),
        "set_at": active.set_at,
        "set_by": active.set_by,
        "target": manifest.target,
        "task": manifest.task,
        "classes": list(manifest.classes),
        "coverages": sorted(manifest.regression.intervals if manifest.regression else manifest.conformal),
        "positive_class": manifest.positive_class or None,
        "threshold": manifest.threshold if manifest.positive_class else None,
        "features": [asdict(f) for f in manifest.features],
        "prediction_sets": {
            "coverages": sorted(float(c) for c in manifest.conformal),
            "method": manifest.conformal_method,
            "calibration_rows": dict(zip(manifest.classes, manifest.conformal_rows, strict=False)),
        },
        "metrics": manifest.metrics,
        "dataset_id": manifest.dataset_id,
        "trained_at": manifest.created_at,
        "parity": manifest.parity,
        "example": manifest.example,
    }


def _estimates(tags: Mapping[str, str], prefix: str) -> dict[str, list[float]]:
    """By metric: value, low, high."""
    return {k.removeprefix(prefix): [float(p) for p in t.split()] for k, t in tags.items() if k.startswith(prefix)}


def models(*, settings: Settings, store: ObjectStore, registry: Registry, bucket: str) -> list[dict[str, Any]]:
    """Every version of the project's models, newest first within a model. `recorded`: whether it can be activated."""
    families = versions.families(settings)
    recorded = ModelRecords(store, bucket).recorded()
    return [
        {
            "name": v.name,
            "version": v.version,
            "aliases": list(v.aliases),
            "run_id": v.run_id,
            "dataset_id": v.tags.get("dataset_id", ""),
            "upload_id": v.tags.get("upload_id", ""),
            "recorded": (v.name, v.version, v.run_id) in recorded,
            "heldout": {k.removeprefix("heldout."): float(t) for k, t in v.tags.items() if k.startswith("heldout.")},
            "interval": _estimates(v.tags, "interval."),
            "cross_validated": _estimates(v.tags, "cross_validated."),
            "warning": v.tags.get("evidence.warning", ""),
        }
        for v in registry.versions(families)
    ]
