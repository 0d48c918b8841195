"""Make a labelled model version the one that answers, and look at what is there to choose from."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict
from typing import Any

from dropforge import identity
from dropforge.errors import BundleRejected, InvalidRequest, NotFound
from dropforge.messages import ModelVersion
from dropforge.ports import ObjectStore, Registry
from dropforge.serving.manifest import MANIFEST_FILE, MODEL_FILE, BundleManifest
from dropforge.serving.pointer import Active, ActivePointer
from dropforge.settings import Settings
from dropforge.uploads import now
from dropforge.uris import join


def set_model(
    alias: str,
    model: str,
    *,
    settings: Settings,
    store: ObjectStore,
    registry: Registry,
    bucket: str,
    by: str,
    log: logging.Logger,
) -> dict[str, Any]:
    """Resolve the alias, verify the bundle, switch. `model`: candidate or registered name; empty when the alias is on one only.

    Returns what is loaded now and what was before. Raises NotFound (no such alias), InvalidRequest (several models carry
    it), BundleRejected (the bundle is not what was registered: the old model goes on), Conflict (a quicker switch won).
    """
    alias = alias or settings.serving.alias
    version = _resolve(alias, model, settings, registry)
    pointer = ActivePointer(store, bucket)
    previous, etag = _current(pointer)
    tags = version.tags
    if not tags.get("bundle_uri"):
        raise BundleRejected(
            f"{version.name} version {version.version} has no serving bundle",
            code="bundle_missing",
            fix="label a version Dropforge trained",
        )
    new = Active(
        model=version.name,
        version=version.version,
        alias=alias,
        run_id=version.run_id,
        bundle_uri=tags["bundle_uri"],
        bundle_sha256=tags.get("bundle_sha256", ""),
        number=(previous.number if previous else 0) + 1,
        set_at=now(),
        set_by=by,
        max_rows=settings.serving.max_rows,
        max_body_bytes=settings.serving.max_body_bytes,
    )
    _verify(store, new)
    pointer.replace(new, etag)
    was = previous.identity() if previous else None
    pointer.keep({"number": new.number, "at": new.set_at, "by": by, "from": was, "to": asdict(new)}, new.number)
    log.info("model switched", extra={"to": new.identity(), "from": was})
    return {"model": new.identity(), "previous": was, "set_at": new.set_at}


def _resolve(alias: str, model: str, settings: Settings, registry: Registry) -> ModelVersion:
    families = [identity.registered_model(settings.project, m.name) for m in settings.models]
    if model:
        names = [n for n in (model, identity.registered_model(settings.project, model)) if n in families]
        if not names:
            raise NotFound(
                f"no model {model!r} in this project", code="model_unknown", fix=f"models are {', '.join(families)}"
            )
        families = names
    found = registry.resolve(alias, families)
    if not found:
        where = f"on {families[0]}" if model else "on any model"
        raise NotFound(
            f"no version has the alias {alias!r} {where}",
            code="alias_unknown",
            fix=f"label one: dropforge label MODEL VERSION {alias}",
        )
    if len(found) > 1:
        names = [v.name for v in found]
        raise InvalidRequest(
            f"the alias {alias!r} is on several models: {', '.join(names)}",
            code="alias_ambiguous",
            fix="name one: model",
        )
    return found[0]


def _current(pointer: ActivePointer) -> tuple[Active | None, str]:
    try:
        return pointer.read()
    except NotFound:
        return None, ""


def _verify(store: ObjectStore, active: Active) -> None:
    """Both hashes, here and not only in predict: a broken bundle must not become the pointer."""
    if not active.bundle_sha256:
        raise BundleRejected(
            "the version does not say the hash of its bundle", code="bundle_unverified", fix="train again"
        )
    check_bundle(store, active)


def check_bundle(store: ObjectStore, active: Active) -> bytes:
    """The verified manifest. Hashes only: the graph itself is opened where it is served."""
    try:
        manifest = store.get(join(active.bundle_uri, MANIFEST_FILE)).body
        model = store.get(join(active.bundle_uri, MODEL_FILE)).body
    except NotFound as error:
        raise BundleRejected(f"the bundle is gone: {error.message}", code="bundle_missing", fix="train again") from None
    if hashlib.sha256(manifest).hexdigest() != active.bundle_sha256:
        raise BundleRejected(
            "the bundle's manifest was altered after registration", code="bundle_altered", fix="train again"
        )
    if hashlib.sha256(model).hexdigest() != BundleManifest.from_json(manifest).onnx_sha256:
        raise BundleRejected("model.onnx was altered after registration", code="bundle_altered", fix="train again")
    return manifest


def model_info(*, store: ObjectStore, bucket: str, mlflow_url: str) -> dict[str, Any]:
    """The active model: identity, schema, metrics, dataset, an example row, links. Raises NotFound (409) when none is active."""
    active, _ = ActivePointer(store, bucket).read()
    manifest = BundleManifest.from_json(check_bundle(store, active))
    return {
        "model": active.identity(),
        "set_at": active.set_at,
        "set_by": active.set_by,
        "target": manifest.target,
        "classes": list(manifest.classes),
        "positive_class": manifest.positive_class or None,
        "threshold": manifest.threshold if manifest.positive_class else None,
        "features": [asdict(f) for f in manifest.features],
        "metrics": manifest.metrics,
        "dataset_id": manifest.dataset_id,
        "trained_at": manifest.created_at,
        "parity": manifest.parity,
        "example": manifest.example,
        "links": {"mlflow_model": f"{mlflow_url.rstrip('/')}/#/models/{active.model}/versions/{active.version}"},
    }


def models(*, settings: Settings, registry: Registry) -> list[dict[str, Any]]:
    """Every version of the project's models, newest first within a model."""
    families = [identity.registered_model(settings.project, m.name) for m in settings.models]
    return [
        {
            "name": v.name,
            "version": v.version,
            "aliases": list(v.aliases),
            "run_id": v.run_id,
            "dataset_id": v.tags.get("dataset_id", ""),
            "upload_id": v.tags.get("upload_id", ""),
            "heldout": {k.removeprefix("heldout."): float(t) for k, t in v.tags.items() if k.startswith("heldout.")},
        }
        for v in registry.versions(families)
    ]
