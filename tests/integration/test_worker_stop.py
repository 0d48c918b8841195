"""A real worker process that is told to stop in the middle of a job."""

from __future__ import annotations

import json
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
    _until(lambda: _said(cloud, upload_id, "job handed back"), "the worker's last line")
    assert _handed_back(cloud, upload_id) in _visible_jobs(cloud)
    local_cloud.start_worker(cloud.config, cloud.outputs)
    record = wait(upload_id)
    assert record["state"] == "concluded", record
    assert all("run_id" in m for m in record["models"])


def _lines(cloud: Any, upload_id: str) -> list[dict[str, Any]]:
    group = f"{cloud.outputs['LogGroupPrefix']}training"
    return [e["line"] for e in events(cloud.client("logs"), group, 0, upload_id)]


def _said(cloud: Any, upload_id: str, message: str) -> bool:
    return any(line["message"] == message for line in _lines(cloud, upload_id))


def _handed_back(cloud: Any, upload_id: str) -> str:
    """The job the worker said it gave back."""
    return next(str(n["job_id"]) for n in _lines(cloud, upload_id) if n["message"] == "job handed back")


def _visible_jobs(cloud: Any) -> set[str]:
    """Jobs anybody could receive now. They stay visible; other tests' jobs may be hidden beside them."""
    found = cloud.client("sqs").receive_message(
        QueueUrl=cloud.outputs["TrainingQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return {str(json.loads(m["Body"])["job_id"]) for m in found.get("Messages", [])}


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
