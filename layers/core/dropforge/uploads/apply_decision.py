"""Carry out what a person decided (uploads/decisions.py): in analyze, which alone may change datasets and start trainings."""

from __future__ import annotations

from dropforge import keys
from dropforge.config import settings_store
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import Conflict, NotFound
from dropforge.messages import UploadEvent
from dropforge.observability import failure
from dropforge.uploads import decisions
from dropforge.uploads.analyze_upload import analyze
from dropforge.uploads.decisions import Decision
from dropforge.uploads.retrain import retrain
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import Reason, UploadRecord


def carry_out(event: UploadEvent, ports: Ports) -> str:
    """What was done about the decision whose object arrived, in a word or two. Doing it again changes nothing.

    A dataset decision that no longer makes sense (the dataset became the reference meanwhile) is logged and left undone.
    Raises Unavailable and SettingsError: the event is delivered again.
    """
    try:
        decision = decisions.read(ports.store, keys.uri(event.bucket, event.key))
    except NotFound:
        return "withdrawn"
    if decision.action in {"approve", "reject"}:
        return _upload(decision, ports)
    return _dataset(decision, event.key.rpartition("/")[2].partition("-")[0], ports)


def _upload(decision: Decision, ports: Ports) -> str:
    record = ports.book.get(decision.subject)
    if record.state != "awaiting_approval":
        return record.state
    words = _words(decision)
    if decision.action == "approve":
        # Analysed again, against the reference there is now: the decision stands beside it, so that it does not wait again.
        return analyze(ports.book.advance(record.upload_id, "received", approval=words).event(), ports).state
    return _reject(record, words, ports).state


def _reject(record: UploadRecord, words: str, ports: Ports) -> UploadRecord:
    reason = Reason(
        stage="approval",
        code="not_approved",
        message=words,
        fix="read the report; correct the data and upload the file again",
    )
    ended = ports.book.advance(record.upload_id, "rejected", reason=reason, approval=words)
    settings, _ = settings_store.in_force(ports.store, ports.data_bucket)
    if record.run_id:
        ports.tracking(settings.project).finish(record.run_id)
    ports.log.info("rejected by a person", extra={"correlation_id": record.upload_id})
    return ended


def _dataset(decision: Decision, stamp: str, ports: Ports) -> str:
    datasets = DatasetStore(ports.store, ports.data_bucket)
    settings, _ = settings_store.in_force(ports.store, ports.data_bucket)
    try:
        decisions.check_dataset(decision.subject, decision.action, datasets, settings)
        if decision.action == "set_reference":
            before = datasets.set_reference(decision.subject)
            ports.log.info("reference changed", extra={"from": before, "to": decision.subject, "by": decision.by})
            return "reference changed"
        entry = datasets.revoke(decision.subject, _words(decision) if decision.action == "revoke" else "")
    except (Conflict, NotFound) as error:
        ports.log.error("a decision was not carried out", extra=failure(error))
        return error.code
    words = "revoked" if entry.revoked else "restored"
    ports.log.info(f"dataset {words}", extra={"dataset_id": decision.subject, "by": decision.by})
    record = retrain(ports, cause=f"{decision.action}-{decision.subject}-{stamp}")
    return f"{words}; retraining {record.upload_id if record else 'not possible: no data is left'}"


def _words(decision: Decision) -> str:
    """`approved by arn:… at 2026-…: why`."""
    verb = {"approve": "approved", "reject": "rejected", "revoke": "revoked"}[decision.action]
    return f"{verb} by {decision.by} at {decision.at}" + (f": {decision.reason}" if decision.reason else "")
