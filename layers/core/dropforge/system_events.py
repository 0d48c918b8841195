"""What other systems hear of this one: events on Amazon EventBridge, one class each, with the schema that is published.

Names, counts and addresses inside the system, never rows or values. Delivered at least once: a repeated step announces again, so that
consumers tell repeats by the ids in the event. A new field needs a default; anything else is a new `schema_version`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from dropforge.messages import Message

_LISTED = 50  # names in one event: EventBridge takes 256 KB


class SystemEvent(Message):
    """`detail_type` is EventBridge's name of the kind; the fields are its `detail`."""

    detail_type: ClassVar[str]

    project: str = Field(description="the stack's ProjectName; the event's source is `dropforge.` and this name")


class UploadEnded(SystemEvent):
    """An upload, or a file under `batch/`, reached its end. Which ends there are: docs/architecture.md, upload states."""

    detail_type = "Upload Ended"

    upload_id: str
    kind: Literal["upload", "batch"] = "upload"
    key: str = Field(description="of the object in the data bucket; empty where a retraining has none")
    state: str
    verdict: str = ""
    dataset_id: str = ""
    rows_in: int = 0
    rows_used: int = 0
    rows_quarantined: int = 0
    code: str = Field(default="", description="why it ended so, as the record's reason has it; empty for a good end")


class ChallengerChosen(SystemEvent):
    """A candidate passed the gate: the version now has the alias `challenger`. Nothing answers with it yet."""

    detail_type = "Challenger Chosen"

    upload_id: str
    model: str = Field(description="registered name")
    version: str
    reasons: tuple[str, ...] = ()


class ModelActivated(SystemEvent):
    """The deployment history has a new entry: another active model, or another canary or shadow beside it."""

    detail_type = "Model Activated"

    number: int = Field(description="of the entry")
    action: str
    by: str
    model: str
    version: str
    alias: str = ""
    previous_model: str = ""
    previous_version: str = ""


class ModelRolledBack(ModelActivated):
    """An earlier entry's model is active again."""

    detail_type = "Model Rolled Back"


class DriftDetected(SystemEvent):
    """Columns differ from the reference: of an upload, or of a day of live traffic (`window`: day, model and version)."""

    detail_type = "Drift Detected"

    upload_id: str = ""
    window: str = ""
    verdict: str
    drifted_columns: int
    columns: tuple[str, ...] = Field(default=(), description=f"their names, {_LISTED} at most")


KINDS: tuple[type[SystemEvent], ...] = (UploadEnded, ChallengerChosen, ModelActivated, ModelRolledBack, DriftDetected)


def drift(project: str, verdict: str, columns: list[str], *, upload_id: str = "", window: str = "") -> DriftDetected:
    """Names of columns beyond the limit are counted and left out."""
    return DriftDetected(
        project=project,
        upload_id=upload_id,
        window=window,
        verdict=verdict,
        drifted_columns=len(columns),
        columns=tuple(c[:200] for c in columns[:_LISTED]),
    )


def schema(kind: type[SystemEvent]) -> dict[str, Any]:
    """JSON Schema of the event's `detail` as it is put: every field is there."""
    return kind.model_json_schema(mode="serialization")
