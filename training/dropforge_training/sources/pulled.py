"""How far a source was pulled, kept in the bucket, and what one pull brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from dropforge import keys
from dropforge.errors import NotFound
from dropforge.ports import ObjectStore


class Position(BaseModel):
    """`uploads/pulled/{source}.json`. `version`: of a Delta table, of an Iceberg table its snapshot; `value`: the largest of the
    increment column, as text; `place`: what was read, so that a source that names another table begins anew.
    """

    model_config = ConfigDict(frozen=True)

    place: str
    version: int = -1
    value: str = ""


@dataclass(frozen=True, slots=True)
class Pulled:
    """`file` has `rows` new rows, none: no file is needed. `after`: where the next pull begins. `remarks` are for people."""

    file: Path
    rows: int
    after: Position
    remarks: tuple[str, ...] = ()


class Positions:
    """Positions in the bucket; written under conditions only."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def read(self, source: str, place: str) -> tuple[Position, str]:
        """The position with its ETag; the beginning where this place was never pulled."""
        try:
            stored = self._store.get(keys.pulled_position(self._bucket, source))
        except NotFound:
            return Position(place=place), ""
        position = Position.model_validate_json(stored.body)
        return (position if position.place == place else Position(place=place)), stored.etag

    def write(self, source: str, position: Position, etag: str) -> None:
        """Raises Conflict when another pull was quicker."""
        uri = keys.pulled_position(self._bucket, source)
        body = position.model_dump_json(indent=1).encode()
        self._store.put(uri, body, content_type="application/json", if_match=etag, if_absent=not etag)
