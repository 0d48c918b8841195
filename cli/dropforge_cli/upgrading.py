"""What a new version does with the documents of an earlier one: it reads all of them, and counts again what it counts differently.

Readers take documents of every earlier version as they are, so nothing has to be upgraded before uploads and predictions go on. What
is gained: comparisons with a reference whose profile was counted by an earlier version miss what that version did not count.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dropforge import keys, s3_uri
from dropforge.analysis.data_profile import PROFILE_VERSION, Profile
from dropforge.config import settings_store
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.deployment.active_model import ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord
from dropforge.errors import DropforgeError, NotFound
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest
from dropforge.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Document:
    """One stored document. `result`: current, upgraded, or failed with the reason in `detail`."""

    kind: str
    name: str
    result: str
    detail: str = ""


def documents(store: ObjectStore, bucket: str, *, dry_run: bool) -> Iterator[Document]:
    """The settings in force, the profile of every dataset, every registered bundle and the active model, as each is done.

    With `dry_run` nothing is written, and `result` is what would be. A document that cannot be read does not end the others.
    """
    yield _read("settings", "in force", lambda: settings_store.in_force(store, bucket))
    for entry in DatasetStore(store, bucket).entries():
        yield _profile(store, bucket, entry.dataset_id, dry_run=dry_run)
    for stat in store.list(keys.integrity_folder(bucket)):
        yield _bundle(store, stat.uri)
    yield _active(store, bucket)


def _profile(store: ObjectStore, bucket: str, dataset_id: str, *, dry_run: bool) -> Document:
    uri = keys.profile(bucket, dataset_id)
    try:
        try:
            version = Profile.model_validate_json(store.get(uri).body).format_version
        except (NotFound, ValidationError):
            version = 0
        if version == PROFILE_VERSION:
            return Document("profile", dataset_id, "current")
        if version > PROFILE_VERSION:
            return Document("profile", dataset_id, "failed", f"of a later version ({version}): update dropforge")
        if not dry_run:
            store.put(
                uri, _counted(store, bucket, dataset_id).model_dump_json().encode(), content_type="application/json"
            )
        return Document("profile", dataset_id, "upgraded", f"from version {version} to {PROFILE_VERSION}")
    except DropforgeError as error:
        return Document("profile", dataset_id, "failed", error.message)


def _counted(store: ObjectStore, bucket: str, dataset_id: str) -> Profile:
    """On its own bins, as a reference is counted: the profile of another dataset is read by nobody."""
    from dropforge.analysis.report import build_report  # DuckDB

    manifest = DatasetStore(store, bucket).manifest(dataset_id)
    with tempfile.TemporaryDirectory(prefix="dropforge-upgrade-") as folder:
        snapshot = Path(folder) / "data.parquet"
        store.download(manifest.parts[0].uri, snapshot)
        return build_report.profile_of_snapshot(snapshot, manifest.data_schema, Path(folder))


def _bundle(store: ObjectStore, record_uri: str) -> Document:
    name = s3_uri.split(record_uri)[1].partition("/")[2].removesuffix(".json")

    def read() -> None:
        record = ModelRecord.from_json(store.get(record_uri).body)
        BundleManifest.from_json(store.get(s3_uri.join(record.bundle_uri, MANIFEST_FILE)).body)

    return _read("bundle", name, read)


def _active(store: ObjectStore, bucket: str) -> Document:
    try:
        ActivePointer(store, bucket).read()
    except NotFound:
        return Document("active model", "none", "current")
    except DropforgeError as error:
        return Document("active model", "", "failed", error.message)
    return Document("active model", "pointer", "current")


def _read(kind: str, name: str, read: Callable[[], object]) -> Document:
    try:
        read()
    except DropforgeError as error:
        return Document(kind, name, "failed", error.message)
    return Document(kind, name, "current")
