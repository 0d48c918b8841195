"""S3 notifications."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from hypothesis import given
from hypothesis import strategies as st

from dropforge import identity
from dropforge.events import uploads_in
from dropforge.uploads import UploadRecord

ROOT = Path(__file__).parents[2]


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
    """An object that is gone ends skipped; a test event is no file."""
    states = load("batch").handler(event("batch_put"), None)["uploads"]
    assert list(states.values()) == ["skipped"]
    assert load("batch").handler(event("s3_test"), None) == {"uploads": {}}


def test_recovery_sends_events_to_the_function_that_gets_them(load: Any, event: Any, world: Any) -> None:
    """Of an object without a record; what it sends is a notification the function reads, and only that function gets it."""
    world.store.put(f"s3://{world.env.data_bucket}/batch/a.csv", b"x")
    world.store.put(f"s3://{world.env.data_bucket}/incoming/b.csv", b"x")
    done = load("recover").handler({"older_than_minutes": 0}, None)["recovered"]
    assert len(done) == 2
    for name, key in (("analyze", "incoming/b.csv"), ("batch", "batch/a.csv")):
        (sent,) = world.functions[name].sent
        (upload,) = uploads_in(json.loads(sent))
        assert upload.key == key
        assert identity.upload_id(upload.bucket, upload.key, upload.version) in done


def test_recovery_works_where_the_others_break() -> None:
    """Its function has neither DuckDB nor MLflow: importing it and what it calls needs none of them."""
    code = (
        "import sys; sys.path.insert(0, 'functions/recover'); import app; "
        "print([m for m in ('mlflow', 'duckdb', 'sklearn', 'pandas', 'jinja2', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_retraining_is_gone_on_with_by_its_id(load: Any, event: Any, world: Any) -> None:
    """What recovery sends of a record that stopped halfway; it comes to an end, here for want of its data."""
    world.uploads.open(
        UploadRecord(upload_id="c" * 20, bucket="b", key="retrain/2026-01-01", version="v", dataset_id="d")
    )
    told = load("analyze").handler({"retrain": {"upload_id": "c" * 20}}, None)
    assert told == {"retraining": {"c" * 20: "failed"}}
