"""An append-only journal of JSON lines on the object store: object n is written once, by whoever is first.

`append = conditional put of the next number` makes it safe for any number of writers with nothing but the store. A writer
reads only what others have put in before it; from time to time the whole journal so far is kept as one snapshot, so that
a late reader needs a few requests instead of one an object.
"""

from __future__ import annotations

import json
from typing import Any

from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore
from dropforge.s3_uri import join

SNAPSHOT_EVERY = 50  # objects


class Journal:
    """Entries in one order that all readers agree on. A crash between two appends leaves a shorter journal, never a torn one."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._entries: list[dict[str, Any]] = []
        self._objects = 0

    def read(self, start: int) -> list[dict[str, Any]]:
        """Entries from number `start` on, as of now."""
        self.refresh()
        return self._entries[start:]

    def refresh(self) -> None:
        """Take in what others have appended: one request more than there are new objects."""
        if not self._objects:
            self._from_snapshot()
        self._catch_up(None)

    def seen(self) -> list[dict[str, Any]]:
        """Entries taken in so far; asks nobody."""
        return self._entries

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Append the entries together; others' entries may come before them."""
        body = json.dumps(entries).encode()
        while True:
            try:
                self._store.put(self._uri(self._objects), body, content_type="application/json", if_absent=True)
            except Conflict:
                # The client may have tried twice: the answer to the put that did it was lost.
                if not self._catch_up(body):
                    continue
            else:
                self._take(body)
            break
        if self._objects % SNAPSHOT_EVERY == 0:
            self._keep_snapshot()

    def claim(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        """The value that was first given for this name, by whichever writer: one's own, where nobody was quicker."""
        uri = join(self._folder, "claims", f"{name}.json")
        try:
            self._store.put(uri, json.dumps(value).encode(), content_type="application/json", if_absent=True)
        except Conflict:  # or one's own first try, whose answer was lost
            first: dict[str, Any] = json.loads(self._store.get(uri).body)
            return first
        return value

    def _catch_up(self, own: bytes | None) -> bool:
        """Take in what is there; True when `own` is among it."""
        while True:
            try:
                body = self._store.get(self._uri(self._objects)).body
            except NotFound:
                return False
            self._take(body)
            if body == own:
                return True

    def _from_snapshot(self) -> None:
        matches = [o.uri for o in self._store.list(join(self._folder, "snapshots") + "/")]
        if matches:
            stored = json.loads(self._store.get(matches[-1]).body)
            self._entries, self._objects = stored["entries"], stored["objects"]

    def _keep_snapshot(self) -> None:
        body = json.dumps({"objects": self._objects, "entries": self._entries}).encode()
        uri = join(self._folder, "snapshots", f"{self._objects:08d}.json")
        self._store.put(uri, body, content_type="application/json")  # whoever writes it writes the same

    def _take(self, body: bytes) -> None:
        self._entries.extend(json.loads(body))
        self._objects += 1

    def _uri(self, number: int) -> str:
        return join(self._folder, f"{number:08d}.json")
