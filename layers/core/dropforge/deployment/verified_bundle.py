"""Whether a bundle may be activated: it is the one that was concluded, whole, and somebody can run it."""

from __future__ import annotations

import hashlib

from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecords, check_python
from dropforge.errors import BundleRejected, NotFound
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest, not_served
from dropforge.ports import ObjectStore
from dropforge.s3_uri import join


def verify(store: ObjectStore, bucket: str, active: Active, *, python: bool = True) -> BundleManifest:
    """Record and hashes, here and not only in predict: a bundle that is not the concluded one must not become the pointer.

    Nor one without a graph where no function runs Python models (`python` false).
    """
    manifest = BundleManifest.from_json(check_bundle(store, bucket, active))
    if manifest.python and not python:
        raise not_served(active.model)
    return manifest


def check_bundle(store: ObjectStore, bucket: str, active: Active) -> bytes:
    """The verified manifest. Integrity record and hashes only: the graph itself is opened where it is served."""
    record = ModelRecords(store, bucket).require(active)
    try:
        body = store.get(join(active.bundle_uri, MANIFEST_FILE)).body
        if hashlib.sha256(body).hexdigest() != active.bundle_sha256:
            raise BundleRejected(
                "the bundle's manifest was altered after registration", code="bundle_altered", fix="train again"
            )
        manifest = BundleManifest.from_json(body)
        check_python(manifest, record)
        model = store.get(join(active.bundle_uri, manifest.model_file)).body
    except NotFound as error:
        raise BundleRejected(f"the bundle is gone: {error.message}", code="bundle_missing", fix="train again") from None
    if hashlib.sha256(model).hexdigest() != manifest.model_sha256:
        raise BundleRejected(
            f"{manifest.model_file} was altered after registration", code="bundle_altered", fix="train again"
        )
    return body
