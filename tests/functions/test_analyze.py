"""S3 notifications."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus

from hypothesis import given
from hypothesis import strategies as st

from dropforge.events import uploads_in


def test_keys_are_decoded(event: Any) -> None:
    """Spaces arrive as plus signs, everything else percent-encoded; the version is the object's."""
    found = uploads_in(event("s3_put"))
    assert [(u.key, u.version, u.size) for u in found] == [
        ("incoming/sp ace ünï+plus&.csv", "096fKKXTRTtl3on89fVO.nfljtsv6qko", 1024)
    ]


def test_a_test_event_is_no_upload(load: Any, event: Any) -> None:
    """S3 sends one when the notification is set up."""
    assert load("analyze").handler(event("s3_test"), None) == {"uploads": {}}


def test_an_object_that_is_gone_ends_skipped(load: Any, event: Any) -> None:
    """An event for a deleted object leaves a terminal record, no error and no retry."""
    states = load("analyze").handler(event("s3_put"), None)["uploads"]
    assert list(states.values()) == ["skipped"]


def test_other_events_are_no_uploads(load: Any, event: Any) -> None:
    """A removal, or an event of another service, is left alone."""
    removed = event("s3_put")
    removed["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    assert uploads_in(removed) == []


def test_every_key_survives_the_event(load: Any, event: Any) -> None:
    """Whatever a file is called, the key read is the key written."""
    read, recorded = uploads_in, event("s3_put")

    @given(key=st.text(min_size=1, max_size=60).filter(str.isprintable))
    def survives(key: str) -> None:
        recorded["Records"][0]["s3"]["object"]["key"] = quote_plus(key)
        assert read(recorded)[0].key == key

    survives()


def test_a_file_to_be_scored_is_read_from_its_own_event(load: Any, event: Any) -> None:
    """An object that is gone ends skipped; a test event is no file; the sweep answers."""
    states = load("batch").handler(event("batch_put"), None)["uploads"]
    assert list(states.values()) == ["skipped"]
    assert load("batch").handler(event("s3_test"), None) == {"uploads": {}}
    assert load("batch").handler({"sweep": {}}, None) == {"swept": {}}
