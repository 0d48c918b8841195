"""Labels of the registry to where predict looks for them."""

from __future__ import annotations

from dropforge.errors import BundleRejected
from dropforge.ports import ObjectStore, Registry
from dropforge.serving.integrity import ModelRecords
from dropforge.serving.labels import Labels
from dropforge.serving.pointer import Active
from dropforge.settings import Settings
from dropforge.steps import active_version, versions


def publish_labels(*, settings: Settings, store: ObjectStore, registry: Registry, bucket: str) -> None:
    """Write every alias of every version that can be served: recorded by conclude, or adopted. Raises Conflict, Unavailable."""
    records = ModelRecords(store, bucket)

    def collect() -> list[Active]:
        found = []
        for version in registry.versions(versions.families(settings)):
            for alias in version.aliases:
                try:
                    active = active_version.active_of(version, alias, settings)
                    records.require(active)
                except BundleRejected:
                    continue  # registered or changed by somebody else's hand: not for predict
                found.append(active)
        return found

    Labels(store, bucket).publish(collect)
