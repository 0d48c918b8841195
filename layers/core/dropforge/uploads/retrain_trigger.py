"""When accepted uploads are trained: once for a burst, after a quiet period (settings.yaml: training.trigger).

An accepted upload waits. The first one starts an execution of the workflow that waits for the quiet period and asks `due`; when
nothing has arrived for so long, one training reads everything that waits. The uploads taken are named in one conditional write
(`uploads/round.json`) before anything is started, so that each of them is trained once: whoever dies after it is completed by
the next caller.

An upload puts its entry into the index before it reads the number of the round; who takes a round lists the entries once more
after writing the next number: an upload that read the old number is in that list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from dropforge.config import settings_store
from dropforge.config.settings import Settings, TriggerSettings
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.errors import Conflict, DropforgeError, PermanentError
from dropforge.ingest import quarantine
from dropforge.observability import failure
from dropforge.uploads.retrain_rounds import MEMBERS, Round, Rounds, advance_once, announce, waiting_uploads
from dropforge.uploads.start_training import start_training
from dropforge.uploads.upload_attempt import reason_of
from dropforge.uploads.upload_index import OpenUpload
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import Reason, UploadRecord, UploadRepository

# A stream that never pauses is trained on at the latest after an hour, or ten quiet periods where these are longer.
LONGEST: Final = timedelta(hours=1)
LONGEST_PERIODS: Final = 10
# An upload that arrived longer ago and is still analysed is in trouble: nobody waits for it any more.
ARRIVING: Final = timedelta(minutes=20)
# A function begins with an event within so long, also where it starts anew on a busy machine.
STARTING: Final = timedelta(minutes=1)
ASK_AGAIN: Final = timedelta(seconds=5)

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


def accepted(record: UploadRecord, settings: Settings, settings_uri: str, ports: Ports) -> UploadRecord:
    """An upload is in the history: let it wait for its round, or train it at once where there is nothing to wait for."""
    trigger = settings.training.trigger
    if not trigger.quiet_minutes and trigger.min_new_rows <= 1:
        family = _corrected(record, ports)
        return start_training(record, settings, settings_uri, ports, family)
    record = ports.book.advance(record.upload_id, "waiting")
    announce(ports, trigger)
    return record


def due(number: int, ports: Ports, *, events: Callable[[], int], clock: Clock = _now) -> int:
    """Seconds to wait before asking again about the round; 0 when its uploads are on their way, or it has none.

    `events`: how many events of uploads are in their queue. Raises SettingsError, Unavailable; asking again goes on where it stopped.
    """
    settings, settings_uri = settings_store.in_force(ports.store, ports.data_bucket)
    rounds = Rounds(ports.store, ports.data_bucket)
    current, etag = rounds.read()
    if not current.done:
        etag = _complete(current, etag, rounds, settings, settings_uri, ports)
    if current.number != number:
        return 0
    waiting = _without_revoked(waiting_uploads(ports.book), ports)
    trigger = settings.training.trigger
    if wait := _seconds_to_wait(waiting, trigger, ports.book, events, clock()):
        return wait
    chosen = waiting if sum(w.rows for w in waiting) >= trigger.min_new_rows else []
    taken = _taken(number + 1, [w.upload_id for w in chosen], DatasetStore(ports.store, ports.data_bucket))
    try:
        etag = rounds.replace(taken, etag)
    except Conflict:
        return 1  # another asker was quicker: see what it made of it
    if taken.leader:
        _complete(taken, etag, rounds, settings, settings_uri, ports)
    if {w.upload_id for w in waiting_uploads(ports.book)} - {w.upload_id for w in waiting} - set(taken.members):
        announce(ports, trigger)
    return 0


def _seconds_to_wait(
    waiting: Sequence[OpenUpload],
    trigger: TriggerSettings,
    book: UploadRepository,
    events: Callable[[], int],
    now: datetime,
) -> int:
    """Until it has been quiet for long enough: nothing accepted, nothing on its way.

    An event that waits in the queue, or whose function still starts, has no record yet: there are more events than uploads
    that are analysed. One whose function died stays hidden in the queue for hours, so they are waited for only until `STARTING`
    after the last upload that came.
    """
    quiet = timedelta(minutes=trigger.quiet_minutes)
    if not waiting or now - waiting[0].since >= max(LONGEST, LONGEST_PERIODS * quiet):
        return 0
    analysed = list(book.index.longest_open("analysis", MEMBERS)) if quiet else []
    arriving = [a for a in analysed if now - a.since < ARRIVING]
    last = max(u.since for u in (*waiting, *arriving))
    left = quiet - (now - last)
    if quiet and left < ASK_AGAIN and (arriving or (now - last < STARTING and events() > len(analysed))):
        left = max(left, min(quiet, ASK_AGAIN))
    return max(0, math.ceil(left.total_seconds()))


def _without_revoked(waiting: Sequence[OpenUpload], ports: Ports) -> list[OpenUpload]:
    """Those whose rows are in use; the others were revoked while they waited, and end."""
    entries = DatasetStore(ports.store, ports.data_bucket).entries()
    revoked = {e.upload_id: e.revoked for e in entries if e.revoked}
    for upload in waiting:
        if upload.upload_id in revoked:
            reason = Reason(
                stage="training",
                code="revoked",
                message=f"its dataset was {revoked[upload.upload_id]}",
                fix="to use the rows again: dropforge dataset restore DATASET",
            )
            advance_once(ports.book, upload.upload_id, "accepted", reason=reason)
    return [w for w in waiting if w.upload_id not in revoked]


def _taken(number: int, upload_ids: Sequence[str], datasets: DatasetStore) -> Round:
    """The round after taking these; its leader is the one accepted last, whose history holds all others."""
    order = {e.upload_id: n for n, e in enumerate(datasets.history())}
    members = sorted((u for u in upload_ids if u in order), key=order.__getitem__)
    return Round(number=number, leader=members[-1] if members else "", members=tuple(members), done=not members)


def _complete(taken: Round, etag: str, rounds: Rounds, settings: Settings, settings_uri: str, ports: Ports) -> str:
    """Start the leader's training, close the members, mark the round as done; return the etag. Each part may be a repeat."""
    records = {r.upload_id: r for r in ports.book.read(taken.members)}
    leader = records.get(taken.leader)
    trained = True
    if leader is not None and leader.state == "waiting":
        family = [r.dataset_id for r in records.values() if r.upload_id != taken.leader]
        try:
            start_training(leader, settings, settings_uri, ports, (*_corrected(leader, ports), *family))
        except PermanentError as error:
            # The others go on waiting: the next round takes them.
            ports.log.exception("training was not started", extra={"correlation_id": taken.leader})
            advance_once(ports.book, taken.leader, "failed", reason=reason_of(error, "training"))
            trained = False
    if trained:
        for record in records.values():
            if record.upload_id != taken.leader and record.state == "waiting":
                _close(record, taken.leader, settings, ports)
    try:
        etag = rounds.replace(taken.model_copy(update={"done": True}), etag)
    except Conflict:  # completed by another asker at the same time
        return rounds.read()[1]
    if not trained:
        announce(ports, settings.training.trigger)
    return etag


def _close(record: UploadRecord, leader: str, settings: Settings, ports: Ports) -> None:
    """A member of a round: its rows are trained by the leader."""
    reason = Reason(
        stage="training",
        code="trained_together",
        message=f"its rows are trained together with those of upload {leader}",
        fix=f"dropforge watch {leader}",
    )
    advance_once(ports.book, record.upload_id, "accepted", trained_by=leader, reason=reason)
    try:
        ports.tracking(settings.project).finish(record.run_id)
    except DropforgeError as error:  # the run's end is a convenience; the record has ended
        ports.log.warning("the run was not closed", extra={"correlation_id": record.upload_id, **failure(error)})


def _corrected(record: UploadRecord, ports: Ports) -> tuple[str, ...]:
    """Datasets the record completes: of the upload whose quarantined rows it brings back, and of earlier corrections of it."""
    first = corrected_first(record.key, ports.book)
    if not first:
        return ()
    history = DatasetStore(ports.store, ports.data_bucket).history()
    return tuple(
        e.dataset_id for e in history if first in {e.upload_id, e.corrects} and e.dataset_id != record.dataset_id
    )


def corrected_first(key: str, book: UploadRepository) -> str:
    """The upload at the start of a chain of corrections; empty for a key that corrects nothing."""
    upload_id = quarantine.corrected_upload(key)
    before = book.find(upload_id) if upload_id else None
    return (corrected_first(before.key, book) or upload_id) if before else upload_id
