"""Messages that are poison, doubled or slow, disks that are full: jobs end once, with a reason, and nothing blocks the queue."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dropforge import retry_limits
from dropforge.adapters.sqs_queue import SqsQueue
from dropforge.environment import Environment
from dropforge.messages import JobResult, TrainingBudget, TrainingJob, UploadEvent
from dropforge.uploads.s3_events import notification
from dropforge_cli.commands.recovery import redriven
from dropforge_local.memory import MemoryStore, MemoryWorkflow
from dropforge_training.worker import queue_worker as module
from dropforge_training.worker.queue_worker import Worker
from harness.processes import aws

Times = Callable[[int, int], int]
Figure = Callable[[str], None]


def _job(number: int, token: str = "") -> TrainingJob:
    return TrainingJob(
        task_token=token,
        job_id=f"j{number}",
        upload_id="u",
        dataset_uri="s3://data/d",
        settings_uri="s3://data/s",
        model="forest",
        budget=TrainingBudget(trials=1, seconds=1),
        seed=1,
        parent_run_id="p",
    )


def _result() -> JobResult:
    return JobResult(
        model="forest",
        run_id="r",
        model_source="m",
        bundle_uri="s3://a/b",
        bundle_sha256="0",
        predictions_uri="s3://a/p",
        metrics={"roc_auc": 0.9},
    )


class _Queues:
    """A training queue with its dead-letter queue, as the template has them."""

    def __init__(self, port: int) -> None:
        self.sqs = aws("sqs", port)
        name = uuid.uuid4().hex
        self.dead = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": retry_limits.JOB_RECEIVES + 1}
        self.url = self.sqs.create_queue(
            QueueName=name, Attributes={"VisibilityTimeout": "60", "RedrivePolicy": json.dumps(policy)}
        )["QueueUrl"]
        self.failed = self.sqs.create_queue(QueueName=f"{name}-failed")["QueueUrl"]
        self.uploads = self.sqs.create_queue(QueueName=f"{name}-uploads")["QueueUrl"]
        self.files = self.sqs.create_queue(QueueName=f"{name}-batch")["QueueUrl"]
        self.queue = SqsQueue(self.sqs, self.url)

    def outputs(self) -> dict[str, str]:
        return {
            "TrainingQueueUrl": self.url,
            "TrainingDeadLetterQueueUrl": self.dead,
            "FailedEventsQueueUrl": self.failed,
            "UploadsQueueUrl": self.uploads,
            "BatchQueueUrl": self.files,
            "AnalyzeFunction": "analyze",
        }

    def depth(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        result = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(result[n]) for n in names)


class _World:
    def __init__(self, queue: SqsQueue) -> None:
        self.queue, self.workflow, self.store = queue, MemoryWorkflow(), MemoryStore()
        self.env = Environment()


class _Quick(Worker):
    """A worker whose jobs take `seconds` and are counted."""

    def __init__(self, world: Any, done: Counter[str], seconds: float = 0.0) -> None:
        super().__init__(world, logging.getLogger("faults.worker"))
        self._done, self._seconds = done, seconds
        self.together: list[int] = []

    def _run(self, job: TrainingJob, _lost: threading.Event) -> JobResult:
        self._done[job.job_id] += 1
        time.sleep(self._seconds)
        return _result()


@pytest.fixture
def queues(emulator: int, monkeypatch: pytest.MonkeyPatch) -> _Queues:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(module, "WAIT_SECONDS", 0)
    return _Queues(emulator)


@pytest.mark.promise(8)
def test_poison_among_good_jobs_stops_nothing(queues: _Queues, times: Times, figure: Figure) -> None:
    """One message in ten is no job: every good one is done once, every poison one lies in the dead-letter queue."""
    count = times(30, 1000)
    poison = ["{", "null", '{"schema_version": 99}', "\u2603", "x" * 1000, "[]", '{"task_token": 3}']
    for n in range(count):
        queues.queue.send(poison[n % len(poison)] if n % 10 == 0 else _job(n).json_text())
    done: Counter[str] = Counter()
    workers = [
        _Quick(_World(SqsQueue(aws("sqs", int(queues.url.split(":")[2].split("/")[0])), queues.url)), done)
        for _ in range(2)
    ]

    def drain(worker: _Quick) -> None:
        empty = 0
        while empty < 3:
            message = worker._receive()
            empty = 0 if message else empty + 1
            if message:
                worker.take(message, worker._app_context.queue)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(drain, workers))
    bad = (count + 9) // 10
    assert set(done.values()) == {1}
    assert len(done) == count - bad
    assert (queues.depth(queues.url), queues.depth(queues.dead)) == (0, bad)
    figure(f"{count} messages, {bad} poison: {len(done)} done once, {bad} in the dead-letter queue")


@pytest.mark.promise(9)
def test_what_gave_up_is_delivered_again(queues: _Queues, times: Times, figure: Figure) -> None:
    """`dropforge redrive`: dead jobs are on the queue again, failed events go to the function again, nothing is left."""
    count = times(12, 100)
    for n in range(count):
        queues.sqs.send_message(QueueUrl=queues.dead, MessageBody=_job(n).json_text())
        stored = {"key": f"incoming/{n}.csv", "size": n, "versionId": "v"}
        records = [{"s3": {"bucket": {"name": "data"}, "object": stored}}]
        envelope = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": {"Records": records}}
        queues.sqs.send_message(QueueUrl=queues.failed, MessageBody=json.dumps(envelope))

    class _Functions:
        def __init__(self) -> None:
            self.got: list[int] = []

        def invoke(self, *, Payload: str, **_: str) -> None:  # noqa: N803 - boto3's name
            self.got += [record["s3"]["object"]["size"] for record in json.loads(Payload)["Records"]]

    for folder in ("incoming", "batch"):  # as they lay in the queues of analyze and batch
        upload = UploadEvent(bucket="data", key=f"{folder}/a.csv", version="v")
        queues.sqs.send_message(QueueUrl=queues.failed, MessageBody=json.dumps(notification(upload)))
    functions = _Functions()
    assert redriven(queues.sqs, functions, queues.outputs()) == {"events": count + 2, "jobs": count}
    assert [queues.depth(u) for u in (queues.uploads, queues.files)] == [1, 1]
    assert sorted(functions.got) == list(range(count))
    assert [queues.depth(u) for u in (queues.url, queues.dead, queues.failed)] == [count, 0, 0]
    assert redriven(queues.sqs, functions, queues.outputs()) == {"events": 0, "jobs": 0}
    figure(f"{count} dead jobs and {count} failed events: {count} and {count} delivered again")


@pytest.mark.promise(7)
def test_a_slow_job_is_never_done_twice_at_once(
    queues: _Queues, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """It takes three times its visibility; the heartbeat keeps it hidden from a second worker that asks all the time."""
    monkeypatch.setattr(module, "VISIBILITY_SECONDS", 1)
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.2)
    queues.queue.send(_job(1).json_text())
    done: Counter[str] = Counter()
    slow = _Quick(_World(queues.queue), done, seconds=3)
    message = slow._receive()
    assert message is not None
    work = threading.Thread(target=slow.take, args=(message, queues.queue))
    work.start()
    other = _Quick(_World(queues.queue), done)
    requested = 0
    while work.is_alive():
        assert other._receive() is None
        requested += 1
        time.sleep(0.05)
    work.join()
    assert done == {"j1": 1}
    assert queues.depth(queues.url) == 0
    figure(f"a job of 3 s under a visibility of 1 s: asked for {requested} times, done once")


@pytest.mark.promise(15)
def test_the_job_of_a_worker_that_died_is_done_by_the_next(queues: _Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was said and nothing deleted: the message is hidden for its visibility, then the next worker takes it, as its second."""
    monkeypatch.setattr(module, "VISIBILITY_SECONDS", 1)
    queues.queue.send(_job(1).json_text())
    done: Counter[str] = Counter()
    assert _Quick(_World(queues.queue), done)._receive() is not None  # and killed before its first heartbeat
    other, message = _Quick(_World(queues.queue), done), None
    while message is None:
        message = other._receive()
        time.sleep(0.05)
    other.take(message, queues.queue)
    assert message.receives == 2
    assert done == {"j1": 1}
    assert queues.depth(queues.url) == 0


@pytest.mark.promise(40)
def test_a_job_delivered_again_after_its_success_is_dropped(queues: _Queues) -> None:
    """Its token no longer waits: no second training, no message left."""
    done: Counter[str] = Counter()
    world = _World(queues.queue)
    world.workflow.waiting.add("token")
    worker = _Quick(world, done)
    for _ in range(3):
        queues.queue.send(_job(1, "token").json_text())
    for _ in range(3):
        message = worker._receive()
        assert message is not None
        worker.take(message, queues.queue)
    assert done == {"j1": 1}
    assert world.workflow.answers["token"][0] == "succeeded"
    assert queues.depth(queues.url) == 0


@pytest.mark.promise(38)
@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_AS"])
def test_a_full_disk_or_memory_ends_the_job_with_its_reason(limit: str, tmp_path: Path, figure: Figure) -> None:
    """A process that may write 64 kB, or take 300 MB more than it has: the job fails in words, and the worker goes on."""
    script = tmp_path / "run.py"
    script.write_text(_LIMITED)
    assert resource.RLIMIT_FSIZE
    result = subprocess.run(
        [sys.executable, str(script), limit], capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path
    ).stdout
    answers = json.loads(result.splitlines()[-1])
    assert answers["first"][0] == "failed"
    assert answers["first"][1] in {"OSError", "MemoryError"}
    assert answers["second"][0] == "succeeded"
    figure(f"{limit}: the job ended as failed ({answers['first'][1]}), the next one was done")


_LIMITED = """
import json, logging, resource, sys, tempfile
from pathlib import Path
from dropforge_local.memory import MemoryQueue, MemoryStore, MemoryWorkflow
from dropforge.environment import Environment
from dropforge.messages import JobResult, TrainingBudget, TrainingJob
from dropforge_training.worker.queue_worker import Worker


class World:
    queue, workflow, store, env = MemoryQueue(), MemoryWorkflow(), MemoryStore(), Environment()


class Greedy(Worker):
    def _run(self, job, lost):
        if job.job_id == "first" and sys.argv[1] == "RLIMIT_FSIZE":
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "big").write_bytes(bytes(1_000_000))
        elif job.job_id == "first":
            bytearray(2_000_000_000)
        return JobResult(model="m", run_id="r", model_source="m", bundle_uri="s3://a/b", bundle_sha256="0",
                         predictions_uri="s3://a/p", metrics={})


used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
allowed = 65536 if sys.argv[1] == "RLIMIT_FSIZE" else used + 300_000_000
kind = getattr(resource, sys.argv[1])
resource.setrlimit(kind, (allowed, resource.getrlimit(kind)[1]))
worker = Greedy(World, logging.getLogger("limited"))
for name in ("first", "second"):
    World.workflow.waiting.add(name)
    World.queue.send(TrainingJob(task_token=name, job_id=name, upload_id="u", dataset_uri="s3://d/d", settings_uri="s3://d/s",
                     model="m", budget=TrainingBudget(trials=1, seconds=1), seed=1, parent_run_id="p").json_text())
    worker.take(World.queue.receive(wait_seconds=0, visibility_seconds=60), World.queue)
print(json.dumps(World.workflow.answers))
"""
