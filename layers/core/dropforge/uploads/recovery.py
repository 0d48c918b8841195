"""No upload is forgotten: events of uploads that have not ended are sent again, or the uploads fail with a reason.

Work dies when its event never comes, when its deliveries are used up during an outage, when a process is killed, or when the
machine that ran an execution goes away (the local cloud ends running executions at every restart). Recovery does none of the
work itself: what killed one function must not kill it too. It reads the uploads that have not ended, the one that waits longest
first, and a bounded number of them; attempts are counted by the functions that make them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from dropforge import ids as identity
from dropforge import keys, retry_limits
from dropforge.config import settings_store
from dropforge.config.settings import PartsSettings
from dropforge.errors import Conflict, DropforgeError, NotFound
from dropforge.messages import TrainingRequest
from dropforge.observability import failure
from dropforge.ports import EventQueue, ObjectStat
from dropforge.uploads import folder_parts, retrain_rounds, s3_events
from dropforge.uploads.upload_attempt import exhausted, fail_exhausted
from dropforge.uploads.upload_index import STAGES, OpenUpload, Stage
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import FOLDERS, RETRAIN, Kind, Reason, UploadRecord, UploadRepository

_ENDED: Final = {"FAILED", "TIMED_OUT", "ABORTED", "SUCCEEDED", ""}
_RECORD: Final = re.compile(r"/uploads/([0-9a-f]{20})\.json$")
# Records sort among the folders of their index (`b…` before `by-time/`): every first digit, of `b` every second one.
_PREFIXES: Final = (*"0123456789a", *(f"b{digit}" for digit in "0123456789abcdef"), *"cdef")


@dataclass(frozen=True, slots=True)
class RecoveryPorts:
    """`uploads` and `files`: the queues of analyze and batch; the rest is what the steps share."""

    steps: Ports
    uploads: EventQueue
    files: EventQueue

    @property
    def book(self) -> UploadRepository:
        """Records of uploads."""
        return self.steps.book

    @property
    def log(self) -> logging.Logger:
        """The function's log."""
        return self.steps.log

    def queue(self, kind: Kind) -> EventQueue:
        """The queue that brings uploads of this kind."""
        return self.files if kind == "batch" else self.uploads


class Progress(BaseModel):
    """`uploads/recovery.json`: how far the searches are that take several recoveries.

    `after`: URI and version behind which the search for object versions without a record goes on, for each kind; `seen_until`:
    versions older than this were all looked at; `began`: when the present search began. `indexed`: prefixes of records of older
    versions, which had no index, that were entered into it.
    """

    model_config = ConfigDict(frozen=True)

    after: dict[Kind, tuple[str, str]] = {}
    began: dict[Kind, str] = {}
    seen_until: dict[Kind, str] = {}
    indexed: int = 0


def recover(
    ports: RecoveryPorts,
    *,
    older_than: timedelta = retry_limits.RECOVERY_AFTER,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, str]:
    """Upload id → what was done, for every upload without a step for `older_than` whose work has ended.

    Oldest first, so that the history keeps its order. One upload that cannot be helped does not stop the others.
    """
    before = clock() - older_than
    done: dict[str, str] = {}
    progress = _read_progress(ports)
    started = progress
    progress = _enter_old_records(ports, progress)
    for stage in STAGES:
        for entry in ports.book.index.longest_open(stage, retry_limits.RECOVERED_AT_ONCE):
            if entry.since > before:
                break
            _note(done, entry.upload_id, lambda entry=entry: _again(entry, before, ports), ports)  # type: ignore[misc] # a default binds the loop variable
    _note(done, "waiting", lambda: _revive_trigger(ports, older_than, clock), ports)
    _note(done, "parts", lambda: folder_parts.revive(ports.steps, _parts(ports), older_than, clock), ports)
    for kind in FOLDERS:
        unknown, progress = _without_event(kind, progress, before, ports)
        for record in unknown:
            _note(done, record.upload_id, lambda record=record: _open(record, ports), ports)  # type: ignore[misc] # a default binds the loop variable
    if progress != started:
        _write_progress(ports, progress)
    return done


def stuck_minutes(book: UploadRepository, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float:
    """Minutes since the upload that has waited longest for its end entered its stage; 0 when all have ended.

    Uploads that wait for others to be trained with, or for a person, are in no trouble. Reads one entry of the index for each stage.
    """
    stages: tuple[Stage, ...] = ("analysis", "scoring", "training")
    oldest = [entry.since for stage in stages for entry in book.index.longest_open(stage, 1)]
    waited = max((clock() - since for since in oldest), default=timedelta())
    return round(max(waited, timedelta()).total_seconds() / 60, 1)


def _note(done: dict[str, str], name: str, act: Callable[[], str], ports: RecoveryPorts) -> None:
    try:
        result = act()
    except DropforgeError as error:
        ports.log.warning("recovery failed", extra={"correlation_id": name, **failure(error)})
        result = f"recovery failed: {error.message}"
    except Exception as error:
        # An upload with a defect of its own is looked at again by later recoveries.
        ports.log.exception("recovery failed", extra={"correlation_id": name})
        result = f"recovery failed: {type(error).__name__}: {error}"
    else:
        if result:
            ports.log.warning("recovered", extra={"correlation_id": name, "done": result})
    if result:
        done[name] = result


def _again(entry: OpenUpload, before: datetime, ports: RecoveryPorts) -> str:
    record = ports.book.find(entry.upload_id)
    if record is None or not ports.book.stands(record, entry.uri):
        # Left by a writer that died between entry and record. Its event, if it had one, is found by the versions of the bucket.
        ports.book.forget_entry(entry.uri)
        return ""
    if record.stage == "training":
        return _train_again(record, ports)
    if record.stage in {"waiting", "approval"}:
        return ""  # its round is looked after as a whole; a person decides
    if (record.lease and datetime.fromisoformat(record.lease.began) > before) or _is_full(record.kind, ports):
        return ""
    if exhausted(record):
        stage = "scoring" if record.kind == "batch" else "analysis"
        return f"{fail_exhausted(record, ports.book, ports.log, stage).state}: its attempts are used up"
    return _send(ports.book.recover(record.upload_id), ports)


def _parts(ports: RecoveryPorts) -> PartsSettings:
    return settings_store.read(ports.steps.store, keys.settings(ports.steps.data_bucket)).data.parts


def _open(record: UploadRecord, ports: RecoveryPorts) -> str:
    if record.kind == "upload" and "/" in record.key.removeprefix(keys.INCOMING):
        parts = _parts(ports)
        if folder := folder_parts.folder_of(record.key, parts):
            folder_parts.wait_for(folder, record.key, record.version, parts, ports.steps)
            return ""
    # Opened first: if its event is lost or not sent now, the next recovery knows of the upload.
    opened = ports.book.open(record)
    return "" if _is_full(record.kind, ports) else _send(opened, ports)


def _is_full(kind: Kind, ports: RecoveryPorts) -> bool:
    """Whether so many events wait that this one's own may well be among them: recoveries must not pile up copies behind a burst."""
    return ports.queue(kind).depth() >= retry_limits.RECOVERED_AT_ONCE


def _send(record: UploadRecord, ports: RecoveryPorts) -> str:
    if record.key.startswith(RETRAIN):
        ports.uploads.send(json.dumps({"retrain": {"upload_id": record.upload_id}}))
        return "retraining sent again"
    ports.queue(record.kind).send(json.dumps(s3_events.notification(record.event())))
    return "event sent again"


def _train_again(record: UploadRecord, ports: RecoveryPorts) -> str:
    workflow, store = ports.steps.workflow, ports.steps.store
    status = workflow.status(identity.execution_name(record.upload_id, record.attempt))
    if status not in _ENDED:
        return ""
    if record.attempt >= retry_limits.EXECUTIONS:
        return _give_up(record, status, ports)
    try:
        body = store.get(keys.training_request(ports.steps.data_bucket, record.dataset_id, record.upload_id)).body
    except NotFound:
        return _give_up(record, status, ports)
    attempt = ports.book.update(record.upload_id, attempt=record.attempt + 1).attempt
    workflow.start(identity.execution_name(record.upload_id, attempt), TrainingRequest.parse(body).json_text())
    return f"training started again (attempt {attempt}; the execution before it was {status or 'gone'})"


def _give_up(record: UploadRecord, status: str, ports: RecoveryPorts) -> str:
    reason = Reason(
        stage="training",
        code="workflow_died",
        message=f"the training workflow ended as {status or 'gone'} without a conclusion, {record.attempt} times",
        fix="read `dropforge logs` for this upload, then upload the file again",
    )
    try:
        ports.book.advance(record.upload_id, "failed", reason=reason)
    except Conflict:  # it concluded in this very moment
        return ""
    return "failed: its workflow died too often"


def _revive_trigger(ports: RecoveryPorts, older_than: timedelta, clock: Callable[[], datetime]) -> str:
    if not any(ports.book.index.longest_open("waiting", 1)):
        return ""
    settings = settings_store.read(ports.steps.store, keys.settings(ports.steps.data_bucket))
    return retrain_rounds.revive(ports.steps, settings.training.trigger, older_than, clock)


# --- objects of which no event ever came ---------------------------------------------------------------------------------
def _without_event(
    kind: Kind, progress: Progress, before: datetime, ports: RecoveryPorts
) -> tuple[list[UploadRecord], Progress]:
    """Records, not yet opened, for object versions that have none, the oldest first; and the progress after this search.

    A version is looked at once: the next search leaves out what is older than the beginning of this one.
    """
    prefix = keys.uri(ports.steps.data_bucket, FOLDERS[kind])
    after = progress.after.get(kind, ("", ""))
    began = progress.began.get(kind, "") if after[0] else _iso(before)
    versions = list(ports.steps.store.versions(prefix, after=after, limit=retry_limits.SCANNED_AT_ONCE))
    seen_until = progress.seen_until.get(kind, "")
    fresh = sorted((v for v in versions if _is_between(v, seen_until, before)), key=lambda v: v.modified)
    whole = len(versions) < retry_limits.SCANNED_AT_ONCE
    changes = {
        "after": {**progress.after, kind: ("", "") if whole else (versions[-1].uri, versions[-1].version)},
        "began": {**progress.began, kind: "" if whole else began},
        "seen_until": {**progress.seen_until, kind: began if whole else seen_until},
    }
    return ports.book.unknown(kind, fresh), progress.model_copy(update=changes)


def _is_between(version: ObjectStat, seen_until: str, before: datetime) -> bool:
    modified = datetime.fromisoformat(version.modified)
    # S3 gives whole seconds: the last second of the search before is looked at again.
    known = bool(seen_until) and modified < datetime.fromisoformat(seen_until) - timedelta(seconds=2)
    return not known and modified <= before


# --- records of versions that had no index -------------------------------------------------------------------------------
def _enter_old_records(ports: RecoveryPorts, progress: Progress) -> Progress:
    """Enter records that were written before there was an index; a part of them in each recovery, then never again."""
    left = retry_limits.RECOVERED_AT_ONCE * 10
    while progress.indexed < len(_PREFIXES) and left > 0:
        ids = list(_record_ids(ports, _PREFIXES[progress.indexed]))
        ports.book.enter(ids)
        left -= len(ids)
        progress = progress.model_copy(update={"indexed": progress.indexed + 1})
        if progress.indexed == len(_PREFIXES):
            ports.book.point_to_newest()
    return progress


def _record_ids(ports: RecoveryPorts, prefix: str) -> Iterator[str]:
    for result in ports.steps.store.list(keys.uploads_of_prefix(ports.steps.data_bucket, prefix)):
        if match := _RECORD.search(result.uri):
            yield match[1]


def _progress_uri(ports: RecoveryPorts) -> str:
    return keys.recovery(ports.steps.data_bucket)


def _read_progress(ports: RecoveryPorts) -> Progress:
    try:
        return Progress.model_validate_json(ports.steps.store.get(_progress_uri(ports)).body)
    except NotFound:
        return Progress()


def _write_progress(ports: RecoveryPorts, progress: Progress) -> None:
    ports.steps.store.put(
        _progress_uri(ports), progress.model_dump_json(indent=1).encode(), content_type="application/json"
    )


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
