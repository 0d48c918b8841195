"""Every change of the active model, in order: `serving/history/{n}.json`, append-only, each record holding the hash of the one before.

With a key (`MacKey`) each entry also has a code that only its holders can make: a chain that was rebuilt is then seen. An
entry without one is accepted only when the store wrote it before the key was created.

The deployment history is written first, the pointer `serving/active.json` follows from its last record. A writer that dies in
between leaves one record more than the pointer knows; whoever changes the model next completes it (`settled`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dropforge import keys
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.errors import BundleRejected, Conflict, NotFound

if TYPE_CHECKING:
    from dropforge.ports import MacKey, ObjectStore

_PURPOSE = b"dropforge deployment history entry\n"  # a MAC of the same key for anything else is none of an entry
_AT_ONCE = 8
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `to` and `before` are the whole pointer after and before it; `restores` is the entry a rollback went back to."""

    number: int
    at: str
    by: str
    action: str  # set_model | rollback | candidate
    reason: str
    before: Mapping[str, Any] | None
    to: Mapping[str, Any]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    restores: int = 0
    previous_sha256: str = ""
    mac: str = ""  # of everything else; empty without a key

    def to_json(self) -> bytes:
        """Canonical bytes; the next entry holds their sha256."""
        value = {("from" if k == "before" else k): v for k, v in asdict(self).items() if k != "mac" or v}
        return _canonical(value)

    def active(self, sha256: str) -> Active:
        """The pointer that follows from this entry. Raises BundleRejected when `to` is none."""
        return replace(Active.from_dict(self.to), record_sha256=sha256)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it lies in the store; `entry` is None when the bytes are no entry. `message`: what its MAC is made of."""

    number: int
    sha256: str
    entry: Entry | None
    message: bytes = b""


@dataclass(frozen=True, slots=True)
class Verification:
    """What is wrong, in words (nothing when all is well); entries whose MAC the key made, and entries without one."""

    problems: list[str]
    keyed: int = 0
    unkeyed: int = 0


def parse(body: bytes) -> Entry | None:
    """None for bytes that are no entry. Records of before the chain (no action, no hash) are read too."""
    try:
        value = json.loads(body)
        value["before"] = value.pop("from")
        value.setdefault("reason", value.get("why", ""))  # its name in entries of earlier releases
        known = {k: v for k, v in value.items() if k in Entry.__dataclass_fields__}
        return Entry(**{"action": "set_model", **known})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def message_of(body: bytes) -> bytes:
    """What the MAC of an entry authenticates: the hash of all its fields but the MAC; empty for bytes that are no entry.

    A hash, because KMS takes 4096 bytes; the stored fields, because a later release may write more of them.
    """
    try:
        value = json.loads(body)
        value.pop("mac", None)
        return _PURPOSE + hashlib.sha256(_canonical(value)).digest()
    except (ValueError, AttributeError, TypeError):
        return b""


class DeploymentHistory:
    """The deployment history of one bucket, and the one way to change its pointer. `key` authenticates entries; None
    where none is configured."""

    def __init__(self, store: ObjectStore, bucket: str, key: MacKey | None = None) -> None:
        self._store = store
        self._key = key
        self._root = keys.deployments_folder(bucket)
        self._pointer = ActivePointer(store, bucket)

    def uri(self, number: int) -> str:
        """Where the entry of this number is."""
        return f"{self._root}{number:08d}.json"

    def get(self, number: int) -> StoredEntry | None:
        """None when there is no such entry."""
        try:
            body = self._store.get(self.uri(number)).body
        except NotFound:
            return None
        return StoredEntry(number, hashlib.sha256(body).hexdigest(), parse(body), message_of(body))

    def last_number(self) -> int:
        """0 for an empty ledger."""
        numbers = [_number(o.uri) for o in self._store.list(self._root)]
        return max(numbers, default=0)

    def read(self, first: int, last: int) -> list[StoredEntry | None]:
        """Entries `first` to `last`, None where one is missing."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.get, range(first, last + 1)))

    def settled(self) -> tuple[Active | None, str]:
        """The pointer and its etag, after completing a change whose writer died between ledger and pointer.

        A pointer that is gone or unreadable is made again from the deployment history's last entry. None while nothing was ever set.
        Raises Conflict when others keep changing it.
        """
        for _ in range(_TRIES):
            active, etag = self._pointer_or_none()
            ahead = self.get(active.number + 1 if active else self.last_number())
            if ahead is None:
                return active, etag
            following = self._following(ahead)
            try:
                self._pointer.replace(following, etag)
            except Conflict:
                continue
        raise _lost()

    def _following(self, stored_entry: StoredEntry) -> Active:
        try:
            if stored_entry.entry is not None and (self._key is None or self._authentic(stored_entry)):
                return stored_entry.entry.active(stored_entry.sha256)
        except BundleRejected:
            pass
        raise Conflict(
            f"{self.uri(stored_entry.number)} is no entry of the deployment history, or was not written by this system",
            code="ledger_broken",
            fix="restore the object's earlier version, or move it away; GET /history lists every problem",
        )

    def change(self, make: Callable[[Active | None, int], Entry]) -> Entry:
        """Append the entry that `make(active, number)` returns and set the pointer to it; return it as written.

        Raises Conflict for the slower of two, and whatever `make` raises: then nothing has changed.
        """
        active, etag = self.settled()
        number = (active.number if active else self.last_number()) + 1
        before = self.get(number - 1) if number > 1 else None
        created = replace(make(active, number), previous_sha256=before.sha256 if before else "")
        if self._key is not None:
            created = replace(created, mac=self._key.generate(message_of(created.to_json())))
        body = created.to_json()
        try:
            self._store.put(self.uri(number), body, content_type="application/json", if_absent=True)
        except Conflict:
            raise _lost() from None
        try:
            self._pointer.replace(created.active(hashlib.sha256(body).hexdigest()), etag)
        except Conflict:
            # Another writer found our entry first and completed it for us; anything else is a pointer written past the ledger.
            now, _ = self._pointer_or_none()
            if now is None or now.number < number:
                raise _lost() from None
        return created

    def verify(self, first: int, last: int) -> Verification:
        """Check entries `first` to `last` and the pointer: hashes, and with a key each entry's MAC.

        It cannot show that the newest entries were removed together with the pointer that named them.
        """
        result = self.read(max(first - 1, 1), last)
        checked = [k for k in result if k is not None and k.entry is not None and k.number >= first]
        unkeyed = [k for k in checked if k.entry and not k.entry.mac]
        wrong, keyed = self._chain(result, max(first - 1, 1)), 0
        if self._key is not None:
            named = [k for k in checked if k.entry and k.entry.mac]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                authentic = dict(zip([k.number for k in named], pool.map(self._authentic, named), strict=True))
            keyed = sum(authentic.values())
            wrong += [
                f"entry {n} was altered, or written with another key: its MAC does not match"
                for n, holds in authentic.items()
                if not holds
            ]
            wrong += self._without_mac(unkeyed)
        return Verification(wrong + self._pointing(), keyed, len(unkeyed))

    def _authentic(self, stored_entry: StoredEntry) -> bool:
        mac = stored_entry.entry.mac if stored_entry.entry else ""
        # Anything but a text is no MAC: the object may be anybody's.
        return bool(
            self._key
            and stored_entry.message
            and mac
            and isinstance(mac, str)
            and self._key.verify(stored_entry.message, mac)
        )

    def _without_mac(self, unkeyed: list[StoredEntry]) -> list[str]:
        """Entries without a MAC that the store wrote after the key was created. The store's time is not the writer's to choose."""
        if self._key is None or not unkeyed:
            return []
        created = self._key.created_at()
        written = {_number(o.uri): datetime.fromisoformat(o.modified) for o in self._store.list(self._root)}
        return [
            f"entry {k.number} has no MAC, and was written after the key of the history was created"
            for k in unkeyed
            if k.number in written and written[k.number] >= created
        ]

    @staticmethod
    def _chain(stored_entries: list[StoredEntry | None], start: int) -> list[str]:
        """Missing, unreadable and altered entries among those from number `start` on."""
        wrong = []
        for n, stored in enumerate(stored_entries, start):
            if stored is None:
                wrong.append(f"entry {n} is missing")
            elif stored.entry is None or stored.entry.number != n:
                wrong.append(f"entry {n} cannot be read as entry {n}")
        for before, stored in itertools.pairwise(stored_entries):
            if before and stored and stored.entry and stored.entry.previous_sha256 not in {before.sha256, ""}:
                wrong.append(f"entry {before.number} was altered: entry {stored.number} holds another hash of it")
        return wrong

    def _pointing(self) -> list[str]:
        """What is wrong with the pointer. One without a hash is older than the chain; an entry with a MAC never had such a one."""
        active, _ = self._pointer_or_none()
        if active is None:
            return ["serving/active.json is missing or cannot be read"]
        stored = self.get(active.number)
        if stored is None:
            return [f"serving/active.json names entry {active.number}, which is missing"]
        if not active.record_sha256 and not (stored.entry and stored.entry.mac):
            return []
        if stored.sha256 != active.record_sha256:
            return [f"entry {active.number} was altered: serving/active.json holds another hash of it"]
        if stored.entry and stored.entry.active(stored.sha256) != active:
            return [f"serving/active.json is not what entry {active.number} says"]
        return []

    def _pointer_or_none(self) -> tuple[Active | None, str]:
        """The etag is there for a pointer that cannot be read, so that it can be replaced."""
        try:
            return self._pointer.read()
        except NotFound:
            return None, ""
        except BundleRejected:
            return None, self._pointer.etag()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()


def _number(uri: str) -> int:
    stem = uri.rpartition("/")[2].removesuffix(".json")
    return int(stem) if stem.isdigit() else 0


def _lost() -> Conflict:
    return Conflict(
        "the active model was changed by somebody else at the same time",
        code="switch_conflict",
        fix="read GET /model_info and decide again",
    )
