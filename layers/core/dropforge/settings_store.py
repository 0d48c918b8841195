"""settings.yaml in the data bucket: `config/settings.yaml` is in force, `config/settings-{sha256}.yaml` never changes."""

from __future__ import annotations

from dropforge import settings, uris
from dropforge.errors import Conflict, NotFound, SettingsError
from dropforge.ports import ObjectStore


def current_uri(bucket: str) -> str:
    return uris.join(f"s3://{bucket}", "config/settings.yaml")


def immutable_uri(bucket: str, sha256: str) -> str:
    return uris.join(f"s3://{bucket}", f"config/settings-{sha256}.yaml")


def read(store: ObjectStore, uri: str) -> settings.Settings:
    """Raises SettingsError when there are none or they are wrong."""
    try:
        text = store.get(uri).body
    except NotFound:
        raise SettingsError(f"no settings at {uri}", code="settings_missing", fix="run `dropforge apply`") from None
    return settings.load(text, uri.rpartition("/")[2])


def in_force(store: ObjectStore, bucket: str) -> tuple[settings.Settings, str]:
    """The settings in force and the URI of their immutable copy, for jobs to name. Raises SettingsError."""
    uri = current_uri(bucket)
    try:
        text = store.get(uri).body
    except NotFound:
        raise SettingsError(f"no settings at {uri}", code="settings_missing", fix="run `dropforge apply`") from None
    parsed = settings.load(text)
    pinned = immutable_uri(bucket, parsed.sha256)
    if store.stat(pinned) is None:
        pin(store, bucket, text, parsed.sha256)
    return parsed, pinned


def apply(store: ObjectStore, bucket: str, text: bytes, source: str = "settings.yaml") -> settings.Settings:
    """Validate, keep an immutable copy, put in force. Raises SettingsError and changes nothing when they are wrong."""
    parsed = settings.load(text, source)
    pin(store, bucket, text, parsed.sha256)
    store.put(current_uri(bucket), text, content_type="application/yaml")
    return parsed


def pin(store: ObjectStore, bucket: str, text: bytes, sha256: str) -> str:
    """Make sure the immutable copy exists; return its URI."""
    uri = immutable_uri(bucket, sha256)
    try:
        store.put(uri, text, content_type="application/yaml", if_absent=True)
    except Conflict:
        return uri  # the same text was applied before
    return uri
