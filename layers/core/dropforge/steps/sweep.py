"""No upload is forgotten: those without a terminal state whose work has died are taken up again, or failed with a reason.

Work dies when its event never comes, when a delivery is used up during an outage, or when the machine that ran an
execution goes away (the local cloud ends running executions at every restart). Everything re-submitted is idempotent:
finished jobs answer without training.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dropforge import identity
from dropforge.errors import Conflict, DropforgeError, NotFound
from dropforge.messages import TrainingRequest
from dropforge.steps import requests, retrain
from dropforge.steps.analyze import analyze
from dropforge.steps.reporting import Ports
from dropforge.uploads import Reason, UploadBook, UploadRecord

ATTEMPTS = 4
_ENDED = {"FAILED", "TIMED_OUT", "ABORTED", "SUCCEEDED", ""}


def sweep(
    ports: Ports, *, older_than: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dict[str, str]:
    """Upload id → what was done, for every upload whose last step is older than `older_than` and whose work has ended.

    Oldest first, so that the history keeps its order. One upload that cannot be helped does not stop the others.
    """
    before = clock() - older_than
    records = ports.book.list()
    unheard = ports.book.unheard("upload", {r.upload_id for r in records}, before)
    done = {}
    for record in (*reversed(records), *unheard):
        if (
            record.kind != "upload"
            or record.terminal
            or record.state == "awaiting_approval"  # its work has not died: it waits for a person
            or (record.history and datetime.fromisoformat(record.history[-1].at) > before)
        ):
            continue
        try:
            told = _again(record, ports)
        except DropforgeError as error:
            told = f"not helped: {error.message}"
        except Exception as error:
            # An upload with a defect of its own is tried again by later sweeps, and fails with its reason there.
            ports.log.exception("sweep met a defect", extra={"correlation_id": record.upload_id})
            told = f"not helped: {type(error).__name__}: {error}"
        if told:
            ports.log.warning("swept", extra={"correlation_id": record.upload_id, "state": record.state, "done": told})
            done[record.upload_id] = told
    return done


def stuck_minutes(book: UploadBook, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float:
    """Minutes since the last step of the upload that has waited longest for its end; 0 when all have ended."""
    waiting = [
        clock() - datetime.fromisoformat(r.history[-1].at)
        for r in book.list()
        if not r.terminal and r.state != "awaiting_approval"
    ]
    return round(max(waiting, default=timedelta()).total_seconds() / 60, 1)


def _again(record: UploadRecord, ports: Ports) -> str:
    if record.state == "training":
        return _train_again(record, ports)
    if record.key.startswith(retrain.PREFIX):
        return f"retraining taken up again: {retrain.resume(record, ports).state}"
    return f"analysed again: {analyze(record.event(), ports).state}"


def _train_again(record: UploadRecord, ports: Ports) -> str:
    status = ports.workflow.status(identity.execution_name(record.upload_id, record.attempt))
    if status not in _ENDED:
        return ""
    if record.attempt >= ATTEMPTS:
        return _give_up(record, status, ports)
    try:
        request = TrainingRequest.parse(
            ports.store.get(requests.uri(ports.data_bucket, record.dataset_id, record.upload_id)).body
        )
    except NotFound:
        return _give_up(record, status, ports)
    attempt = ports.book.update(record.upload_id, attempt=record.attempt + 1).attempt
    ports.workflow.start(identity.execution_name(record.upload_id, attempt), request.json_text())
    return f"training started again (attempt {attempt}; the execution before it was {status or 'gone'})"


def _give_up(record: UploadRecord, status: str, ports: Ports) -> str:
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
