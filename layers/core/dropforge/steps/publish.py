"""Labels of the registry to where predict looks for them."""

from __future__ import annotations

from dropforge.errors import BundleRejected
from dropforge.ports import ObjectStore, Registry
from dropforge.serving.labels import Labels
from dropforge.serving.pointer import Active
from dropforge.settings import Settings
from dropforge.steps import versions


def publish_labels(*, settings: Settings, store: ObjectStore, registry: Registry, bucket: str) -> None:
    """Write every label of every version that can be served. Raises Conflict, Unavailable."""

    def collect() -> list[Active]:
        found = []
        for version in registry.versions(versions.families(settings)):
            for alias in version.aliases:
                try:
                    found.append(versions.active_of(version, alias, settings))
                except BundleRejected:
                    continue  # registered by hand, without a bundle: not for predict
        return found

    Labels(store, bucket).publish(collect)
