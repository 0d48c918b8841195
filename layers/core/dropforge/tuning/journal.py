"""An append-only journal of JSON lines on the object store: entry n is the object n, written once by whoever is first.

`append = conditional put of the next number` makes it safe for any number of writers with nothing but the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore
from dropforge.uris import join


class Journal:
    """Entries in one order that all readers agree on. A crash between two appends leaves a shorter journal, never a torn one."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._entries: list[dict[str, Any]] = []
        self._objects = 0

    def read(self, start: int) -> Iterable[dict[str, Any]]:
        """Entries from number `start` on, as of now."""
        while True:
            try:
                body = self._store.get(self._uri(self._objects)).body
            except NotFound:
                return self._entries[start:]
            self._take(body)

    def append(self, entries: list[dict[str, Any]]) -> None:
        """Append the entries together; others' entries may come before them."""
        body = json.dumps(entries).encode()
        while True:
            try:
                self._store.put(self._uri(self._objects), body, content_type="application/json", if_absent=True)
            except Conflict:
                self._take(self._store.get(self._uri(self._objects)).body)
                continue
            self._take(body)
            return

    def _take(self, body: bytes) -> None:
        self._entries.extend(json.loads(body))
        self._objects += 1

    def _uri(self, number: int) -> str:
        return join(self._folder, f"{number:08d}.json")
