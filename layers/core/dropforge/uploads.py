"""The state record of an upload: `uploads/{upload_id}.json`, moved forward by conditional writes only.

received ──▶ analysed ──▶ training ──▶ concluded
    ├──▶ rejected   ├──▶ blocked            (from any state before a terminal one: failed)
    ├──▶ skipped    └──▶ skipped
    └──▶ scored                             (a file under batch/)

analysed ──▶ awaiting_approval: settings.yaml wants a person's decision (analysis.approve_on). Approved, it goes on as analysed;
rejected, it ends.
"""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from dropforge import identity, uris
from dropforge.errors import Conflict, NotFound
from dropforge.messages import ModelProgress, UploadEvent
from dropforge.ports import ObjectStore

State = Literal[
    "received", "analysed", "awaiting_approval", "training",
    "concluded", "rejected", "blocked", "failed", "skipped", "scored", "stored",
]  # fmt: skip

NEXT: Final[dict[State, frozenset[State]]] = {
    "received": frozenset({"analysed", "rejected", "skipped", "failed", "scored"}),
    "analysed": frozenset({"awaiting_approval", "training", "blocked", "skipped", "failed", "stored"}),
    "awaiting_approval": frozenset({"received", "analysed", "training", "rejected", "skipped", "failed", "stored"}),
    "training": frozenset({"concluded", "failed"}),
    "concluded": frozenset(),
    "rejected": frozenset(),
    "blocked": frozenset(),
    "failed": frozenset(),
    "skipped": frozenset(),
    "scored": frozenset(),
    "stored": frozenset(),  # compared and kept for later trainings; nothing in it to train on by itself
}
Kind = Literal["upload", "batch"]
FOLDERS: Final[dict[Kind, str]] = {"upload": "incoming/", "batch": "batch/"}
TERMINAL: Final[frozenset[State]] = frozenset(s for s, following in NEXT.items() if not following)
_TRIES = 20


class Step(BaseModel):
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


class UploadRecord(BaseModel):
    """Everything known about one upload, for people and for the sweep."""

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
    deliveries: int = Field(default=0, description="deliveries of the event that ended in an unexpected error")
    plan: tuple[ModelProgress, ...] = Field(default=(), description="models to be trained, each with its budget")
    models: tuple[dict[str, Any], ...] = Field(
        default=(), description="one entry per candidate: model, version, metrics or error"
    )
    challenger: str = ""
    approval: str = Field(default="", description="who approved or rejected it, when and why; empty: nobody was asked")
    cost: dict[str, Any] = Field(
        default_factory=dict,
        description="the most its training can cost by its budgets, told before the jobs were sent out",
    )
    gate: dict[str, Any] = Field(
        default_factory=dict,
        description="why the challenger is one, or the served model stays: rule, reasons, candidates",
    )

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    def event(self) -> UploadEvent:
        """The event that told of the object, to be taken up again."""
        return UploadEvent(
            bucket=self.bucket, key=self.key, version=self.version, size=self.size, sequencer=self.sequencer
        )


def now() -> str:
    """Current time, ISO 8601 UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class UploadBook:
    """Reads and moves state records. Safe under concurrent writers: the loser re-reads and re-decides."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def uri(self, upload_id: str) -> str:
        return f"s3://{self._bucket}/uploads/{upload_id}.json"

    def open(self, record: UploadRecord) -> UploadRecord:
        """Create the record in state received, or return the one that is there: a replayed event changes nothing."""
        fresh = record.model_copy(update={"state": "received", "history": (Step(state="received", at=now()),)})
        try:
            self._store.put(self.uri(record.upload_id), _encode(fresh), content_type="application/json", if_absent=True)
        except Conflict:
            return self.get(record.upload_id)
        return fresh

    def get(self, upload_id: str) -> UploadRecord:
        """Raises NotFound."""
        return self._read(upload_id)[0]

    def find(self, upload_id: str) -> UploadRecord | None:
        try:
            return self.get(upload_id)
        except NotFound:
            return None

    def update(self, upload_id: str, **facts: Any) -> UploadRecord:
        """Record facts without moving the state."""
        return self._write(upload_id, None, facts)

    def advance(self, upload_id: str, state: State, **facts: Any) -> UploadRecord:
        """Move to `state` and record facts. A record already in that state only takes the facts.

        Raises Conflict when the move is not allowed from where the record is (a terminal state is never left).
        """
        return self._write(upload_id, state, facts)

    def list(self) -> list[UploadRecord]:
        """Every upload, newest first."""
        prefix = f"s3://{self._bucket}/uploads/"
        records = [UploadRecord.model_validate_json(self._store.get(o.uri).body) for o in self._store.list(prefix)]
        return sorted(records, key=lambda r: r.history[0].at if r.history else "", reverse=True)

    def unheard(self, kind: Kind, known: set[str], before: datetime) -> builtins.list[UploadRecord]:
        """A record, not yet opened, for every object version of the kind's folder of which no event was ever seen; oldest first."""
        found = []
        for o in self._store.versions(f"s3://{self._bucket}/{FOLDERS[kind]}"):
            bucket, key = uris.split(o.uri)
            upload_id = identity.upload_id(bucket, key, o.version)
            modified = datetime.fromisoformat(o.modified)
            if upload_id not in known and modified <= before:
                record = UploadRecord(
                    upload_id=upload_id, kind=kind, bucket=bucket, key=key, version=o.version, size=o.size
                )
                found.append((modified, record))
        return [record for _, record in sorted(found, key=lambda f: f[0])]

    def _read(self, upload_id: str) -> tuple[UploadRecord, str]:
        try:
            found = self._store.get(self.uri(upload_id))
        except NotFound:
            raise NotFound(
                f"no upload {upload_id!r}",
                code="upload_unknown",
                fix="`dropforge uploads` lists the ids; one appears within seconds of the upload",
            ) from None
        return UploadRecord.model_validate_json(found.body), found.etag

    def _write(self, upload_id: str, state: State | None, facts: dict[str, Any]) -> UploadRecord:
        for _ in range(_TRIES):
            current, etag = self._read(upload_id)
            changes = dict(facts)
            if state is not None and state != current.state:
                if state not in NEXT[current.state]:
                    raise Conflict(
                        f"upload {upload_id} is {current.state} and cannot become {state}",
                        code="upload_state",
                        fix="nothing to do: the upload was moved on by another delivery of the same event",
                    )
                changes |= {"state": state, "history": (*current.history, Step(state=state, at=now()))}
            updated = current.model_copy(update=changes)
            if updated == current:
                return current
            try:
                self._store.put(self.uri(upload_id), _encode(updated), content_type="application/json", if_match=etag)
            except Conflict:
                continue
            return updated
        raise Conflict(f"upload {upload_id} is being written by too many at once", code="upload_busy", fix="try again")


def _encode(record: UploadRecord) -> bytes:
    return record.model_dump_json(indent=1).encode()
