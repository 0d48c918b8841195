"""The state record of an upload: `uploads/{upload_id}.json`, moved forward by conditional writes only.

received ──▶ analysed ──▶ waiting ──▶ training ──▶ concluded
    ├──▶ rejected   ├──▶ blocked  └──▶ accepted         (from any state before a terminal one: failed)
    ├──▶ skipped    └──▶ skipped
    └──▶ scored                                         (a file under batch/)

waiting: accepted, in the training data, until the training that reads it starts (training.trigger). One upload of a burst is
trained (training), the others end as accepted and name it (`trained_by`). A retraining goes from analysed to training.

awaiting_approval, after analysed: settings.yaml wants a person's decision (analysis.approve_on). Approved, it is received once more;
rejected, it ends.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge import ids, keys, retry_limits, s3_uri
from dropforge.clock import now
from dropforge.errors import Conflict, NotFound
from dropforge.messages import ModelProgress, UploadEvent
from dropforge.ports import REQUESTS_AT_ONCE, ObjectStat, ObjectStore
from dropforge.uploads.upload_index import Page, Stage, UploadIndex

State = Literal[
    "received", "analysed", "awaiting_approval", "waiting", "training",
    "concluded", "accepted", "rejected", "blocked", "failed", "skipped", "scored", "stored",
]  # fmt: skip

NEXT: Final[dict[State, frozenset[State]]] = {
    "received": frozenset({"analysed", "rejected", "skipped", "failed", "scored"}),
    "analysed": frozenset({"awaiting_approval", "waiting", "training", "blocked", "skipped", "failed", "stored"}),
    "awaiting_approval": frozenset({"received", "rejected", "skipped", "failed"}),
    "waiting": frozenset({"training", "accepted", "failed"}),
    "training": frozenset({"concluded", "failed"}),
    "concluded": frozenset(),
    "accepted": frozenset(),
    "rejected": frozenset(),
    "blocked": frozenset(),
    "failed": frozenset(),
    "skipped": frozenset(),
    "scored": frozenset(),
    "stored": frozenset(),  # compared and kept for later trainings; nothing in it to train on by itself
}
Kind = Literal["upload", "batch"]
FOLDERS: Final[dict[Kind, str]] = {"upload": keys.INCOMING, "batch": keys.BATCH}
RETRAIN: Final = "retrain/"  # prefix of the keys of retrainings: records of no file
TERMINAL: Final[frozenset[State]] = frozenset(s for s, following in NEXT.items() if not following)
ANALYSED: Final[frozenset[State]] = TERMINAL | {
    "awaiting_approval",
    "waiting",
    "training",
}  # nothing is left for analyze or batch to do


class Step(BaseModel):
    """A change of state, with its time."""

    model_config = ConfigDict(frozen=True)

    state: State
    at: str


class Reason(BaseModel):
    """Why an upload ended where it did."""

    model_config = ConfigDict(frozen=True)

    stage: str
    code: str
    message: str
    fix: str = ""


class Lease(BaseModel):
    """Which invocation works on the upload, and until when it can."""

    model_config = ConfigDict(frozen=True)

    holder: str
    began: str
    until: str


class UploadRecord(BaseModel):
    """Everything known about one upload, for people and for recovery."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = 1
    upload_id: str
    kind: Kind = "upload"
    bucket: str
    key: str
    version: str
    size: int = 0
    sequencer: str = ""
    state: State = "received"
    history: tuple[Step, ...] = ()
    reason: Reason | None = None
    rows_in: int = 0
    rows_used: int = 0
    rows_quarantined: int = 0
    dataset_id: str = ""
    reference_id: str = ""
    verdict: str = ""
    settings_sha: str = ""
    report_uri: str = ""
    report_json_uri: str = ""
    quarantine_uri: str = ""
    predictions_uri: str = ""
    run_id: str = ""
    run_url: str = ""
    attempt: int = Field(default=1, description="executions of the training workflow")
    attempts: int = Field(default=0, description="begun to analyse or score it; counted before the work")
    outages: int = Field(default=0, description="of these attempts, ended by a part that did not answer")
    recoveries: int = Field(default=0, description="times that recovery sent its event again")
    trouble: Reason | None = Field(
        default=None, description="why its last attempt came to nothing; null after a good one"
    )
    lease: Lease | None = Field(default=None, description="the invocation that works on it now")
    trained_by: str = Field(default="", description="of an accepted upload: the upload whose training reads its rows")
    plan: tuple[ModelProgress, ...] = Field(default=(), description="models to be trained, each with its budget")
    models: tuple[dict[str, Any], ...] = Field(
        default=(), description="one entry per candidate: model, version, metrics or error"
    )
    challenger: str = ""
    approval: str = Field(
        default="", description="who approved or rejected it, when and why; empty: no approval was needed"
    )
    promoted: bool | None = Field(
        default=None, description="whether auto_promote activated the challenger; null while that is undecided or off"
    )
    cost: dict[str, Any] = Field(
        default_factory=dict,
        description="the most its training can cost by its budgets, estimated before the jobs are sent",
    )
    gate: dict[str, Any] = Field(
        default_factory=dict,
        description="why the challenger is one, or the served model stays: rule, reasons, candidates",
    )

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL

    @property
    def failed_attempts(self) -> int:
        """Attempts that ended with a defect, out of memory or out of time; one that is under way counts."""
        return self.attempts - self.outages

    def lease_of_another(self, holder: str) -> bool:
        """Whether an invocation other than `holder` works on it now."""
        lease = self.lease
        return lease is not None and lease.holder != holder and datetime.fromisoformat(lease.until) > datetime.now(UTC)

    @property
    def received_at(self) -> str:
        """Time of the first state."""
        return self.history[0].at if self.history else ""

    @property
    def stage(self) -> Stage | None:
        """What it waits for; None when it has ended."""
        if self.terminal:
            return None
        stages: dict[State, Stage] = {"awaiting_approval": "approval", "waiting": "waiting", "training": "training"}
        if self.state in stages:
            return stages[self.state]
        return "scoring" if self.kind == "batch" else "analysis"

    def event(self) -> UploadEvent:
        """The event that told of the object, to be delivered again."""
        return UploadEvent(
            bucket=self.bucket, key=self.key, version=self.version, size=self.size, sequencer=self.sequencer
        )


class UploadRepository:
    """Reads and moves state records, and keeps their index. Safe under concurrent writers: the loser re-reads and re-decides."""

    def __init__(
        self, store: ObjectStore, bucket: str, ended: Callable[[UploadRecord], None] = lambda _record: None
    ) -> None:
        """`ended` hears of each record after the write that ended it; it must not raise."""
        self._store = store
        self._bucket = bucket
        self._ended = ended
        self.index = UploadIndex(store, bucket)

    def uri(self, upload_id: str) -> str:
        """Where the record is."""
        return keys.upload(self._bucket, upload_id)

    @property
    def _newest_uri(self) -> str:
        return keys.newest_upload(self._bucket)

    def open(self, record: UploadRecord) -> UploadRecord:
        """Create the record in state received, or return the one that is there: a replayed event changes nothing."""
        known = self.find(record.upload_id)
        if known is None:
            known = self._create(record)
        if not known.attempts:  # not begun: its first writer may have died before the lists knew of it
            self._enter(known)
        return known

    def _create(self, record: UploadRecord) -> UploadRecord:
        fresh = record.model_copy(update={"state": "received", "history": (Step(state="received", at=now()),)})
        opened = self._open_entries(fresh)
        for uri in opened:
            self._store.put(uri, b"")
        try:
            self._store.put(self.uri(record.upload_id), _encode(fresh), content_type="application/json", if_absent=True)
        except Conflict:  # the same event, delivered twice at once
            winner = self.get(record.upload_id)
            for uri in opened - self._open_entries(winner):
                self._store.delete(uri)
            return winner
        return fresh

    def _enter(self, record: UploadRecord) -> None:
        """Its entries in the lists of all uploads. Again is harmless: the names derive from the record."""
        self._store.put(self.index.by_key(record.upload_id, record.received_at, record.key), b"")
        self._store.put(self.index.by_time(record.upload_id, record.received_at), b"")
        self._store.put(self._newest_uri, record.upload_id.encode(), content_type="text/plain")

    def get(self, upload_id: str) -> UploadRecord:
        """Raises NotFound."""
        return self._read(upload_id)[0]

    def find(self, upload_id: str) -> UploadRecord | None:
        """The record; None when there is none."""
        try:
            return self.get(upload_id)
        except NotFound:
            return None

    def newest(self) -> UploadRecord | None:
        """The upload received last; None while there is none. Two reads, however many there are."""
        try:
            upload_id = self._store.get(self._newest_uri).body.decode()
        except NotFound:
            return None
        return self.find(upload_id)

    def update(self, upload_id: str, **facts: Any) -> UploadRecord:
        """Record facts without moving the state."""
        return self._write(upload_id, None, facts)

    def advance(self, upload_id: str, state: State, **facts: Any) -> UploadRecord:
        """Move to `state` and record facts. A record already in that state only takes the facts, one that ended there none.

        Raises Conflict when the move is not allowed from where the record is (a terminal state is never left).
        """
        return self._write(upload_id, state, facts)

    def begin(self, upload_id: str, holder: str, seconds: float = retry_limits.FUNCTION_SECONDS) -> UploadRecord | None:
        """Count an attempt and take the upload for `seconds`, before any work.

        None while another holder has it, or when there is nothing left to do.
        The same holder may begin again: a function that died is called again with the same request id.
        """
        for current, etag in self._readings(upload_id):
            began = datetime.now(UTC)
            if current.state in ANALYSED or current.lease_of_another(holder):
                return None
            taken = Lease(holder=holder, began=_iso(began), until=_iso(began + timedelta(seconds=seconds)))
            updated = current.model_copy(update={"attempts": current.attempts + 1, "lease": taken})
            if self._put(current, updated, etag):
                return updated
        raise _busy(upload_id)

    def give_back(self, upload_id: str, trouble: Reason, *, outage: bool) -> UploadRecord:
        """Let go of an upload whose attempt came to nothing, and say why; an `outage` is not held against the upload."""
        for current, etag in self._readings(upload_id):
            if current.lease is None or current.terminal:
                return current
            changes = {"lease": None, "trouble": trouble, "outages": current.outages + outage}
            updated = current.model_copy(update=changes)
            if self._put(current, updated, etag):
                return updated
        raise _busy(upload_id)

    def suspend(self, upload_id: str) -> UploadRecord:
        """Let go of an upload on which a workflow works; the attempt that handed it over is not counted."""
        for current, etag in self._readings(upload_id):
            if current.lease is None or current.terminal:
                return current
            updated = current.model_copy(update={"lease": None, "attempts": current.attempts - 1})
            if self._put(current, updated, etag):
                return updated
        raise _busy(upload_id)

    def recover(self, upload_id: str) -> UploadRecord:
        """Count a recovery and free the upload from an invocation that has died."""
        for current, etag in self._readings(upload_id):
            updated = current.model_copy(update={"recoveries": current.recoveries + 1, "lease": None})
            if self._put(current, updated, etag):
                return updated
        raise _busy(upload_id)

    def page(self, page: Page) -> list[UploadRecord]:
        """The records of a page of the index, in its order; one that was erased meanwhile is left out."""
        return self.read(page.upload_ids)

    def read(self, upload_ids: Iterable[str]) -> list[UploadRecord]:
        """Several records at once, in the order asked for, without those that are not there."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return [r for r in pool.map(self.find, upload_ids) if r is not None]

    def enter(self, upload_ids: Iterable[str]) -> None:
        """Give records of versions that had no index their entries in it."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            list(pool.map(self._enter_old, upload_ids))

    def _enter_old(self, upload_id: str) -> None:
        record = self.find(upload_id)
        if record is not None and record.history:
            self._store.put(self.index.by_key(upload_id, record.received_at, record.key), b"")
            self._store.put(self.index.by_time(upload_id, record.received_at), b"")
            for uri in self._entries(record):
                self._store.put(uri, b"")

    def point_to_newest(self) -> None:
        """Set the pointer that `newest` reads by the index."""
        for upload_id in self.index.newest(1).upload_ids:
            self._store.put(self._newest_uri, upload_id.encode(), content_type="text/plain")

    def unknown(self, kind: Kind, versions: Iterable[ObjectStat]) -> list[UploadRecord]:
        """A record, not yet opened, for each of these object versions that has none; in their order."""

        def record_of(stat: ObjectStat) -> UploadRecord | None:
            bucket, key = s3_uri.split(stat.uri)
            upload_id = ids.upload_id(bucket, key, stat.version)
            if self._store.stat(self.uri(upload_id)) is not None:
                return None
            return UploadRecord(
                upload_id=upload_id, kind=kind, bucket=bucket, key=key, version=stat.version, size=stat.size
            )

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return [record for record in pool.map(record_of, versions) if record is not None]

    def forget_entry(self, uri: str) -> None:
        """Delete an entry of the index that its record no longer stands for."""
        self._store.delete(uri)

    def _read(self, upload_id: str) -> tuple[UploadRecord, str]:
        try:
            stored = self._store.get(self.uri(upload_id))
        except NotFound:
            raise NotFound(
                f"no upload {upload_id!r}",
                code="upload_unknown",
                fix="`dropforge uploads` lists the ids; one appears within seconds of the upload",
            ) from None
        return UploadRecord.model_validate_json(stored.body), stored.etag

    def _readings(self, upload_id: str) -> Iterator[tuple[UploadRecord, str]]:
        """The record as it is, again after each lost race, at random intervals that grow."""
        for number in range(retry_limits.REWRITES):
            if number:
                time.sleep(random.uniform(0, retry_limits.REWRITE_PAUSE_SECONDS * number))  # noqa: S311 - spreads writers, hides nothing
            yield self._read(upload_id)

    def _write(self, upload_id: str, state: State | None, facts: dict[str, Any]) -> UploadRecord:
        for current, etag in self._readings(upload_id):
            if current.terminal and state == current.state:
                return current
            changes = dict(facts)
            if state is not None and state != current.state:
                if state not in NEXT[current.state]:
                    raise Conflict(
                        f"upload {upload_id} is {current.state} and cannot become {state}",
                        code="upload_state",
                        fix="nothing to do: the upload was moved on by another delivery of the same event",
                    )
                changes |= {"state": state, "history": (*current.history, Step(state=state, at=now()))}
                if state in ANALYSED:
                    changes |= {"lease": None, "trouble": None}
                if state == "awaiting_approval":
                    changes |= {"attempts": 0, "outages": 0}  # what follows a decision is work of its own
            updated = current.model_copy(update=changes)
            if updated == current or self._put(current, updated, etag):
                return updated
        raise _busy(upload_id)

    def _put(self, current: UploadRecord, updated: UploadRecord, etag: str) -> bool:
        """Replace the record; new entries of the index before it, outdated ones after it. False for the slower of two writers."""
        before, after = self._entries(current), self._entries(updated)
        for uri in after - before:
            self._store.put(uri, b"")
        try:
            self._store.put(
                self.uri(updated.upload_id), _encode(updated), content_type="application/json", if_match=etag
            )
        except Conflict:
            return False
        for uri in before - after:
            self._store.delete(uri)
        if updated.terminal and not current.terminal:
            self._ended(updated)
        return True

    def _entries(self, record: UploadRecord) -> set[str]:
        """Where the index has the record, besides the lists of all uploads."""
        result = self._open_entries(record)
        if record.rows_quarantined and record.quarantine_uri:
            result.add(self.index.quarantined(record.upload_id, record.received_at))
        return result

    def _open_entries(self, record: UploadRecord) -> set[str]:
        if record.stage is None or not record.history:
            return set()
        first_state = record.state if record.stage in {"approval", "waiting", "training"} else "received"
        entered = next((s.at for s in reversed(record.history) if s.state == first_state), record.received_at)
        return {self.index.open(record.upload_id, record.stage, entered, record.rows_used)}

    def stands(self, record: UploadRecord | None, uri: str) -> bool:
        """Whether the entry at `uri` of the open uploads is the record's own."""
        return record is not None and uri in self._open_entries(record)


def _busy(upload_id: str) -> Conflict:
    return Conflict(f"upload {upload_id} is being written by too many writers", code="upload_busy", fix="try again")


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _encode(record: UploadRecord) -> bytes:
    return record.model_dump_json(indent=1).encode()
