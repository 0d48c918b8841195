"""What people decide about uploads and datasets: approve or reject an upload that waits, revoke a dataset, make it the reference.

    decisions/uploads/{upload_id}.json               approve or reject; written once
    decisions/datasets/{dataset_id}/{time}-{action}.json  revoke, restore, set_reference

The API writes the decision and nothing else: it may neither start a training nor change a dataset. The object's event brings it
to analyze, which applies it. Applying it again changes nothing, so an event may come twice; sending the same decision again
sends the event again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from dropforge import keys
from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import Conflict, InvalidRequest, NotFound
from dropforge.ports import ObjectStore
from dropforge.uploads.upload_repository import UploadRepository

Action = Literal["approve", "reject", "revoke", "restore", "set_reference"]
UploadAction = Literal["approve", "reject"]
UPLOAD_ACTIONS: Final[tuple[UploadAction, ...]] = ("approve", "reject")
DatasetAction = Literal["revoke", "restore", "set_reference"]
DATASET_ACTIONS: Final[tuple[DatasetAction, ...]] = ("revoke", "restore", "set_reference")
_DATASET_ID = re.compile(r"[0-9a-f]{16}")


class Decision(BaseModel):
    """One decision, as it is stored. `subject`: an upload id or a dataset id; `by`: who signed the request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = 1
    action: Action
    subject: str
    by: str
    at: str
    reason: str = Field(
        default="", validation_alias=AliasChoices("reason", "why")
    )  # `why`: its name in earlier releases


@dataclass(frozen=True, slots=True)
class Author:
    """Who decides, and the reason given; the first 500 characters are stored."""

    by: str
    reason: str = ""


def read(store: ObjectStore, uri: str) -> Decision:
    """Raises NotFound."""
    return Decision.model_validate_json(store.get(uri).body)


def of_upload(store: ObjectStore, bucket: str, upload_id: str) -> Decision | None:
    """None while nobody has decided."""
    try:
        return read(store, keys.upload_decision(bucket, upload_id))
    except NotFound:
        return None


def decide_upload(
    upload_id: str, action: UploadAction, author: Author, *, store: ObjectStore, book: UploadRepository, bucket: str
) -> Decision:
    """Record the decision about an upload that waits for approval; the decision that stands.

    Raises NotFound, Conflict (409) when the upload does not wait, or when the opposite was decided.
    """
    record = book.get(upload_id)
    uri, decision = keys.upload_decision(bucket, upload_id), _new_decision(action, upload_id, author)
    before = of_upload(store, bucket, upload_id)
    if before is not None and before.action != action:
        raise Conflict(
            f"upload {upload_id} was decided before: {before.action} by {before.by} at {before.at}",
            code="decided_before",
            fix="to take an approved dataset out again: dropforge dataset revoke DATASET; to use rejected rows, upload the file again",
        )
    if record.state != "awaiting_approval":
        if before is not None:
            return before
        raise Conflict(
            f"upload {upload_id} does not wait for approval: it is {record.state}",
            code="not_awaiting_approval",
            fix="`dropforge uploads` shows the state of each; those in state awaiting_approval can be approved or rejected",
        )
    stands = before or decision
    store.put(uri, _encode(stands), content_type="application/json")  # again, if need be: its event is sent again
    return stands


def decide_dataset(
    dataset_id: str, action: DatasetAction, author: Author, *, store: ObjectStore, settings: Settings, bucket: str
) -> Decision:
    """Record the decision about an accepted dataset. Raises NotFound, and Conflict (409) when it cannot be carried out."""
    check_dataset(dataset_id, action, DatasetStore(store, bucket), settings)
    decision = _new_decision(action, dataset_id, author)
    stamp = re.sub(r"\D", "", decision.at)[:17]
    uri = keys.dataset_decision(bucket, dataset_id, stamp, action)
    store.put(uri, _encode(decision), content_type="application/json")
    return decision


def check_dataset(dataset_id: str, action: str, datasets: DatasetStore, settings: Settings) -> None:
    """Raises NotFound or Conflict when the action makes no sense for the dataset."""
    entry = next((e for e in datasets.entries() if e.dataset_id == dataset_id), None)
    if not _DATASET_ID.fullmatch(dataset_id) or entry is None:
        raise NotFound(
            f"no accepted dataset {dataset_id[:40]!r}",
            code="dataset_unknown",
            fix="`dropforge dataset list` shows those in use: 16 hex digits",
        )
    reference = datasets.reference_id(settings.data)
    if action == "revoke" and dataset_id == reference:
        raise Conflict(
            f"dataset {dataset_id} is the reference that every upload is compared with",
            code="dataset_is_reference",
            fix="make another one the reference first: dropforge dataset set-reference DATASET",
        )
    if action == "set_reference":
        if entry.revoked:
            raise Conflict(
                f"dataset {dataset_id} was revoked", code="dataset_revoked", fix="choose another, or restore it first"
            )
        if settings.data.reference != "first":
            raise Conflict(
                f"settings.yaml names the reference: data.reference is {settings.data.reference}",
                code="reference_in_settings",
                fix=f"set data.reference to {dataset_id} and run `dropforge apply`, or to `first` to decide by this command",
            )


def listed(datasets: DatasetStore, settings: Settings) -> list[dict[str, object]]:
    """Datasets of the history, the newest first, with what was decided about each."""
    reference = datasets.reference_id(settings.data)
    return [
        {
            **e.model_dump(include={"dataset_id", "upload_id", "accepted_at", "revoked"}),
            "reference": e.dataset_id == reference,
        }
        for e in reversed(datasets.entries())
    ]


def upload_action(value: str) -> UploadAction:
    """Raises InvalidRequest for an action that is none."""
    for action in UPLOAD_ACTIONS:
        if action == value:
            return action
    raise InvalidRequest(f"{value!r} is no action", code="malformed_request", fix="send approve or reject")


def dataset_action(value: str) -> DatasetAction:
    """Raises InvalidRequest for an action that is none."""
    for action in DATASET_ACTIONS:
        if action == value:
            return action
    raise InvalidRequest(
        f"{value!r} is no action", code="malformed_request", fix=f"send one of {', '.join(DATASET_ACTIONS)}"
    )


def _new_decision(action: Action, subject: str, author: Author) -> Decision:
    return Decision(action=action, subject=subject, by=author.by, at=now(), reason=author.reason[:500])


def _encode(decision: Decision) -> bytes:
    return decision.model_dump_json(indent=1).encode()
