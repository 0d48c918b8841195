"""A change of the active model: who makes it and why, and the beginning that activation, canary and promotion share."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dropforge.config.settings import Settings
from dropforge.deployment import active_version
from dropforge.deployment.active_model import Active
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.deployment.history import DeploymentHistory
from dropforge.deployment.verified_bundle import verify
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.ports import MacKey, ObjectStore, Registry
from dropforge.registry import versions


@dataclass(frozen=True, slots=True)
class Change:
    """`python`: whether a function runs models without a graph. `key`: of the deployment history, where one is configured."""

    store: ObjectStore
    bucket: str
    by: str
    log: logging.Logger
    reason: str = ""
    python: bool = True
    key: MacKey | None = None

    @property
    def history(self) -> DeploymentHistory:
        """The deployment history that the change is appended to."""
        return DeploymentHistory(self.store, self.bucket, self.key)

    def verify(self, active: Active) -> BundleManifest:
        """The manifest of a bundle that may be activated; see verified_bundle.verify."""
        return verify(self.store, self.bucket, active, python=self.python)


@dataclass(frozen=True, slots=True)
class RequestedVersion:
    """The version behind an alias, verified: as it would be activated, its manifest, and what was concluded about it."""

    active: Active
    manifest: BundleManifest
    record: ModelRecord


def requested_version(
    change: Change, alias: str, model: str, *, settings: Settings, registry: Registry
) -> RequestedVersion:
    """Resolve the alias (empty: serving.alias) and verify the bundle. `model`: candidate or registered name; empty when the alias is
    on one only.

    Raises NotFound (no such alias), InvalidRequest (several models carry it), BundleRejected (the bundle is not what was registered,
    or nobody can run it).
    """
    alias = alias or settings.serving.alias
    active = active_version.active_of(versions.resolve(alias, model, settings, registry), alias, settings)
    manifest = change.verify(active)
    return RequestedVersion(active, manifest, ModelRecords(change.store, change.bucket).require(active))
