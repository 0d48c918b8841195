"""Folders of parts under `incoming/`, each of which is one upload when it is complete: who waits for it, and what was read.

Events of parts may come in any order, twice, late or never: what counts is what the bucket lists. The first one starts an execution
of the workflow that waits and asks join_parts.due. `uploads/parts/{folder}.json` says which parts earlier rounds have read, and
which lines of the joined file are theirs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from dropforge import ids, keys, retry_limits
from dropforge.config.settings import PartsSettings
from dropforge.errors import Conflict, NotFound
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import Reason, UploadRecord

# Names that Spark, Hadoop, Hive, Dask, Athena and DuckDB give to parts of one table.
_PART: Final = re.compile(r"part[-._]\w.*|\d{6}_\d+.*|data_\d+\..+", re.IGNORECASE).fullmatch
OF_WRITERS: Final = re.compile(r"_SUCCESS|_committed_.*|_started_.*|_metadata|_common_metadata|\..*\.crc").fullmatch
UNFINISHED: Final = ("_temporary", "_delta_log", "_spark_metadata")
_FORM: Final = re.compile(r"\d{4}/\d\d/\d\d/[0-9a-f]{12}/").match  # of POST /upload_data: one file each

Clock = Callable[[], datetime]


def now() -> datetime:
    """The clock of the machine, with UTC as its zone."""
    return datetime.now(UTC)


class JoinedPart(BaseModel):
    """A part that was read: its bytes, and its lines (of Parquet: rows) of the joined file, from 1; 0: a copy of another part."""

    model_config = ConfigDict(frozen=True)

    etag: str
    version: str
    first: int = 0
    last: int = 0


class Folder(BaseModel):
    """`uploads/parts/{folder}.json`. `round`: the one that parts wait for now; `success`: when the _SUCCESS used last was written;
    `refused`: content of parts that were no table; `uploads`: keys of what was joined, the newest last.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    round: int = 1
    executions: int = 1  # started for this round: one, and more when it died
    waiting: bool = True
    parts: dict[str, JoinedPart] = {}
    success: str = ""
    refused: str = ""
    uploads: tuple[str, ...] = ()


def folder_of(key: str, parts: PartsSettings) -> str:
    """The folder (a key that ends in `/`) whose part the object is; empty for an upload by itself."""
    rest = key.removeprefix(keys.INCOMING)
    own = key.startswith((keys.REPLAYED, keys.JOINED, keys.PULLED)) or _FORM(rest)
    *folders, file = rest.split("/")
    if not folders or own or parts.folders == "none":
        return ""
    plain = [f for f in folders if "=" not in f and f not in UNFINISHED]
    top = folders[: next((n for n, f in enumerate(folders) if "=" in f or f in UNFINISHED), len(folders))]
    of_writer = bool(_PART(file) or OF_WRITERS(file)) or len(plain) < len(folders)
    return f"{keys.INCOMING}{'/'.join([*top, ''])}" if top and (of_writer or parts.folders == "all") else ""


def wait_for(folder: str, key: str, version: str, parts: PartsSettings, ports: Ports) -> None:
    """Make sure that an execution waits for the folder's present round, unless the part has been read."""
    folders = Folders(ports)
    current, etag = folders.read(folder)
    if not etag:
        current, _ = folders.create(current)
    for _ in range(retry_limits.REWRITES):
        part = current.parts.get(key)
        if part is not None and version in {part.version, part.etag}:
            return
        start(current, parts, ports)
        before, (current, _) = current, folders.read(folder)
        if current.round == before.round:
            return


def start(current: Folder, parts: PartsSettings, ports: Ports) -> None:
    """Start the execution that waits for the folder's round; it is started once."""
    name = ids.parts_name(current.folder, current.round, current.executions)
    wait = max(1, math.ceil(parts.success_minutes * 60))
    ports.workflow.start(name, json.dumps({"round": {"folder": current.folder}, "wait_seconds": wait}))


# --- the folder's record -------------------------------------------------------------------------------------------------
class Folders:
    """Records of folders; written under conditions only."""

    def __init__(self, ports: Ports) -> None:
        self._store = ports.store
        self._bucket = ports.data_bucket

    def read(self, folder: str) -> tuple[Folder, str]:
        """The record with its ETag, which is empty where there is none yet."""
        try:
            stored = self._store.get(keys.parts_of_folder(self._bucket, folder))
        except NotFound:
            return Folder(folder=folder), ""
        return Folder.model_validate_json(stored.body), stored.etag

    def create(self, new: Folder) -> tuple[Folder, str]:
        """The record that is there now, whoever wrote it."""
        try:
            return new, self.replace(new, "")
        except Conflict:
            return self.read(new.folder)

    def replace(self, new: Folder, etag: str) -> str:
        """The new etag. Raises Conflict for the slower of two."""
        body = new.model_dump_json().encode()
        uri = keys.parts_of_folder(self._bucket, new.folder)
        return self._store.put(uri, body, content_type="application/json", if_match=etag, if_absent=not etag)


def revive(ports: Ports, parts: PartsSettings, older_than: timedelta, clock: Clock = now) -> str:
    """Recovery: folders whose waiting execution died are waited for again; what was done, or nothing."""
    done = []
    before = clock() - older_than
    for stat in ports.store.list(keys.parts_folder(ports.data_bucket), limit=retry_limits.RECOVERED_AT_ONCE):
        if datetime.fromisoformat(stat.modified) > before:
            continue
        stored = ports.store.get(stat.uri)
        current = Folder.model_validate_json(stored.body)
        name = ids.parts_name(current.folder, current.round, current.executions)
        if not current.waiting or ports.workflow.status(name) == "RUNNING":
            continue
        if current.executions >= retry_limits.EXECUTIONS:
            _give_up(current, ports)
            following = {"round": current.round + 1, "executions": 1, "waiting": False}
            Folders(ports).replace(current.model_copy(update=following), stored.etag)
            done.append(f"{current.folder} failed")
            continue
        again = current.model_copy(update={"executions": current.executions + 1})
        Folders(ports).replace(again, stored.etag)
        start(again, parts, ports)
        done.append(f"{current.folder} is waited for again")
    return "; ".join(done)


def _give_up(current: Folder, ports: Ports) -> None:
    version = f"round {current.round}"
    record = ports.book.open(
        UploadRecord(
            upload_id=ids.upload_id(ports.data_bucket, current.folder, version),
            bucket=ports.data_bucket,
            key=current.folder,
            version=version,
        )
    )
    reason = Reason(
        stage="admission",
        code="parts_died",
        message=f"joining the parts ended {current.executions} times without a result",
        fix="read `dropforge logs` for analyze; write fewer and smaller parts, or run `dropforge upload FOLDER`",
    )
    if record.state == "received":
        ports.book.advance(record.upload_id, "failed", reason=reason)
