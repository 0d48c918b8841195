"""The study journal on the object store."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dropforge.errors import Unavailable
from dropforge.ports import StoredObject
from dropforge_local.memory import MemoryStore
from dropforge_training.search.study_journal import SNAPSHOT_EVERY, Journal

FOLDER = "s3://data/tuning/study"


def test_what_one_writes_another_reads_in_order() -> None:
    """Entries appended by one journal are read by another, from any number on."""
    store = MemoryStore()
    Journal(store, FOLDER).append([{"n": 0}, {"n": 1}])
    other = Journal(store, FOLDER)
    other.append([{"n": 2}])
    reader = Journal(store, FOLDER)
    assert list(reader.read(0)) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(reader.read(2)) == [{"n": 2}]
    assert list(reader.read(3)) == []


def test_many_writers_lose_and_repeat_nothing() -> None:
    """Eight writers at once end with every entry exactly once, and all readers agree on the order."""
    store = MemoryStore()

    def write(writer: int) -> None:
        journal = Journal(store, FOLDER)
        for i in range(25):
            journal.append([{"writer": writer, "i": i}])

    threads = [threading.Thread(target=write, args=(w,)) for w in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    entries = list(Journal(store, FOLDER).read(0))
    assert sorted((e["writer"], e["i"]) for e in entries) == [(w, i) for w in range(8) for i in range(25)]
    assert list(Journal(store, FOLDER).read(0)) == entries
    for w in range(8):
        assert [e["i"] for e in entries if e["writer"] == w] == list(range(25))


def test_a_failed_append_leaves_nothing_half_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the store does not answer the error is raised, and the journal goes on afterwards without a gap."""
    store = MemoryStore()
    journal = Journal(store, FOLDER)
    journal.append([{"n": 0}])
    with monkeypatch.context() as broken:

        def away(*_: object, **__: object) -> str:
            raise Unavailable("S3 is away")

        broken.setattr(store, "put", away)
        with pytest.raises(Unavailable):
            journal.append([{"n": 1}])
    journal.append([{"n": 2}])
    assert list(Journal(store, FOLDER).read(0)) == [{"n": 0}, {"n": 2}]


def test_studies_are_apart() -> None:
    """A journal reads its own folder only, even when another's name begins alike."""
    store = MemoryStore()
    Journal(store, FOLDER + "-2").append([{"n": 9}])
    assert list(Journal(store, FOLDER).read(0)) == []


def test_a_late_reader_asks_little() -> None:
    """A journal of hundreds of objects is read with a few requests, and says the same."""
    store = MemoryStore()
    writer = Journal(store, FOLDER)
    for n in range(2 * SNAPSHOT_EVERY + 3):
        writer.append([{"n": n}])
    requests_seen: list[str] = []
    real = store.get

    def counted(uri: str, version: str = "") -> StoredObject:
        requests_seen.append(uri)
        return real(uri, version)

    store.get = counted  # type: ignore[method-assign]
    reader = Journal(store, FOLDER)
    assert [e["n"] for e in reader.read(0)] == list(range(2 * SNAPSHOT_EVERY + 3))
    assert len(requests_seen) == 1 + 3 + 1  # the snapshot, what came after it, and the end
    reader.append([{"n": -1}])
    assert writer.read(2 * SNAPSHOT_EVERY + 3) == [{"n": -1}]


def test_an_append_whose_answer_was_lost_is_not_repeated() -> None:
    """The client's second try of a put that had worked meets its own object: the entries stand once."""
    store = MemoryStore()
    real = store.put

    def twice(uri: str, body: bytes, **arguments: Any) -> str:
        real(uri, body, **arguments)
        return real(uri, body, **arguments)

    store.put = twice  # type: ignore[method-assign]
    journal = Journal(store, FOLDER)
    journal.append([{"n": 0}])
    journal.append([{"n": 1}])
    assert Journal(store, FOLDER).read(0) == [{"n": 0}, {"n": 1}]
    assert journal.read(0) == [{"n": 0}, {"n": 1}]
