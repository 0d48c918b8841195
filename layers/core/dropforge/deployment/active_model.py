"""Which model answers: `serving/active.json`, changed by conditional writes. deployment/history.py keeps every change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dropforge import keys
from dropforge.errors import BundleRejected, Conflict, NotFound

if TYPE_CHECKING:
    from dropforge.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Candidate:
    """A second model beside the active one: it answers a share of requests (`weight`), or is scored in the shadow, or both."""

    model: str
    version: str
    alias: str
    run_id: str
    bundle_uri: str
    bundle_sha256: str
    weight: float = 0.0
    shadow: bool = False

    def identity(self) -> dict[str, Any]:
        """name, version, alias and run id."""
        return {"name": self.model, "version": self.version, "alias": self.alias, "run_id": self.run_id}


@dataclass(frozen=True, slots=True)
class Active:
    """The pointer: one model version, its bundle and the hash of the bundle's manifest."""

    model: str
    version: str
    alias: str
    run_id: str
    bundle_uri: str
    bundle_sha256: str
    number: int = 1  # of the change; the history keeps one record for each
    set_at: str = ""
    set_by: str = ""
    max_rows: int = 1000
    max_body_bytes: int = 5_000_000
    capture: float = 0.0  # share of requests kept under captured/
    rules: str = "warn"  # of requests that violate the model's rules: warn, refuse or off
    candidate: Candidate | None = None
    record_sha256: str = ""  # of the deployment history entry this follows from
    format_version: int = 1

    def to_json(self) -> bytes:
        """The bytes of serving/active.json."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Active:
        """Raises BundleRejected when the pointer is not one."""
        try:
            value = json.loads(body)
        except ValueError as error:
            raise _broken(error) from None
        return cls.from_dict(value)

    @classmethod
    def from_dict(cls, value: Any) -> Active:
        """Of a JSON value; fields that a later version added are left out. Raises BundleRejected when it is none."""
        try:
            known = {k: v for k, v in value.items() if k in cls.__dataclass_fields__}
            if known.get("candidate"):
                second = known["candidate"]
                known["candidate"] = Candidate(
                    **{k: v for k, v in second.items() if k in Candidate.__dataclass_fields__}
                )
            return cls(**known)
        except (TypeError, AttributeError) as error:
            raise _broken(error) from None

    def identity(self) -> dict[str, Any]:
        """What every answer says about the model that gave it."""
        return {"name": self.model, "version": self.version, "alias": self.alias, "run_id": self.run_id}


def _broken(error: Exception) -> BundleRejected:
    return BundleRejected(f"serving/active.json cannot be read: {error}", code="active_broken", fix="POST /set_model")


class ActivePointer:
    """The pointer of one bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._uri = keys.active(bucket)

    def read(self) -> tuple[Active, str]:
        """The active model and the pointer's etag. Raises NotFound when none was ever set."""
        try:
            stored = self._store.get(self._uri)
        except NotFound:
            raise none_active() from None
        return Active.from_json(stored.body), stored.etag

    def read_if_changed(self, etag: str) -> tuple[Active, str] | None:
        """None while the pointer still has this etag."""
        stored = self._store.get_if_changed(self._uri, etag)
        return None if stored is None else (Active.from_json(stored.body), stored.etag)

    def replace(self, new: Active, etag: str) -> None:
        """Set the pointer if it still has `etag` (empty: if there is none). Raises Conflict for the slower of two."""
        try:
            self._store.put(
                self._uri, new.to_json(), content_type="application/json", if_match=etag, if_absent=not etag
            )
        except Conflict:
            raise Conflict(
                "the active model was changed by somebody else at the same time",
                code="switch_conflict",
                fix="read GET /model_info and decide again",
            ) from None

    def etag(self) -> str:
        """Of the pointer as it is, readable or not; empty when there is none."""
        result = self._store.stat(self._uri)
        return result.etag if result else ""


def none_active() -> NotFound:
    """The error where no model is active."""
    return NotFound(
        "no model is active yet",
        code="no_active_model",
        fix="set an alias on a version in MLflow (or by `dropforge alias`), then POST /set_model",
        status=409,
    )
