"""One attempt at an upload: counted before the work, stopped in good time, ended with a recorded state whatever happens.

What cannot be recorded (a process killed for its memory) is seen by the next one: the attempt was counted and never ended.
"""

from __future__ import annotations

import logging
import math
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from dropforge import observability, retry_limits
from dropforge.errors import (
    Conflict,
    DropforgeError,
    PermanentError,
    RejectedUpload,
    TransientError,
    Unavailable,
)
from dropforge.uploads.upload_repository import ANALYSED, Reason, UploadRecord, UploadRepository

_INTERRUPT_EVERY_SECONDS: Final = 1.0
_ENDLESS: Final = 365 * 24 * 3600.0


class Context(Protocol):
    """What Lambda says of an invocation."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


_SMALLER = (
    "split the file into smaller ones (they are trained together), or give the function more memory in template.yaml"
)


@dataclass(frozen=True, slots=True)
class Invocation:
    """Who works, and how many seconds are left. Without a context (outside Lambda) time does not end."""

    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    seconds_left: Callable[[], float] = lambda: math.inf

    @classmethod
    def of(cls, context: Context | None) -> Invocation:
        """From Lambda's context; without one there is no deadline."""
        if context is None:
            return cls()
        return cls(context.aws_request_id, lambda: context.get_remaining_time_in_millis() / 1000)


class Suspended(Exception):
    """The attempt ends here, and counts neither as failed nor as an outage."""


class OutOfTime(TransientError):
    """The invocation is about to be stopped. Recorded already; raised so that the event is delivered again."""


class Deadline:
    """Says when to stop. `stage` is what is being done, for the reason. Use `guarded` around the work.

    A thread waits for the last RESERVE_SECONDS: it records the reason, because the work may be in one long call that nothing
    can interrupt, and interrupts the database connections that it knows.
    """

    def __init__(self, invocation: Invocation, record: Callable[[str], None]) -> None:
        self.stage = "start"
        self._seconds = max(0.0, min(invocation.seconds_left(), _ENDLESS) - retry_limits.RESERVE_SECONDS)
        self._record = record
        self._connections: list[Any] = []
        self._expired = threading.Event()
        self._done = threading.Event()

    def reached(self, stage: str) -> None:
        """The work goes on with `stage`. Raises OutOfTime when it must not."""
        if self._expired.is_set():
            raise self._error()
        self.stage = stage

    def interrupts(self, connection: Any) -> None:
        """`connection.interrupt()` is called when time is up."""
        self._connections.append(connection)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Whatever the work raises after time was up is OutOfTime: an interrupted query looks like a damaged file."""
        watch = threading.Thread(target=self._watch, args=(observability.current(),), name="deadline", daemon=True)
        if self._seconds < _ENDLESS - retry_limits.RESERVE_SECONDS:
            watch.start()
        try:
            yield
        except Exception as error:
            if self._expired.is_set():
                raise self._error() from error
            raise
        finally:
            self._done.set()
            if watch.ident is not None:
                watch.join()

    def _watch(self, fields: dict[str, Any]) -> None:
        if self._done.wait(self._seconds):
            return
        self._expired.set()
        with observability.context(**fields):
            self._record(self.stage)
        while not self._done.wait(_INTERRUPT_EVERY_SECONDS):
            for connection in self._connections:
                connection.interrupt()

    def _error(self) -> OutOfTime:
        return OutOfTime(
            f"the invocation ran out of time ({self.stage})",
            code="out_of_time",
            fix="split the file into smaller ones; they are trained together",
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one kind of work is begun and ended. `stage` names it in reasons."""

    book: UploadRepository
    log: logging.Logger
    stage: str
    invocation: Invocation
    reject: Callable[[UploadRecord, RejectedUpload], UploadRecord]

    def run(self, opened: UploadRecord, work: Callable[[UploadRecord, Deadline], UploadRecord]) -> UploadRecord:
        """Do the work once and return the record as it is afterwards.

        Nothing is done when it was done before, when another invocation is at it, or when its attempts are used up: then the
        upload fails. Raises TransientError (and before the last attempt anything unexpected): the event is delivered again.
        """
        upload_id = opened.upload_id
        if opened.state in ANALYSED:
            self.log.info("seen before", extra={"state": opened.state})
            return opened
        if opened.lease_of_another(self.invocation.holder):
            self.log.info("another invocation works on it")
            return opened
        if exhausted(opened):
            return fail_exhausted(opened, self.book, self.log, self.stage)
        seconds = min(self.invocation.seconds_left(), retry_limits.FUNCTION_SECONDS)
        begun = self.book.begin(upload_id, self.invocation.holder, seconds)
        if begun is None:
            self.log.info("another invocation works on it")
            return self.book.get(upload_id)
        return self._try(begun, work)

    def _try(self, begun: UploadRecord, work: Callable[[UploadRecord, Deadline], UploadRecord]) -> UploadRecord:
        upload_id = begun.upload_id
        deadline = Deadline(self.invocation, lambda stage: self._out_of_time(begun, stage))
        try:
            with deadline.guarded():
                return work(begun, deadline)
        except Suspended:
            return self.book.suspend(upload_id)
        except RejectedUpload as error:
            return self.reject(begun, error)
        except OutOfTime:
            record = self.book.get(upload_id)
            if exhausted(record):
                return fail_exhausted(record, self.book, self.log, self.stage)
            raise
        except TransientError as error:
            self._give_back(upload_id, error, outage=True)
            raise
        except Exception as error:
            return self._failed(upload_id, error)

    def _failed(self, upload_id: str, error: Exception) -> UploadRecord:
        """The last attempt must leave a terminal state, whatever went wrong: an upload nobody hears of is a lost one."""
        record = self.book.get(upload_id)
        if record.state in ANALYSED:  # the workflow, or recovery, was quicker
            self.log.info("seen before", extra={"state": record.state, **observability.failure(error)})
            return record
        if isinstance(error, Conflict):
            self._give_back(upload_id, error, outage=True)
            raise Unavailable(
                error.message, code="upload_busy", fix="the event is delivered again by itself"
            ) from error
        if isinstance(error, PermanentError):
            self.log.exception("failed")
            return self.book.advance(upload_id, "failed", reason=reason_of(error, self.stage))
        record = self._give_back(upload_id, error, outage=False) or record
        if exhausted(record):
            self.log.exception("failed")
            return self.book.advance(upload_id, "failed", reason=reason_of(error, self.stage))
        raise error

    def _give_back(self, upload_id: str, error: Exception, *, outage: bool) -> UploadRecord | None:
        """None when the store does not answer either: the lease ends by itself, and the attempt counts against the upload."""
        try:
            return self.book.give_back(upload_id, reason_of(error, self.stage), outage=outage)
        except DropforgeError as lost:
            self.log.warning("the record does not say why", extra=observability.failure(lost))
            return None

    def _out_of_time(self, record: UploadRecord, stage: str) -> None:
        message = f"ran out of time in attempt {record.attempts} while it was at: {stage}"
        self.log.error("out of time", extra={"doing": stage, "attempts": record.attempts})
        trouble = Reason(stage=self.stage, code="out_of_time", message=message)
        try:
            self.book.give_back(record.upload_id, trouble, outage=False)
        except DropforgeError as lost:
            self.log.warning("the record does not say why", extra=observability.failure(lost))


def exhausted(record: UploadRecord) -> bool:
    """Whether no further attempt is made."""
    return record.failed_attempts >= retry_limits.ATTEMPTS or record.outages >= retry_limits.OUTAGES


def fail_exhausted(record: UploadRecord, book: UploadRepository, log: logging.Logger, stage: str) -> UploadRecord:
    """End it as failed, with what is known of its attempts; return the record as it is afterwards."""
    last = record.trouble.message if record.trouble else ""
    if record.outages >= retry_limits.OUTAGES:
        code, message = "outages", f"{record.outages} attempts met a part that did not answer; the last: {last}"
        fix = "see `dropforge doctor`, then upload the file again"
    else:
        code = "out_of_memory_or_time"
        message = f"{record.failed_attempts} attempts ran out of memory or time and came to no end"
        message += f"; the last known: {last}" if last else "; none of them could say why"
        fix = _SMALLER
    log.error("failed", extra={"correlation_id": record.upload_id, "code": code})
    try:
        return book.advance(record.upload_id, "failed", reason=Reason(stage=stage, code=code, message=message, fix=fix))
    except Conflict:  # it came to an end of its own in this very moment
        return book.get(record.upload_id)


def reason_of(error: Exception, stage: str) -> Reason:
    """An error as a record keeps it."""
    if isinstance(error, MemoryError):
        message = "the function ran out of memory"
        return Reason(stage=stage, code="out_of_memory", message=message, fix=_SMALLER)
    return Reason(
        stage=stage,
        code=getattr(error, "code", type(error).__name__),
        message=getattr(error, "message", f"{type(error).__name__}: {error}"),
        fix=getattr(error, "fix", "") or "read `dropforge logs` for this upload",
    )
