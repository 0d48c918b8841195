"""settings.yaml in the data bucket: `config/settings.yaml` is in force, `config/settings-{sha256}.yaml` never changes."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

from dropforge import __version__, keys
from dropforge.config import settings
from dropforge.errors import Conflict, NotFound, SettingsError
from dropforge.ports import ObjectStore

_IMMUTABLE = re.compile(r"settings-([0-9a-f]{64})\.yaml")


def read(store: ObjectStore, uri: str) -> settings.Settings:
    """Raises SettingsError when there are none, they are wrong, or they are not the text that their name promises."""
    try:
        text = store.get(uri).body
    except NotFound:
        raise SettingsError(f"no settings at {uri}", code="settings_missing", fix="run `dropforge apply`") from None
    name = uri.rpartition("/")[2]
    _check_hash(text, name)
    return _understood(text, name)


def _check_hash(text: bytes, name: str) -> None:
    """Raises SettingsError for an immutable copy that was overwritten: a job would run what somebody put there."""
    promised = _IMMUTABLE.fullmatch(name)
    if promised and hashlib.sha256(text).hexdigest() != promised[1]:
        raise SettingsError(
            f"config/{name} was altered: its text has another hash than its name",
            code="settings_altered",
            fix=f"restore its first version, or delete config/{name} and run `dropforge apply`; look who wrote it",
        )


def _understood(text: bytes, name: str) -> settings.Settings:
    """Stored settings, parsed. Raises SettingsError: what was in order when it was stored is read by other code now."""
    try:
        return settings.load(text, name)
    except SettingsError as error:
        raise SettingsError(
            f"{error.message}\nThe code that reads these settings is older than they are: `dropforge apply` found them in order, and "
            f"this is Dropforge {_version()}",
            code="settings_newer",
            fix="build it again from the checkout that has these settings: training image: docker build -f training/Dockerfile; "
            "API image: docker build -f functions/Dockerfile; functions: make deploy; a local cloud: dropforge down, dropforge up",
        ) from None


def _version() -> str:
    """Of this code; an image says when it was built."""
    try:
        return f"{__version__}, in an image built {(Path(__file__).parents[1] / 'BUILT').read_text().strip()}"
    except OSError:
        return __version__


def in_force(store: ObjectStore, bucket: str) -> tuple[settings.Settings, str]:
    """The settings in force and the URI of their immutable copy, for jobs to name. Raises SettingsError."""
    uri = keys.settings(bucket)
    try:
        text = store.get(uri).body
    except NotFound:
        raise SettingsError(f"no settings at {uri}", code="settings_missing", fix="run `dropforge apply`") from None
    parsed = _understood(text, uri.rpartition("/")[2])
    return parsed, pin(store, bucket, text, parsed.sha256)


def apply(store: ObjectStore, bucket: str, text: bytes, source: str = "settings.yaml") -> settings.Settings:
    """Validate, keep an immutable copy, put in force. Raises SettingsError and changes nothing when they are wrong."""
    parsed = settings.load(text, source)
    pin(store, bucket, text, parsed.sha256)
    store.put(keys.settings(bucket), text, content_type="application/yaml")
    return parsed


def pin(store: ObjectStore, bucket: str, text: bytes, sha256: str) -> str:
    """Make sure the immutable copy exists and is the text it is named for; return its URI. Raises SettingsError."""
    uri = keys.settings_copy(bucket, sha256)
    try:
        _check_hash(store.get(uri).body, uri.rpartition("/")[2])
    except NotFound:
        # A quicker writer has put the same text there: the name says which.
        with contextlib.suppress(Conflict):
            store.put(uri, text, content_type="application/yaml", if_absent=True)
    return uri
