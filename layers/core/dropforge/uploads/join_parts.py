"""The parts of a folder under `incoming/`, joined to one file that is an upload like any other.

A folder is complete when it has a `_SUCCESS`, or when nothing new has come for data.parts.quiet_minutes. Then the parts that no
earlier round has read become `incoming/joined/{content}/…`, whose key is its content: joined twice, it is one object version, one
event and one upload.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dropforge import ids, keys, s3_uri
from dropforge.config import settings_store
from dropforge.config.settings import DataSettings, PartsSettings
from dropforge.errors import Conflict, InvalidRequest, RejectedUpload
from dropforge.ingest import many_files
from dropforge.ingest.ingest_file import check_size
from dropforge.messages import UploadEvent
from dropforge.ports import REQUESTS_AT_ONCE, ObjectStat
from dropforge.uploads import folder_parts
from dropforge.uploads.analyze_upload import analyze, reject
from dropforge.uploads.folder_parts import Clock, Folder, Folders, JoinedPart
from dropforge.uploads.upload_attempt import Invocation
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import UploadRecord

SUCCESS: Final = "_SUCCESS"
_SHOWN: Final = 20  # joined files that a record names


def receive(event: UploadEvent, ports: Ports, invocation: Invocation | None = None) -> str:
    """The state of the upload that this object is, or `part` for a part of one that is not complete yet."""
    if "/" in event.key.removeprefix(keys.INCOMING):
        settings, _ = settings_store.in_force(ports.store, ports.data_bucket)
        folder = folder_parts.folder_of(event.key, settings.data.parts)
        if folder:
            folder_parts.wait_for(folder, event.key, event.version, settings.data.parts, ports)
            return "part"
    return analyze(event, ports, invocation).state


def due(folder: str, ports: Ports, *, clock: Clock = folder_parts.now) -> int:
    """Seconds to wait before asking again; 0 when the folder's new parts were joined, or there are none."""
    settings, _ = settings_store.in_force(ports.store, ports.data_bucket)
    current, etag = Folders(ports).read(folder)
    listed = _Listed.read(folder, current, ports)
    if listed.fresh and listed.content != current.refused:
        seconds = listed.seconds_left(current, settings.data.parts, clock())
        if seconds > 0:
            return math.ceil(seconds)
        current = _join(listed, current, settings.data, ports)
    _close(current, etag, settings.data.parts, ports)
    return 0


def _close(current: Folder, etag: str, parts: PartsSettings, ports: Ports) -> None:
    """End the round. Who comes after it starts the next one; what came in the meantime is seen here."""
    following = current.model_copy(update={"round": current.round + 1, "executions": 1, "waiting": False})
    folders = Folders(ports)
    try:
        etag = folders.replace(following, etag)
    except Conflict:  # an execution started anew by recovery was quicker
        return
    listed = _Listed.read(current.folder, following, ports)
    if listed.fresh and listed.content != following.refused:
        waiting = following.model_copy(update={"waiting": True})
        folders.replace(waiting, etag)
        folder_parts.start(waiting, parts, ports)


# --- what the bucket lists -----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Listed:
    folder: str
    fresh: Mapping[str, ObjectStat]  # parts that no round has read, by key; copies of such as were read are none
    success: ObjectStat | None
    everything: int

    @classmethod
    def read(cls, folder: str, current: Folder, ports: Ports) -> _Listed:
        uri = keys.uri(ports.data_bucket, folder)
        known = {(p.etag, _partition(key)) for key, p in current.parts.items()}
        fresh: dict[str, ObjectStat] = {}
        success, count = None, 0
        for stat in ports.store.list(uri, limit=2 * many_files.MOST):
            key = s3_uri.split(stat.uri)[1]
            name = key.rpartition("/")[2]
            if key == f"{folder}{SUCCESS}":
                success = stat
            elif folder_parts.OF_WRITERS(name) or not stat.size or set(key.split("/")) & set(folder_parts.UNFINISHED):
                continue
            else:
                count += 1
                if (stat.etag, _partition(key)) not in known:
                    fresh[key] = stat
        return cls(folder, fresh, success, count)

    @property
    def content(self) -> str:
        """Names what would be joined: the same parts are the same file."""
        return _content(self.fresh)

    def seconds_left(self, current: Folder, parts: PartsSettings, at: datetime) -> float:
        """Until the folder counts as complete. A _SUCCESS may come before parts that are sent with it: both must have settled."""
        newest = max(datetime.fromisoformat(stat.modified) for stat in self.fresh.values())
        quiet = timedelta(minutes=parts.quiet_minutes) - (at - newest)
        if self.success is None or self.success.modified == current.success:
            return quiet.total_seconds()
        newest = max(newest, datetime.fromisoformat(self.success.modified))
        settled = timedelta(minutes=parts.success_minutes) - (at - newest)
        return min(quiet, settled).total_seconds()


def _content(parts: Mapping[str, ObjectStat]) -> str:
    listed = sorted(f"{key}\n{stat.etag}" for key, stat in parts.items())
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:20]


def _partition(key: str) -> tuple[str, ...]:
    return tuple(f for f in key.split("/")[:-1] if "=" in f)


# --- one file of them ----------------------------------------------------------------------------------------------------
def _join(listed: _Listed, current: Folder, data: DataSettings, ports: Ports) -> Folder:
    """Put the joined file, or record why there is none; the folder's record as it is afterwards."""
    success = listed.success.modified if listed.success else current.success
    try:
        _check(listed, data)
        with tempfile.TemporaryDirectory(prefix="dropforge-parts-") as work:
            key, parts = _put(listed, Path(work), data, ports)
    except (RejectedUpload, InvalidRequest) as error:
        _reject(listed, error, ports)
        return current.model_copy(update={"refused": listed.content, "success": success})
    ports.log.info("parts joined", extra={"folder": listed.folder, "parts": len(listed.fresh), "key": key})
    return current.model_copy(
        update={
            "parts": {**current.parts, **parts},
            "success": success,
            "refused": "",
            "uploads": (*current.uploads, key)[-_SHOWN:],
        }
    )


def _check(listed: _Listed, data: DataSettings) -> None:
    if listed.everything > many_files.MOST:
        raise RejectedUpload(
            f"{listed.folder} has more than {many_files.MOST:,} parts",
            code="too_many_parts",
            fix="write fewer and larger files, or to a new folder",
        )
    check_size(sum(stat.size for stat in listed.fresh.values()), data)
    odd = next((k for k in listed.fresh if {"", ".", ".."} & set(k.split("/"))), "")
    if odd:
        raise RejectedUpload(
            f"{odd!r} has a name that no file can have",
            code="part_name",
            fix="write parts without //, . and .. in keys",
        )


def _put(listed: _Listed, work: Path, data: DataSettings, ports: Ports) -> tuple[str, dict[str, JoinedPart]]:
    name = listed.folder.rstrip("/").rpartition("/")[2]
    root = work / "parts" / name
    files = {key: root / key.removeprefix(listed.folder) for key in listed.fresh}
    for folder in {file.parent for file in files.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        # As they are read: a part may be overwritten after it was listed.
        stats = pool.map(lambda key: ports.store.download(listed.fresh[key].uri, files[key]), files)
        read = dict(zip(files, stats, strict=True))
    (work / "joined").mkdir()
    whole = many_files.whole([str(root)], work / "joined", data)
    key = keys.joined(_content(read), whole.name)
    try:
        ports.store.upload(whole.file, keys.uri(ports.data_bucket, key), if_absent=True)
    except Conflict:
        ports.log.info("joined before", extra={"key": key})
    lines = {Path(part.file): (part.first, part.last) for part in whole.parts}
    joined = {}
    for part, stat in read.items():
        first, last = lines.get(files[part], (0, 0))
        joined[part] = JoinedPart(etag=stat.etag, version=stat.version, first=first, last=last)
    return key, joined


def _reject(listed: _Listed, error: RejectedUpload | InvalidRequest, ports: Ports) -> None:
    """The parts as an upload of the folder's name that was rejected."""
    record = ports.book.open(
        UploadRecord(
            upload_id=ids.upload_id(ports.data_bucket, listed.folder, listed.content),
            bucket=ports.data_bucket,
            key=listed.folder,
            version=listed.content,
            size=sum(stat.size for stat in listed.fresh.values()),
        )
    )
    if record.state == "received":
        reject(record, error, ports)
