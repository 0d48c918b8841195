"""What every ObjectStore promises."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore

KEY = "s3://bucket/folder/object.json"


def test_a_finished_write_is_read(store: ObjectStore) -> None:
    """What was put comes back, with an etag."""
    etag = store.put(KEY, b"one", content_type="application/json")
    stored = store.get(KEY)
    assert stored.body == b"one"
    assert stored.etag == etag


def test_an_absent_object_is_not_found(store: ObjectStore) -> None:
    """Reading, downloading or conditionally reading what is not there raises NotFound; stat answers None."""
    with pytest.raises(NotFound):
        store.get(KEY)
    with pytest.raises(NotFound):
        store.get_if_changed(KEY, '"x"')
    with pytest.raises(NotFound):
        store.download(KEY, Path("unused"))
    assert store.stat(KEY) is None


def test_versions_stay_readable(store: ObjectStore) -> None:
    """An overwritten version is still there under its version id."""
    store.put(KEY, b"one")
    first = store.get(KEY).version
    store.put(KEY, b"two")
    assert store.get(KEY).body == b"two"
    assert store.get(KEY, first).body == b"one"


def test_if_absent_keeps_the_first_writer(store: ObjectStore) -> None:
    """The second writer gets Conflict and changes nothing, for bytes and for files."""
    store.put(KEY, b"one", if_absent=True)
    with pytest.raises(Conflict):
        store.put(KEY, b"two", if_absent=True)
    assert store.get(KEY).body == b"one"


def test_if_match_writes_only_over_the_version_read(store: ObjectStore) -> None:
    """A stale etag gives Conflict; so does an object that is gone."""
    etag = store.put(KEY, b"one")
    store.put(KEY, b"two", if_match=etag)
    with pytest.raises(Conflict):
        store.put(KEY, b"three", if_match=etag)
    assert store.get(KEY).body == b"two"
    with pytest.raises(Conflict):
        store.put("s3://bucket/never", b"x", if_match=etag)


def test_an_unchanged_object_is_not_sent_again(store: ObjectStore) -> None:
    """get_if_changed answers None for the etag it has, and the object for another."""
    etag = store.put(KEY, b"one")
    assert store.get_if_changed(KEY, etag) is None
    store.put(KEY, b"two")
    changed = store.get_if_changed(KEY, etag)
    assert changed is not None
    assert changed.body == b"two"


def test_files_travel_both_ways(store: ObjectStore, tmp_path: Path) -> None:
    """upload and download copy whole files and respect if_absent."""
    source = tmp_path / "in"
    source.write_bytes(b"x" * 100_000)
    store.upload(source, KEY)
    with pytest.raises(Conflict):
        store.upload(source, KEY, if_absent=True)
    stat = store.download(KEY, tmp_path / "out")
    assert stat.size == 100_000
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_a_large_version_arrives_byte_for_byte(store: ObjectStore, tmp_path: Path) -> None:
    """Of 12 MB that were overwritten since, every byte of the version asked for comes back, in its place."""
    body = b"".join(i.to_bytes(8, "big") for i in range(1_500_000))
    store.put(KEY, body)
    version = store.get(KEY).version
    store.put(KEY, body[::-1])
    store.download(KEY, tmp_path / "out", version)
    assert (tmp_path / "out").read_bytes() == body


def test_listing_is_by_prefix_in_key_order(store: ObjectStore) -> None:
    """Only objects under the prefix, sorted."""
    for key in ("b/2", "a/1", "b/1"):
        store.put(f"s3://bucket/{key}", b"x")
    assert [o.uri for o in store.list("s3://bucket/b/")] == ["s3://bucket/b/1", "s3://bucket/b/2"]


def test_a_listing_goes_on_behind_a_key_and_ends_at_its_limit(store: ObjectStore) -> None:
    """Pages of any size give every key once, in order; a limit of more than there is gives all."""
    uris = [f"s3://bucket/b/{n}" for n in range(7)]
    for uri in (*uris, "s3://bucket/a", "s3://bucket/c"):
        store.put(uri, b"x")
    result, after = [], ""
    while page := [o.uri for o in store.list("s3://bucket/b/", after=after, limit=3)]:
        result.append(page)
        after = page[-1]
    assert result == [uris[:3], uris[3:6], uris[6:]]
    assert [o.uri for o in store.list("s3://bucket/b/", limit=100)] == uris


def test_a_deleted_object_is_gone_and_its_versions_stay(store: ObjectStore) -> None:
    """Neither read nor listed; writing it anew is a first write; deleting what is absent is no error."""
    store.put(KEY, b"one")
    version = store.get(KEY).version
    store.delete(KEY)
    store.delete(KEY)
    store.delete("s3://bucket/never")
    with pytest.raises(NotFound):
        store.get(KEY)
    assert store.stat(KEY) is None
    assert list(store.list("s3://bucket/folder/")) == []
    assert store.get(KEY, version).body == b"one"
    store.put(KEY, b"two", if_absent=True)
    assert store.get(KEY).body == b"two"


def test_versions_go_on_behind_a_version(store: ObjectStore) -> None:
    """Pages of two of three keys with three versions each: every version once, whichever key a page ends in."""
    for key in ("a", "b", "c"):
        for n in range(3):
            store.put(f"s3://bucket/v/{key}", f"{key}{n}".encode())
    matches: list[tuple[str, str]] = []
    after = ("", "")
    while page := [(o.uri, o.version) for o in store.versions("s3://bucket/v/", after=after, limit=2)]:
        assert len(page) <= 2
        matches += page
        after = page[-1]
    assert sorted(store.get(uri, version).body for uri, version in matches) == sorted(
        f"{key}{n}".encode() for key in "abc" for n in range(3)
    )


def test_every_version_is_listed(store: ObjectStore) -> None:
    """Overwritten ones too, each with the version id under which it is read; nothing outside the prefix."""
    for body in (b"one", b"two"):
        store.put(KEY, body)
    store.put("s3://bucket/other", b"three")
    listed = list(store.versions("s3://bucket/folder/"))
    assert {store.get(o.uri, o.version).body for o in listed} == {b"one", b"two"}
    assert len(listed) == 2


def test_of_racing_writers_one_wins(store: ObjectStore) -> None:
    """Twelve threads create the same object; one succeeds, eleven get Conflict."""
    outcomes: list[str] = []

    def write(n: int) -> None:
        try:
            store.put(KEY, str(n).encode(), if_absent=True)
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(outcomes) == ["lost"] * 11 + ["won"]


def test_presigned_forms_name_one_object(store: ObjectStore) -> None:
    """A presigned POST is bound to its key; a presigned GET is a URL."""
    post = store.presign_post(KEY, max_bytes=10, seconds=60)
    assert post.fields["key"] == "folder/object.json"
    assert "folder/object.json" in store.presign_get(KEY, 60)
