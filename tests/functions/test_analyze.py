"""S3 notifications."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge import ids, retry_limits
from dropforge.config import settings_store
from dropforge.errors import InvalidRequest, Unavailable
from dropforge.uploads.s3_events import uploads_in
from dropforge.uploads.upload_repository import UploadRecord
from dropforge_local.memory import MemoryQueue

ROOT = Path(__file__).parents[2]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Unanswered:
    """A store that is away."""

    def __getattr__(self, name: str) -> Any:
        raise Unavailable("the store does not answer", code="unavailable")


def test_keys_are_decoded(event: Any) -> None:
    """Spaces arrive as plus signs, everything else percent-encoded; the version is the object's."""
    result = uploads_in(event("s3_put"))
    assert [(u.key, u.version, u.size) for u in result] == [
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


def test_recovery_sends_events_to_the_queue_of_the_function_that_gets_them(load: Any, event: Any, world: Any) -> None:
    """Of an object without a record; what it sends is a notification the function reads, and only that function gets it."""
    world.store.put(f"s3://{world.env.data_bucket}/batch/a.csv", b"x")
    world.store.put(f"s3://{world.env.data_bucket}/incoming/b.csv", b"x")
    done = load("recover").handler({"older_than_minutes": 0}, None)["recovered"]
    assert len(done) == 2
    for queue, key in ((world.uploads_queue, "incoming/b.csv"), (world.batch_queue, "batch/a.csv")):
        assert queue.depth() == 1
        (upload,) = uploads_in(json.loads(queue.receive(wait_seconds=0, visibility_seconds=1).body))
        assert upload.key == key
        assert ids.upload_id(upload.bucket, upload.key, upload.version) in done


def _by_queue(body: str, receipt: str = "r", receives: int = 1) -> dict[str, Any]:
    """What Lambda hands to a function for a message of its queue."""
    attributes = {"ApproximateReceiveCount": str(receives)}
    record = {"messageId": "m", "receiptHandle": receipt, "body": body, "attributes": attributes}
    return {"Records": [{**record, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:0:q"}]}


@pytest.mark.parametrize(("name", "recorded"), [("analyze", "s3_put"), ("batch", "batch_put")])
def test_an_event_comes_by_a_queue(load: Any, event: Any, name: str, recorded: str) -> None:
    """Inside a message of SQS it is what it is by itself; the queue's test event is none."""
    handler = load(name).handler
    assert handler(_by_queue(json.dumps(event(recorded))), None) == handler(event(recorded), None)
    assert handler(_by_queue(json.dumps(event("s3_test"))), None) == {"uploads": {}}


@pytest.mark.parametrize(("name", "recorded"), [("analyze", "s3_put"), ("batch", "batch_put")])
def test_an_event_that_fails_comes_again_soon(load: Any, event: Any, world: Any, name: str, recorded: str) -> None:
    """The error is Lambda's to see, so that the message stays; its time in hiding is a minute, and doubles with each receive."""
    queue = MemoryQueue(clock := Clock())
    vars(world).update({"uploads_queue" if name == "analyze" else "batch_queue": queue})
    queue.send(json.dumps(event(recorded)))
    del world.store  # what answers no more: the bucket
    vars(world)["store"] = Unanswered()
    for receives in (1, 2, 3):
        message = queue.receive(wait_seconds=0, visibility_seconds=retry_limits.EVENT_HIDDEN_SECONDS)
        assert message is not None
        with pytest.raises(Unavailable):
            load(name).handler(_by_queue(message.body, message.receipt, message.receives), None)
        pause = 60 * 2 ** (receives - 1)
        clock.now += pause - 1
        assert queue.receive(wait_seconds=0, visibility_seconds=1) is None
        clock.now += 1


@pytest.mark.parametrize("body", ["no JSON", "[]", "3"])
def test_a_message_that_is_no_event_becomes_a_dead_letter(load: Any, body: str) -> None:
    """It is refused each time it comes, never taken for an empty event, which would be deleted."""
    with pytest.raises(InvalidRequest):
        load("analyze").handler(_by_queue(body, receipt=""), None)


def test_a_batch_of_messages_is_refused(load: Any, event: Any) -> None:
    """One that failed would bring those back that were done."""
    one = _by_queue(json.dumps(event("s3_test")))
    with pytest.raises(InvalidRequest, match="batch_too_large"):
        load("analyze").handler({"Records": one["Records"] * 2}, None)


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
    output = load("analyze").handler({"retrain": {"upload_id": "c" * 20}}, None)
    assert output == {"retraining": {"c" * 20: "failed"}}


def test_a_shard_and_what_follows_it_come_from_the_workflow(load: Any, world: Any) -> None:
    """`shard` reads one shard of a large upload, `shards` goes on with the upload when its map has ended."""
    text = (ROOT / "settings.yaml").read_text().replace("target: income", "target: label")
    text = text.replace('positive_class: ">50K"', 'positive_class: "yes"').replace(
        "sensitive: [sex, race]", "sensitive: []"
    )
    text = text.replace("ignore: [fnlwgt]", "ignore: []").replace("shard_bytes: 256_000_000", "shard_bytes: 700")
    settings_store.apply(world.store, world.env.data_bucket, text.encode())
    key, body = "incoming/a.csv", "age,label\n" + "".join(f"{20 + i % 40},{('no', 'yes')[i % 2]}\n" for i in range(200))
    world.store.put(f"s3://{world.env.data_bucket}/{key}", body.encode())
    record = {
        "s3": {
            "bucket": {"name": world.env.data_bucket},
            "object": {"key": key, "versionId": world.store.stat(f"s3://{world.env.data_bucket}/{key}").version},
        },
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
    }
    app = load("analyze")
    ((upload_id, state),) = app.handler({"Records": [record]}, None)["uploads"].items()
    states = [state]
    while len(states) < 3:
        given = json.loads(list(world.workflow.payloads.values())[-1])
        for number in given["shards"]:
            request = {"upload_id": upload_id, "stage": given["stage"], "number": number}
            assert app.handler({"shard": request}, None) == {"shard": number}
        states.append(
            app.handler({"shards": {"upload_id": upload_id, "stage": given["stage"]}}, None)["uploads"][upload_id]
        )
    assert states[:2] == ["received", "received"]
    assert world.uploads.get(upload_id).rows_used == 200
