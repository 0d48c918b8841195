"""Take a version into use that no training of this system concluded: an administrator's decision, by name and in writing."""

from __future__ import annotations

import hashlib

from dropforge import ids
from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.deployment import active_version
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.errors import BundleRejected, NotFound
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest
from dropforge.messages import ModelVersion
from dropforge.ports import ObjectStore, Registry
from dropforge.registry import versions
from dropforge.s3_uri import join


def unrecorded(*, settings: Settings, store: ObjectStore, registry: Registry, bucket: str) -> list[ModelVersion]:
    """Versions of the project's models that have a bundle and no integrity record, newest first within a model."""
    recorded = ModelRecords(store, bucket).recorded()
    return [
        v
        for v in registry.versions(versions.families(settings))
        if v.tags.get("bundle_uri") and (v.name, v.version, v.run_id) not in recorded
    ]


def proposal(version: ModelVersion, *, settings: Settings, store: ObjectStore, by: str) -> ModelRecord:
    """The record that adopting the version would write: of the bundle that lies there now, every file checked.

    Raises BundleRejected for a version without a bundle, one whose files do not fit its manifest, and a pickle whose model
    is not `serve: python` in the settings in force.
    """
    active = active_version.active_of(version, "", settings)
    try:
        body = store.get(join(active.bundle_uri, MANIFEST_FILE)).body
        manifest = BundleManifest.from_json(body)
        model = store.get(join(active.bundle_uri, manifest.model_file)).body
    except NotFound as error:
        raise BundleRejected(f"the bundle is gone: {error.message}", code="bundle_missing", fix="train again") from None
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        raise BundleRejected(
            f"{manifest.model_file} is not the one its manifest names", code="bundle_altered", fix="train again"
        )
    serve = {ids.registered_model(settings.project, m.name): m.serve for m in settings.models}[version.name]
    if manifest.python and serve != "python":
        raise BundleRejected(
            f"{version.name} version {version.version} is a pickle: it runs code when it is loaded",
            code="python_not_declared",
            fix="if you trust it, say `serve: python` in the model's entry of settings.yaml and run `dropforge apply` first",
        )
    stored = ("heldout.", "gate", "upload_id", "dataset_id")
    return ModelRecord(
        model=version.name,
        version=version.version,
        run_id=version.run_id,
        bundle_uri=active.bundle_uri,
        bundle_sha256=hashlib.sha256(body).hexdigest(),
        serve=serve,
        metrics=manifest.metrics,
        evidence={k: v for k, v in sorted(version.tags.items()) if k.startswith(stored)},
        settings_sha256=settings.sha256,
        recorded_at=now(),
        recorded_by=by,
    )
