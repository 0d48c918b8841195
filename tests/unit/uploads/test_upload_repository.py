"""The state record of an upload."""

from __future__ import annotations

import itertools
import threading

import pytest

from dropforge.errors import Conflict, NotFound
from dropforge.uploads.upload_repository import NEXT, TERMINAL, Reason, State, UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore

ID = "a" * 20


@pytest.fixture
def book() -> UploadRepository:
    created = UploadRepository(MemoryStore(), "bucket")
    created.open(UploadRecord(upload_id=ID, bucket="bucket", key="incoming/x.csv", version="1"))
    return created


def test_a_replayed_event_changes_nothing(book: UploadRepository) -> None:
    """Opening an upload again returns the record as it is now."""
    book.advance(ID, "analysed", rows_in=5)
    again = book.open(UploadRecord(upload_id=ID, bucket="bucket", key="incoming/x.csv", version="1"))
    assert (again.state, again.rows_in) == ("analysed", 5)


def test_the_history_tells_every_state_once(book: UploadRepository) -> None:
    """Each move is recorded with its time; repeating a move adds facts and no second entry."""
    for state in ("analysed", "training", "concluded", "concluded"):
        book.advance(ID, state)
    steps = book.get(ID).history
    assert [s.state for s in steps] == ["received", "analysed", "training", "concluded"]
    assert [s.at for s in steps] == sorted(s.at for s in steps)


@pytest.mark.parametrize(
    ("start", "move"), [(s, m) for s, m in itertools.product(NEXT, NEXT) if m != s and m not in NEXT[s]]
)
def test_moves_that_make_no_sense_are_refused(start: State, move: State) -> None:
    """A terminal state is never left, and no stage is skipped."""
    store = MemoryStore()
    record = UploadRecord(upload_id=ID, bucket="bucket", key="k", version="1", state=start)
    store.put(f"s3://bucket/uploads/{ID}.json", record.model_dump_json().encode())
    with pytest.raises(Conflict):
        UploadRepository(store, "bucket").advance(ID, move)


def test_every_state_leads_to_an_end() -> None:
    """From every state that is not terminal, `failed` is one move away or fewer than three."""
    for state in NEXT:
        assert state in TERMINAL or "failed" in NEXT[state]


def test_an_unknown_upload_is_not_found(book: UploadRepository) -> None:
    """The error says where ids are listed."""
    with pytest.raises(NotFound) as caught:
        book.get("b" * 20)
    assert "dropforge uploads" in caught.value.fix
    assert book.find("b" * 20) is None


def test_concurrent_writers_lose_no_fact(book: UploadRepository) -> None:
    """Eight threads record one fact each; all eight are there afterwards."""
    names = [
        "dataset_id",
        "reference_id",
        "verdict",
        "settings_sha",
        "report_uri",
        "run_id",
        "run_url",
        "quarantine_uri",
    ]
    threads = [threading.Thread(target=book.update, args=(ID,), kwargs={n: n}) for n in names]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    record = book.get(ID)
    assert [getattr(record, n) for n in names] == names


def test_a_reason_survives_the_store(book: UploadRepository) -> None:
    """The stage, code, message and fix of an end are read back as written."""
    reason = Reason(stage="admission", code="empty_file", message="0 bytes", fix="upload rows")
    book.advance(ID, "rejected", reason=reason)
    assert book.get(ID).reason == reason
    assert book.get(ID).terminal
    assert [r.upload_id for r in book.page(book.index.newest(10))] == [ID]
