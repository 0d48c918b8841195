"""A real worker process that is told to stop in the middle of a job."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from dropforge_cli.logs import events
from dropforge_local import cloud as local_cloud

pytestmark = pytest.mark.integration


def test_a_stopped_worker_hands_its_job_to_the_next(
    cloud: Any, drop: Callable[..., str], wait: Callable[..., dict[str, Any]], adult_lines: list[str]
) -> None:
    """SIGTERM ends the process in the middle of a trial; the job is visible again at once and the next worker finishes it.

    At once: without the hand-over the message would stay hidden for the rest of its visibility.
    """
    upload_id = drop("stopped.csv", ("\n".join([adult_lines[0], *adult_lines[-9000:]]) + "\n").encode())
    _until(lambda: _said(cloud, upload_id, "data loaded"), "the job to start")
    worker = local_cloud.worker(cloud.config)
    pid = worker.pid()
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    _until(lambda: worker.pid() is None, "the worker to end")
    assert _said(cloud, upload_id, "job handed back")
    queue, sqs = cloud.outputs["TrainingQueueUrl"], cloud.client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])
    assert found["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"
    local_cloud.start_worker(cloud.config, cloud.outputs)
    record = wait(upload_id)
    assert record["state"] == "concluded", record
    assert all("run_id" in m for m in record["models"])


def _said(cloud: Any, upload_id: str, message: str) -> bool:
    group = f"{cloud.outputs['LogGroupPrefix']}training"
    return any(e["line"]["message"] == message for e in events(cloud.client("logs"), group, 0, upload_id))


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
