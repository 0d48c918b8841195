"""Dataset versions: immutable snapshots, the reference, the history, and what a training run reads.

datasets/{dataset_id}/data.parquet · manifest.json   one upload's accepted rows; never overwritten
datasets/{dataset_id}/training-{sha256}.json         the parts a training on this upload reads; named by its content
datasets/reference.json                              which dataset is the original reference: the first one with a profile
datasets/history.json                                accepted uploads in order of acceptance
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from dropforge import keys, retry_limits
from dropforge.config.settings import DataSettings
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.table_schema import Schema
from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore


class Entry(BaseModel):
    """One accepted upload."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset_id: str
    upload_id: str
    accepted_at: str
    revoked: str = ""  # when, by whom and why; the rows are in no training any more
    part: Part | None = None  # its rows; entries of older versions have it in the dataset's manifest only
    corrects: str = ""  # the upload whose quarantined rows these are, corrected; the first of a chain


class AcceptedRows(Protocol):
    """The accepted rows of a file, as an admission leaves them: a Parquet file and what identifies it."""

    @property
    def snapshot(self) -> Path:
        """The Parquet file of the rows."""

    @property
    def schema(self) -> Schema:
        """Columns and target."""

    @property
    def dataset_id(self) -> str:
        """Id derived from the rows' content."""

    @property
    def snapshot_sha256(self) -> str:
        """sha256 of the Parquet file."""

    @property
    def rows_used(self) -> int:
        """Number of rows."""

    @property
    def bundle_rules(self) -> tuple[dict[str, Any], ...]:
        """Rules that the rows were held to, as bundles keep them."""


class DatasetStore:
    """The datasets of one bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def save(self, rows: AcceptedRows, *, source: str, created_at: str) -> DatasetManifest:
        """Keep the snapshot and its manifest. The same content is kept once: a second save changes nothing."""
        part = Part(
            dataset_id=rows.dataset_id,
            uri=keys.snapshot(self._bucket, rows.dataset_id),
            rows=rows.rows_used,
            sha256=rows.snapshot_sha256,
        )
        manifest = DatasetManifest(
            dataset_id=rows.dataset_id,
            data_schema=rows.schema,
            parts=(part,),
            source=source,
            created_at=created_at,
            rules=rows.bundle_rules,
        )
        try:
            self._store.upload(rows.snapshot, part.uri, content_type="application/vnd.apache.parquet", if_absent=True)
        except Conflict:
            # Same rows, perhaps other bytes (another library version wrote them): the first file stays and is described.
            return self._finish(manifest)
        return self._finish(manifest)

    def _finish(self, manifest: DatasetManifest) -> DatasetManifest:
        uri = keys.dataset_manifest(self._bucket, manifest.dataset_id)
        try:
            self._store.put(
                uri, manifest.model_dump_json(indent=1).encode(), content_type="application/json", if_absent=True
            )
        except Conflict:
            return load_manifest(self._store, uri)
        return manifest

    def manifest(self, dataset_id: str) -> DatasetManifest:
        """Raises NotFound."""
        return load_manifest(self._store, keys.dataset_manifest(self._bucket, dataset_id))

    # --- the reference -------------------------------------------------------------------------------------------------
    def reference_id(self, settings: DataSettings) -> str:
        """The dataset id settings name, else the one that claimed it; empty when there is none yet."""
        if settings.reference != "first":
            return settings.reference
        try:
            return str(json.loads(self._store.get(keys.reference(self._bucket)).body)["dataset_id"])
        except NotFound:
            return ""

    def claim_reference(self, dataset_id: str) -> str:
        """Become the reference if nobody is; return who is."""
        body = json.dumps({"dataset_id": dataset_id}).encode()
        try:
            self._store.put(keys.reference(self._bucket), body, content_type="application/json", if_absent=True)
        except Conflict:
            return str(json.loads(self._store.get(keys.reference(self._bucket)).body)["dataset_id"])
        return dataset_id

    # --- the history ---------------------------------------------------------------------------------------------------
    def history(self) -> list[Entry]:
        """Accepted uploads in use, oldest first: what a training may read."""
        return [e for e in self.entries() if not e.revoked]

    def entries(self) -> list[Entry]:
        """Accepted uploads, revoked ones too, oldest first."""
        return self._history()[0]

    def revoke(self, dataset_id: str, revoked: str) -> Entry:
        """Take a dataset out of use (`revoked`: when, by whom, why), or bring it back with an empty text. Raises NotFound."""
        for entries, etag in self._readings():
            result = next((e for e in entries if e.dataset_id == dataset_id), None)
            if result is None:
                raise NotFound(
                    f"no accepted dataset {dataset_id!r}", code="dataset_unknown", fix="dropforge dataset list"
                )
            if bool(result.revoked) == bool(revoked):
                return result
            changed = result.model_copy(update={"revoked": revoked})
            if self._replace_history([changed if e.dataset_id == dataset_id else e for e in entries], etag):
                return changed
        raise _history_busy()

    def set_reference(self, dataset_id: str) -> str:
        """Make this the dataset that uploads are compared with; the one that was. Raises NotFound without profile, Conflict."""
        self._store.get(keys.profile(self._bucket, dataset_id))
        uri = keys.reference(self._bucket)
        try:
            stored = self._store.get(uri)
        except NotFound:
            return self.claim_reference(dataset_id)
        before = str(json.loads(stored.body)["dataset_id"])
        if before != dataset_id:
            body = json.dumps({"dataset_id": dataset_id}).encode()
            self._store.put(uri, body, content_type="application/json", if_match=stored.etag)
        return before

    def accept(self, entry: Entry) -> Entry:
        """Append to the history. A dataset is accepted once: returns the entry that holds it, ours or an earlier one."""
        return self._write_history(entry, replace=False)

    def take_over(self, entry: Entry) -> Entry:
        """Accept a dataset anew whose earlier upload came to nothing; it keeps its place in the order."""
        return self._write_history(entry, replace=True)

    def _history(self) -> tuple[list[Entry], str]:
        try:
            stored = self._store.get(keys.history(self._bucket))
        except NotFound:
            return [], ""
        return [Entry.model_validate(e) for e in json.loads(stored.body)], stored.etag

    def _write_history(self, entry: Entry, *, replace: bool) -> Entry:
        for entries, etag in self._readings():
            current = next((e for e in entries if e.dataset_id == entry.dataset_id), None)
            if current is not None and not replace:
                return current
            updated = (
                [entry if e.dataset_id == entry.dataset_id else e for e in entries] if current else [*entries, entry]
            )
            if self._replace_history(updated, etag):
                return entry
        raise _history_busy()

    def _readings(self) -> Iterator[tuple[list[Entry], str]]:
        """The history as it is, again after each lost race, at random intervals that grow."""
        for number in range(retry_limits.REWRITES):
            if number:
                time.sleep(random.uniform(0, retry_limits.REWRITE_PAUSE_SECONDS * number))  # noqa: S311 - spreads writers, hides nothing
            yield self._history()

    def _replace_history(self, entries: Sequence[Entry], etag: str) -> bool:
        """False for the slower of two writers."""
        body = json.dumps([e.model_dump() for e in entries], indent=1).encode()
        try:
            self._store.put(
                keys.history(self._bucket), body, content_type="application/json", if_match=etag, if_absent=not etag
            )
        except Conflict:
            return False
        return True

    # --- what training reads -------------------------------------------------------------------------------------------
    def training_manifest(
        self, manifest: DatasetManifest, reference_id: str, settings: DataSettings, family: Sequence[str] = ()
    ) -> str:
        """Write and return the URI of the list of parts by the history rule; the reference's part comes first.

        append: reference and every accepted upload up to this one; replace: this one only; window: reference and the last n.
        `family`: datasets that are one upload together with this one: those trained with it (a burst), the upload whose
        quarantined rows it brings back, and earlier corrections of that. `replace` reads them all, and they take one place of
        a window. Another rule, window or reference gives another list under another name; the same list is written once.
        """
        parts_of = {e.dataset_id: e.part for e in self.history()}
        accepted = list(parts_of)
        until = (
            accepted[: accepted.index(manifest.dataset_id) + 1]
            if manifest.dataset_id in accepted
            else [*accepted, manifest.dataset_id]
        )
        match settings.history:
            case "replace":
                chosen = [*family, manifest.dataset_id]
            case "window":
                stored = [d for d in until if d not in {reference_id, *family}][-settings.window :]
                chosen = [reference_id, *[d for d in family if d != reference_id], *stored]
            case _:
                chosen = [reference_id, *[d for d in until if d != reference_id]]
        parts_of[manifest.dataset_id] = manifest.parts[0]
        parts = [part for d in chosen for part in ((parts_of.get(d),) if parts_of.get(d) else self.manifest(d).parts)]
        # One read: the other parts' numbers keep their own types, whatever the newest file's schema says.
        other = manifest if reference_id == manifest.dataset_id else self.manifest(reference_id)
        training = manifest.model_copy(
            update={
                "parts": tuple(parts),
                "source": f"{settings.history} of {len(parts)}",
                "data_schema": _widened(manifest.data_schema, [other.data_schema], settings),
            }
        )
        body = training.model_dump_json(indent=1).encode()
        uri = keys.training_manifest(self._bucket, manifest.dataset_id, hashlib.sha256(body).hexdigest()[:16])
        try:
            self._store.put(uri, body, content_type="application/json", if_absent=True)
        except Conflict:
            return uri
        return uri


def _history_busy() -> Conflict:
    return Conflict("the dataset history is being written by too many writers", code="history_busy", fix="try again")


def _widened(schema: Schema, others: Sequence[Schema], settings: DataSettings) -> Schema:
    """The schema in which a column of whole numbers is one of numbers where any of the parts has fractions."""
    numbers = {c.name for other in others for c in other.columns if c.kind == "number"}
    declared = {name for name, override in settings.columns.items() if override.type}
    columns = [
        c.model_copy(update={"kind": "number"})
        if c.kind == "integer" and c.name in numbers and c.name not in declared
        else c
        for c in schema.columns
    ]
    return schema.model_copy(update={"columns": tuple(columns)})


def load_manifest(store: ObjectStore, uri: str) -> DatasetManifest:
    """Raises NotFound."""
    return DatasetManifest.model_validate_json(store.get(uri).body)
