"""The index of uploads: empty objects whose names sort as the lists are read, so that no list reads more than it shows.

    uploads/by-time/{9999… - ms}-{id}             every upload, the newest first
    uploads/by-key/{sha256(key)}/{9999… - ms}-{id}  the uploads of one key, the newest first
    uploads/quarantined/{9999… - ms}-{id}         those with quarantined rows, the newest first
    uploads/open/{stage}/{ms}-{id}                those that have not ended, the one that waits longest first
    uploads/open/waiting/{ms}-{id}-{rows}         accepted, to be trained together with what comes within the quiet period

An entry is written before the record that it belongs to and deleted after it: a record is never without its entry, an entry may
be left over from a writer that died. Whoever acts on an entry reads the record first. docs/adr/0001-upload-index.md has why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from dropforge import keys
from dropforge.errors import InvalidRequest
from dropforge.ports import ObjectStore

Stage = Literal["analysis", "scoring", "approval", "waiting", "training"]
STAGES: Final[tuple[Stage, ...]] = ("analysis", "scoring", "approval", "waiting", "training")
_LAST = 10**13 - 1  # milliseconds: the year 2286
_CURSOR = re.compile(r"[0-9]{13}-[0-9a-f]{20}")


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An entry of `uploads/open/`; `since`: when the upload entered the stage; `rows`: accepted ones, of a waiting upload."""

    upload_id: str
    stage: Stage
    since: datetime
    rows: int
    uri: str


@dataclass(frozen=True, slots=True)
class Page:
    """Upload ids in the order of the list, and the cursor of the page after it; empty when there is none."""

    upload_ids: tuple[str, ...]
    cursor: str


class UploadIndex:
    """The entries of one bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def by_time(self, upload_id: str, received_at: str) -> str:
        """Enter the upload in the index by time."""
        return keys.uploads_by_time_folder(self._bucket) + _newest_first(upload_id, received_at)

    def by_key(self, upload_id: str, received_at: str, key: str) -> str:
        """Enter the upload in the index of its key."""
        return keys.uploads_of_key_folder(self._bucket, key) + _newest_first(upload_id, received_at)

    def quarantined(self, upload_id: str, received_at: str) -> str:
        """Enter the upload in the index of those with quarantined rows."""
        return keys.uploads_quarantined_folder(self._bucket) + _newest_first(upload_id, received_at)

    def open(self, upload_id: str, stage: Stage, since: str, rows: int = 0) -> str:
        """Enter the upload among those in this stage."""
        end = f"-{rows}" if stage == "waiting" else ""
        return f"{keys.uploads_open_folder(self._bucket, stage)}{_milliseconds(since):013d}-{upload_id}{end}"

    def newest(self, limit: int, cursor: str = "") -> Page:
        """Every upload. Raises InvalidRequest for a cursor that is none."""
        return self._page(keys.uploads_by_time_folder(self._bucket), limit, cursor)

    def of_key(self, key: str, limit: int, cursor: str = "") -> Page:
        """A page of the uploads of a key, newest first."""
        return self._page(keys.uploads_of_key_folder(self._bucket, key), limit, cursor)

    def with_quarantine(self, limit: int, cursor: str = "") -> Page:
        """A page of the uploads with quarantined rows, newest first."""
        return self._page(keys.uploads_quarantined_folder(self._bucket), limit, cursor)

    def longest_open(self, stage: Stage, limit: int) -> Iterator[OpenUpload]:
        """At most `limit`, the one that has been in the stage longest first. Entries only: read the record before acting."""
        prefix = keys.uploads_open_folder(self._bucket, stage)
        for result in self._store.list(prefix, limit=limit):
            since, upload_id, *rows = result.uri.removeprefix(prefix).split("-")
            at = datetime.fromtimestamp(int(since) / 1000, UTC)
            yield OpenUpload(upload_id, stage, at, int(rows[0]) if rows else 0, result.uri)

    def _page(self, prefix: str, limit: int, cursor: str) -> Page:
        if cursor and not _CURSOR.fullmatch(cursor):
            raise InvalidRequest("cursor is none of ours", code="cursor_unknown", fix="send `next` of the page before")
        # One more than is shown tells whether there is another page.
        names = [
            o.uri.removeprefix(prefix)
            for o in self._store.list(prefix, after=cursor and prefix + cursor, limit=limit + 1)
        ]
        shown = names[:limit]
        return Page(tuple(n.partition("-")[2] for n in shown), shown[-1] if len(names) > limit else "")


def _newest_first(upload_id: str, at: str) -> str:
    return f"{_LAST - _milliseconds(at):013d}-{upload_id}"


def _milliseconds(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)
