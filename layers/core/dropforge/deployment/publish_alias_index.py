"""Labels of the registry to where predict looks for them."""

from __future__ import annotations

from dropforge.config.settings import Settings
from dropforge.deployment import active_version
from dropforge.deployment.active_model import Active
from dropforge.deployment.alias_index import AliasIndex
from dropforge.deployment.bundle_integrity import ModelRecords
from dropforge.errors import BundleRejected
from dropforge.ports import ObjectStore, Registry
from dropforge.registry import versions


def publish_alias_index(*, settings: Settings, store: ObjectStore, registry: Registry, bucket: str) -> None:
    """Write every alias of every version that can be served: recorded by conclude, or adopted. Raises Conflict, Unavailable."""
    records = ModelRecords(store, bucket)

    def collect() -> list[Active]:
        matches = []
        for version in registry.versions(versions.families(settings)):
            for alias in version.aliases:
                try:
                    active = active_version.active_of(version, alias, settings)
                    records.require(active)
                except BundleRejected:
                    continue  # registered or changed by somebody else's hand: not for predict
                matches.append(active)
        return matches

    AliasIndex(store, bucket).publish(collect)
