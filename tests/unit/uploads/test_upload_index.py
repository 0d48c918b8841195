"""Lists of uploads that read no more than they show."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dropforge.errors import InvalidRequest, Unavailable
from dropforge.uploads import resubmit, upload_queries
from dropforge.uploads import upload_repository as module
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore


class Counted(MemoryStore):
    """Counts requests and keys listed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.failing = ""

    def get(self, uri: str, version: str = "") -> Any:
        self.calls["get"] += 1
        return super().get(uri, version)

    def put(self, uri: str, body: bytes, **how: Any) -> str:
        if self.failing and self.failing in uri:
            raise Unavailable("the process died here")
        return super().put(uri, body, **how)

    def list(self, prefix: str, *, after: str = "", limit: int = 0) -> Any:
        for result in super().list(prefix, after=after, limit=limit):
            self.calls["listed"] += 1
            yield result


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> UploadRepository:
    """Ten uploads, one a second; every second one has quarantined rows; two of them have one key."""
    book = UploadRepository(Counted(), "data")
    for n in range(10):
        monkeypatch.setattr(module, "now", lambda n=n: f"2026-01-01T00:00:{n:02d}.000+00:00")
        book.open(_record(n))
        if n % 2:
            book.update(_id(n), rows_quarantined=n, quarantine_uri="s3://data/q")
    return book


def _id(n: int) -> str:
    return f"{n:020x}"


def _record(n: int) -> UploadRecord:
    return UploadRecord(upload_id=_id(n), bucket="data", key=f"incoming/{n // 2 * 2}.csv", version=str(n))


def _pages(read: Any) -> list[list[str]]:
    result, cursor = [], ""
    while True:
        page = read(cursor)
        result.append([u["upload_id"] for u in page["uploads"]])
        cursor = page["next"]
        if not cursor:
            return result


def test_pages_are_in_order_and_hold_every_upload_once(book: UploadRepository) -> None:
    """Newest first; the last page has no cursor, also where it is full."""
    expected = [_id(n) for n in reversed(range(10))]
    assert _pages(lambda c: upload_queries.uploads(book, limit=4, cursor=c)) == [
        expected[:4],
        expected[4:8],
        expected[8:],
    ]
    assert _pages(lambda c: upload_queries.uploads(book, limit=5, cursor=c)) == [expected[:5], expected[5:]]
    assert _pages(lambda c: upload_queries.uploads(book, key="incoming/4.csv", limit=1, cursor=c)) == [
        [_id(5)],
        [_id(4)],
    ]
    quarantined = [_id(n) for n in (9, 7, 5, 3, 1)]
    assert _pages(lambda c: resubmit.listed(book, 3, c)) == [quarantined[:3], quarantined[3:]]
    assert upload_queries.uploads(book, key="incoming/none.csv") == {"uploads": [], "next": ""}


def test_an_upload_that_arrives_between_two_pages_shifts_none(
    book: UploadRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second page begins where the first one ended."""
    first = upload_queries.uploads(book, limit=4)
    monkeypatch.setattr(module, "now", lambda: "2026-01-02T00:00:00.000+00:00")
    book.open(_record(77))
    second = upload_queries.uploads(book, limit=4, cursor=first["next"])
    assert [u["upload_id"] for u in second["uploads"]] == [_id(n) for n in (5, 4, 3, 2)]


def test_a_page_reads_what_it_shows(book: UploadRepository) -> None:
    """One record for each line, one key more than lines; health and the newest upload list nothing."""
    store: Any = book._store
    store.calls.clear()
    upload_queries.uploads(book, limit=3)
    assert store.calls == {"get": 3, "listed": 4}
    store.calls.clear()
    assert upload_queries._last(book) == {"state": "received"}
    assert store.calls == {"get": 2}


@pytest.mark.parametrize("cursor", ["x", "../../secret", "1" * 13, f"{'1' * 13}-{'g' * 20}"])
def test_a_cursor_of_somebody_else_is_refused(book: UploadRepository, cursor: str) -> None:
    """422, before it becomes part of a key."""
    with pytest.raises(InvalidRequest):
        upload_queries.uploads(book, cursor=cursor)


@pytest.mark.parametrize("place", ["by-time/", "by-key/", ".json", "newest.json"])
def test_a_writer_that_dies_leaves_no_upload_out_of_the_lists(place: str) -> None:
    """Its event comes again, and the upload stands in every list, once."""
    store = Counted()
    book = UploadRepository(store, "data")
    store.failing = place
    with pytest.raises(Unavailable):
        book.open(_record(1))
    store.failing = ""
    book.open(_record(1))
    assert list(book.index.newest(5).upload_ids) == [_id(1)]
    assert list(book.index.of_key("incoming/0.csv", 5).upload_ids) == [_id(1)]
    assert {e.upload_id for e in book.index.longest_open("analysis", 5)} == {_id(1)}


def test_an_open_upload_is_in_the_list_of_its_stage(book: UploadRepository) -> None:
    """From analysis by waiting to training, and out of all of them at its end."""

    def stages() -> list[str]:
        return [
            s
            for s in ("analysis", "waiting", "training")
            for e in book.index.longest_open(s, 20)
            if e.upload_id == _id(0)
        ]  # type: ignore[arg-type]

    assert stages() == ["analysis"]
    book.advance(_id(0), "analysed", rows_used=12)
    assert stages() == ["analysis"]
    book.advance(_id(0), "waiting")
    assert stages() == ["waiting"]
    assert [e.rows for e in book.index.longest_open("waiting", 1)] == [12]
    book.advance(_id(0), "training")
    assert stages() == ["training"]
    book.advance(_id(0), "concluded")
    assert stages() == []


def test_an_ended_upload_stays_as_it_ended(book: UploadRepository) -> None:
    """Ending it the same way again with other facts changes nothing."""
    book.advance(_id(0), "failed", dataset_id="first")
    assert book.advance(_id(0), "failed", dataset_id="second").dataset_id == "first"
