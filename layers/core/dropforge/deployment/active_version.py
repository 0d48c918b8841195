"""The active model's document for a registered version."""

from __future__ import annotations

from dropforge.config.settings import Settings
from dropforge.deployment.active_model import Active
from dropforge.errors import BundleRejected
from dropforge.messages import ModelVersion


def active_of(version: ModelVersion, alias: str, settings: Settings) -> Active:
    """The pointer to a registered version. Raises BundleRejected for a version without a bundle."""
    if not version.tags.get("bundle_uri"):
        raise BundleRejected(
            f"{version.name} version {version.version} has no serving bundle",
            code="bundle_missing",
            fix="set the alias on a version that Dropforge trained",
        )
    return Active(
        model=version.name,
        version=version.version,
        alias=alias,
        run_id=version.run_id,
        bundle_uri=version.tags["bundle_uri"],
        bundle_sha256=version.tags.get("bundle_sha256", ""),
        max_rows=settings.serving.max_rows,
        max_body_bytes=settings.serving.max_body_bytes,
        capture=settings.serving.capture.sample,
        rules=settings.serving.rules,
    )
