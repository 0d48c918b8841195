"""What happened, as system events. Each function takes `announce`, which builds the event for the project's name and never raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropforge.messages import Conclusion
    from dropforge.system_events import SystemEvent
    from dropforge.uploads.upload_repository import UploadRecord

Announce = Callable[[Callable[[str], "SystemEvent | None"]], None]


def nobody(_make: Callable[[str], SystemEvent | None]) -> None:
    """Where no events are put."""


def upload_ended(record: UploadRecord, announce: Announce) -> None:
    """After the write that ended it."""
    from dropforge.system_events import UploadEnded

    announce(
        lambda project: UploadEnded(
            project=project,
            upload_id=record.upload_id,
            kind=record.kind,
            key=record.key,
            state=record.state,
            verdict=record.verdict,
            dataset_id=record.dataset_id,
            rows_in=record.rows_in,
            rows_used=record.rows_used,
            rows_quarantined=record.rows_quarantined,
            code=record.reason.code if record.reason else "",
        )
    )


def challenger(conclusion: Conclusion, announce: Announce) -> None:
    """Nothing when the gate chose none."""
    from dropforge.system_events import ChallengerChosen

    chosen = conclusion.challenger
    if chosen is not None:
        announce(
            lambda project: ChallengerChosen(
                project=project,
                upload_id=conclusion.upload_id,
                model=chosen.name,
                version=chosen.version,
                reasons=tuple(reason[:500] for reason in conclusion.reasons[:20]),
            )
        )


def activation(answer: Mapping[str, Any], by: str, announce: Announce) -> None:
    """`answer`: of set_model, rollback or a decision about a candidate (deployment.activate.change_response)."""
    from dropforge.system_events import ModelActivated, ModelRolledBack

    kind = ModelRolledBack if answer["action"] == "rollback" else ModelActivated
    model, previous = answer["model"], answer["previous"] or {}
    announce(
        lambda project: kind(
            project=project,
            number=answer["number"],
            action=answer["action"],
            by=by[:300],
            model=model["name"],
            version=model["version"],
            alias=model["alias"],
            previous_model=previous.get("name", ""),
            previous_version=previous.get("version", ""),
        )
    )


def drift(verdict: str, columns: list[str], announce: Announce, *, upload_id: str = "", window: str = "") -> None:
    """Nothing when no column differs."""
    from dropforge import system_events

    if columns:
        announce(lambda project: system_events.drift(project, verdict, columns, upload_id=upload_id, window=window))
