"""Uploads wait in a queue for their analysis, on the deployed stack: as many at a time as it says, and again after a failure.

The files are rejected before MLflow is asked, so that nothing but the emulator is needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dropforge import ids as identity
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings_store
from dropforge_local import cloud, deploy
from dropforge_local.layout import Config

from ..watcher import ended_with_this_run

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.integration, pytest.mark.own_emulator, pytest.mark.drill]
FILES, AT_ONCE = 8, 2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, free: Callable[[int], list[int]]) -> Iterator[Config]:
    """Emulator and stack, settings in force."""
    parameters = {"UploadsAtOnce": str(AT_ONCE)}
    config = Config(ROOT, tmp_path_factory.mktemp("ingress"), *free(2), parameters=parameters)
    with ended_with_this_run(config.pids):
        try:
            cloud.start_emulator(config)
            deploy.deploy(config)
            store = S3Store(deploy.client(config, "s3"))
            settings_store.apply(store, config.data_bucket, (ROOT / "settings.yaml").read_bytes())
            yield config
        finally:
            cloud.down(config, lambda _what, _seconds: None)


def _put(config: Config, key: str, body: bytes) -> str:
    answer = deploy.client(config, "s3").put_object(Bucket=config.data_bucket, Key=key, Body=body)
    return identity.upload_id(config.data_bucket, key, answer["VersionId"])


def _record(config: Config, upload_id: str) -> dict[str, Any]:
    s3 = deploy.client(config, "s3")
    try:
        body = s3.get_object(Bucket=config.data_bucket, Key=f"uploads/{upload_id}.json")["Body"].read()
    except s3.exceptions.NoSuchKey:
        return {}
    record: dict[str, Any] = json.loads(body)
    return record


def _until(lookup: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := lookup()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)
    return value


def _attributes(config: Config, output: str) -> dict[str, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = deploy.outputs(config)[output]
    result = deploy.client(config, "sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return {n.removeprefix("ApproximateNumberOfMessages"): int(result[n]) for n in names}


def test_a_burst_is_worked_on_a_few_at_a_time(stack: Config) -> None:
    """Every file comes to its end, never more than UploadsAtOnce are in work, and the queue is empty afterwards."""
    ids = [_put(stack, f"incoming/bad-{n}.csv", b"") for n in range(FILES)]
    busiest = 0

    def ended() -> bool:
        nonlocal busiest
        busiest = max(busiest, _attributes(stack, "UploadsQueueUrl")["NotVisible"])
        return all(_record(stack, i).get("state") == "rejected" for i in ids)

    _until(ended)
    assert 1 <= busiest <= AT_ONCE
    _until(lambda: sum(_attributes(stack, "UploadsQueueUrl").values()) == 0)  # deleted after the record is written
    assert all(_record(stack, i)["attempts"] == 1 for i in ids)


def test_a_file_to_be_scored_comes_by_its_own_queue(stack: Config) -> None:
    """Without a model it ends with that reason."""
    upload_id = _put(stack, "batch/rows.csv", b"age\n1\n")
    assert _until(lambda: _record(stack, upload_id).get("reason"))["code"]


def test_an_event_that_fails_is_visible_again_soon(stack: Config) -> None:
    """Not after the 90 minutes for which the queue hides a message: the function shortens them, as its role allows."""
    sqs, url = deploy.client(stack, "sqs"), deploy.outputs(stack)["UploadsQueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"retrain": {"upload_id": "f" * 20}}))  # nobody knows it
    group, logs = f"/dropforge/{stack.project}/analyze", deploy.client(stack, "logs")

    def log_lines() -> list[Any]:
        pattern = '"the event comes again"'
        lines: list[Any] = logs.filter_log_events(logGroupName=group, filterPattern=pattern)["events"]
        return lines

    line = json.loads(_until(log_lines)[0]["message"])
    assert (line["seconds"], line["receives"]) == (60, 1)
    try:  # messages of other tests' uploads leave the queue a moment after their records are written
        _until(lambda: _attributes(stack, "UploadsQueueUrl") == {"": 0, "NotVisible": 1}, 50)
    finally:
        sqs.purge_queue(QueueUrl=url)


def test_events_reach_the_bus(stack: Config) -> None:
    """The role of the function may put them: an end of an upload is heard by a rule of the default bus."""
    events, sqs = deploy.client(stack, "events"), deploy.client(stack, "sqs")
    url = sqs.create_queue(QueueName="heard")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": [f"dropforge.{stack.project}"], "detail-type": ["Upload Ended"]}
    events.put_rule(Name="ends", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="ends", Targets=[{"Id": "1", "Arn": arn}])
    upload_id = _put(stack, "incoming/heard.csv", b"")

    def ends() -> list[str]:  # of this upload: others of this stack may end now, too
        messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MaxNumberOfMessages=10).get("Messages", [])
        details = [json.loads(m["Body"])["detail"] for m in messages]
        return [d["state"] for d in details if d["upload_id"] == upload_id]

    assert _until(ends) == ["rejected"]
