"""One attempt at an upload: counted first, stopped in good time, never without a recorded end."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dropforge import retry_limits
from dropforge.uploads.upload_attempt import Attempt, Deadline, Invocation, OutOfTime
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore
from dropforge_local.packaging import load_template

ID = "a" * 20
ROOT = Path(__file__).parents[3]


@pytest.fixture
def book() -> UploadRepository:
    book = UploadRepository(MemoryStore(), "data")
    book.open(UploadRecord(upload_id=ID, bucket="data", key="incoming/a.csv", version="1"))
    return book


def _attempt(book: UploadRepository, invocation: Invocation | None = None) -> Attempt:
    return Attempt(book, logging.getLogger("test"), "analysis", invocation or Invocation(), lambda record, _: record)


def _short() -> Invocation:
    """An invocation with a tenth of a second before its reserve."""
    return Invocation(seconds_left=lambda: retry_limits.RESERVE_SECONDS + 0.1)


def test_an_attempt_is_counted_before_the_work(book: UploadRepository) -> None:
    """What the work finds in the record is the attempt it is in."""
    seen: list[int] = []

    def work(record: UploadRecord, _deadline: Deadline) -> UploadRecord:
        seen.append(book.get(ID).attempts)
        return book.advance(record.upload_id, "skipped")

    _attempt(book).run(book.get(ID), work)
    assert seen == [1]
    assert book.get(ID).lease is None


def test_a_query_that_takes_too_long_is_interrupted_and_its_upload_fails_with_the_stage(book: UploadRepository) -> None:
    """Each attempt says where it was when time ran out; the last one ends the upload with it."""

    def work(record: UploadRecord, deadline: Deadline) -> UploadRecord:
        deadline.reached("admission")
        with duckdb.connect() as connection:
            deadline.interrupts(connection)
            connection.execute("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b").fetchall()
        return record

    for number in range(1, retry_limits.ATTEMPTS):
        with pytest.raises(OutOfTime):
            _attempt(book, _short()).run(book.get(ID), work)
        record = book.get(ID)
        assert (record.state, record.attempts, record.lease) == ("received", number, None)
        assert record.trouble is not None
        assert "admission" in record.trouble.message
    ended = _attempt(book, _short()).run(book.get(ID), work)
    assert (ended.state, ended.reason and ended.reason.code) == ("failed", "out_of_memory_or_time")
    assert ended.reason is not None
    assert "admission" in ended.reason.message


def test_work_that_nothing_can_interrupt_is_recorded_before_the_invocation_is_stopped(book: UploadRepository) -> None:
    """The reason is in the record while the work still runs: what stops the process afterwards takes it from nobody."""
    recorded = threading.Event()
    real = book.give_back

    def give_back(*arguments: Any, **how: Any) -> UploadRecord:
        result = real(*arguments, **how)
        recorded.set()
        return result

    book.give_back = give_back  # type: ignore[method-assign]

    def work(record: UploadRecord, deadline: Deadline) -> UploadRecord:
        deadline.reached("upload to MLflow")
        assert recorded.wait(30)
        trouble = book.get(record.upload_id).trouble
        assert trouble is not None
        assert "upload to MLflow" in trouble.message
        deadline.reached("next")
        raise AssertionError("it went on")

    with pytest.raises(OutOfTime):
        _attempt(book, _short()).run(book.get(ID), work)


def test_work_in_time_leaves_no_thread_behind(book: UploadRepository) -> None:
    """The watch ends with the work."""
    before = set(threading.enumerate())
    _attempt(book, Invocation(seconds_left=lambda: 900)).run(
        book.get(ID), lambda r, _: book.advance(r.upload_id, "skipped")
    )
    assert set(threading.enumerate()) <= before


def test_the_limits_are_the_templates() -> None:
    """Deliveries, times and receives of template.yaml are those that the code counts with."""
    resources = load_template(ROOT / "template.yaml")["Resources"]
    for name, queue in (("AnalyzeFunction", "UploadsQueue"), ("BatchFunction", "BatchQueue")):
        assert resources[name]["Properties"]["Timeout"] == retry_limits.FUNCTION_SECONDS
        ingress = resources[queue]["Properties"]
        assert ingress["VisibilityTimeout"] == retry_limits.EVENT_HIDDEN_SECONDS
        assert ingress["RedrivePolicy"]["maxReceiveCount"] == retry_limits.EVENT_RECEIVES > retry_limits.ATTEMPTS
    decisions = resources["AnalyzeFunction"]["Properties"]["EventInvokeConfig"]
    assert decisions["MaximumRetryAttempts"] == retry_limits.EVENT_DELIVERIES - 1
    for deliveries in (
        retry_limits.ATTEMPTS,
        retry_limits.EVENT_DELIVERIES,
    ):  # with Lambda's pauses or ours between them
        pauses = sum(retry_limits.event_pause(n) for n in range(1, deliveries))
        assert retry_limits.RECOVERY_AFTER.total_seconds() > deliveries * retry_limits.FUNCTION_SECONDS + pauses
    redrive = resources["TrainingQueue"]["Properties"]["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == retry_limits.JOB_RECEIVES + 1
