"""Rounds: which accepted uploads are trained together. Their number names the execution that waits for the quiet period.

All uploads of a burst start the execution of the same round, and it is one. trigger.py decides when a round is over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from dropforge import ids, keys, retry_limits
from dropforge.config.settings import TriggerSettings
from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore
from dropforge.uploads.upload_index import OpenUpload
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import Reason, State, UploadRepository

MEMBERS: Final = 1000  # of one round at most; what waits besides is the next round's


class Round(BaseModel):
    """`uploads/round.json`. `number`: the round that uploads wait for; leader and members: of the round before it."""

    model_config = ConfigDict(frozen=True)

    number: int = 1
    executions: int = 1  # started for this round: one, and more when it died
    leader: str = ""
    members: tuple[str, ...] = ()
    done: bool = True  # whether the leader's training was started and the members were closed


class Rounds:
    """The one object that says who is trained with whom."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._uri = keys.round_of_uploads(bucket)

    def read(self) -> tuple[Round, str]:
        """The current round with its ETag."""
        try:
            stored = self._store.get(self._uri)
        except NotFound:
            return Round(), ""
        return Round.model_validate_json(stored.body), stored.etag

    def replace(self, new: Round, etag: str) -> str:
        """The new etag. Raises Conflict for the slower of two."""
        body = new.model_dump_json(indent=1).encode()
        return self._store.put(self._uri, body, content_type="application/json", if_match=etag, if_absent=not etag)


def announce(ports: Ports, trigger: TriggerSettings) -> None:
    """Make sure that an execution waits for the round that uploads wait for now."""
    rounds = Rounds(ports.store, ports.data_bucket)
    current, _ = rounds.read()
    for _ in range(retry_limits.REWRITES):
        name = ids.trigger_name(current.number, current.executions)
        payload = {"round": current.number, "wait_seconds": max(1, math.ceil(trigger.quiet_minutes * 60))}
        ports.workflow.start(name, json.dumps(payload))
        before, (current, _) = current, rounds.read()
        if current.number == before.number:
            return


def revive(
    ports: Ports,
    trigger: TriggerSettings,
    older_than: timedelta,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str:
    """Recovery: start the execution of the waiting round anew when it died. What was done, or nothing."""
    waiting = waiting_uploads(ports.book)
    rounds = Rounds(ports.store, ports.data_bucket)
    current, etag = rounds.read()
    enough = sum(w.rows for w in waiting) >= trigger.min_new_rows
    if not waiting or clock() - waiting[0].since < older_than or not (enough or not current.done):
        return ""
    status = ports.workflow.status(ids.trigger_name(current.number, current.executions))
    if status == "RUNNING":
        return ""
    if current.executions >= retry_limits.EXECUTIONS and current.done:
        return _give_up(waiting, current, etag, rounds, ports)
    rounds.replace(current.model_copy(update={"executions": current.executions + 1}), etag)
    announce(ports, trigger)
    return f"the wait of round {current.number} started again (the execution before it was {status or 'gone'})"


def _give_up(waiting: Sequence[OpenUpload], current: Round, etag: str, rounds: Rounds, ports: Ports) -> str:
    message = (
        f"the execution that waits for the quiet period ended {current.executions} times without starting a training"
    )
    reason = Reason(
        stage="training",
        code="trigger_died",
        message=message,
        fix="read `dropforge logs` for analyze; the rows are accepted: the next upload is trained together with them",
    )
    rounds.replace(Round(number=current.number + 1), etag)
    for upload in waiting:
        advance_once(ports.book, upload.upload_id, "failed", reason=reason)
    return f"failed: {message}"


def waiting_uploads(book: UploadRepository) -> list[OpenUpload]:
    """Each waiting upload once, the one that waits longest first."""
    matches: dict[str, OpenUpload] = {}
    for entry in book.index.longest_open("waiting", MEMBERS):
        matches.setdefault(entry.upload_id, entry)
    return list(matches.values())


def advance_once(book: UploadRepository, upload_id: str, state: State, **facts: Any) -> None:
    """Move a record on, unless another asker did."""
    try:
        book.advance(upload_id, state, **facts)
    except Conflict:
        return
