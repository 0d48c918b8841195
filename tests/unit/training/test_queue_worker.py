"""What becomes of a message: answered, given back or refused. The training is replaced; queue and workflow are the fakes."""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws

from dropforge import retry_limits
from dropforge.environment import Environment
from dropforge.errors import JobFailed, Unavailable
from dropforge.messages import JobResult, TrainingBudget, TrainingJob
from dropforge_local.memory import MemoryQueue, MemoryStore, MemoryWorkflow
from dropforge_local.packaging import load_template
from dropforge_training.interruption import Interrupted
from dropforge_training.worker import memory
from dropforge_training.worker import queue_worker as module
from dropforge_training.worker import train_job as job_module
from dropforge_training.worker.queue_worker import Worker, work_once

from ...log_lines import log_lines

JOB = TrainingJob(
    task_token="token",
    job_id="u-forest",
    upload_id="u",
    dataset_uri="s3://data/d",
    settings_uri="s3://data/s",
    model="forest",
    budget=TrainingBudget(trials=1, seconds=1),
    seed=1,
    parent_run_id="p",
)
RESULT = JobResult(
    model="forest",
    run_id="r",
    model_source="m",
    bundle_uri="s3://a/b",
    bundle_sha256="0",
    predictions_uri="s3://a/p",
    metrics={"roc_auc": 0.9},
)
LOG = logging.getLogger("test.worker")


class _Store(MemoryStore):
    training: Callable[[Callable[[], bool]], JobResult]


Play = Callable[["Played", Callable[[], bool]], JobResult]


@dataclass
class AppContext:
    """The ports a worker uses. `seconds` is the queue's clock."""

    seconds: float = 0.0
    store: _Store = field(default_factory=_Store)
    mlflow_uri: str = "http://127.0.0.1:1"
    workflow: MemoryWorkflow = field(default_factory=MemoryWorkflow)
    env: Environment = field(default_factory=Environment)

    def __post_init__(self) -> None:
        self.queue = MemoryQueue(clock=lambda: self.seconds)
        self.workflow.waiting.add("token")

    def python_function(self) -> None:
        """None is deployed."""

    def receive(self) -> Any:
        return self.queue.receive(wait_seconds=0, visibility_seconds=60)


class Played(Worker):
    """A worker whose trainings are a function of the test: it gets the worker, and the question whether to stop."""

    def __init__(self, world: AppContext, play: Play) -> None:
        super().__init__(world, LOG)
        self._play = play
        self.runs = 0
        world.store.training = self.train

    def train(self, stop: Callable[[], bool]) -> JobResult:
        self.runs += 1
        return self._play(self, stop)


@pytest.fixture(autouse=True)
def _trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own call of `run_job` reaches the function of the test, by the store that it hands on."""

    def run_job(_job: TrainingJob, ports: Any, stop: Callable[[], bool]) -> JobResult:
        store: _Store = ports.store
        return store.training(stop)

    monkeypatch.setattr(job_module, "run_job", run_job)


def succeed(_worker: Worker, _stop: Callable[[], bool]) -> JobResult:
    return RESULT


def raising(error: BaseException) -> Play:
    def play(_worker: Worker, _stop: Callable[[], bool]) -> JobResult:
        raise error

    return play


def deliver(world: AppContext, worker: Worker, body: str | None = None) -> None:
    """Send one message and take it once."""
    world.queue.send(JOB.json_text() if body is None else body)
    worker.take(world.receive(), world.queue)


def test_a_finished_job_is_answered_and_its_message_gone() -> None:
    """The result reaches the token as JSON, and the queue is empty."""
    world = AppContext()
    deliver(world, Played(world, succeed))
    assert world.workflow.answers["token"] == ("succeeded", RESULT.json_text())
    assert world.queue.depth() == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (JobFailed("bad data", fix="mend it"), ("failed", "JobFailed", "bad data Fix: mend it")),
        (ValueError("a defect"), ("failed", "ValueError", "a defect")),
    ],
    ids=["permanent", "defect"],
)
def test_a_failure_that_will_repeat_ends_the_job(error: Exception, reason: tuple[str, ...]) -> None:
    """The token is told the class and the cause, and the message is not tried again."""
    world = AppContext()
    deliver(world, Played(world, raising(error)))
    assert world.workflow.answers["token"] == reason
    assert world.queue.depth() == 0


def test_a_transient_failure_gives_the_job_back_later_each_time() -> None:
    """The message stays, hidden for longer after each attempt, and nobody is told that the job failed."""
    world = AppContext()
    worker = Played(world, raising(Unavailable("MLflow is away")))
    world.queue.send(JOB.json_text())
    hidden = []
    for _ in range(3):
        worker.take(world.receive(), world.queue)
        start = world.seconds
        while (message := world.receive()) is None:
            world.seconds += 1
        hidden.append(world.seconds - start)
        world.queue.extend(message.receipt, 0)
        world.queue._messages[0].receives -= 1  # the look above was the test's, not a worker's
    assert hidden == [30, 120, 480]
    assert world.workflow.answers == {}


def test_the_last_attempt_tells_the_token() -> None:
    """When no further receive will come, a transient failure fails the task; the message stays for the dead-letter queue."""
    world = AppContext()
    worker = Played(world, raising(Unavailable("MLflow is away", fix="start it")))
    world.queue.send(JOB.json_text())
    for _ in range(retry_limits.JOB_RECEIVES):
        worker.take(world.receive(), world.queue)
        world.seconds += 1000
    assert world.workflow.answers["token"] == ("failed", "Unavailable", "MLflow is away Fix: start it")
    assert world.queue.depth() == 1


def test_a_job_that_kills_its_workers_is_told_to_its_workflow() -> None:
    """Four workers took it and none came back: the fifth does not try, the token hears why, the message stays for people."""
    world = AppContext()
    world.queue.send(JOB.json_text())
    for _ in range(
        retry_limits.JOB_RECEIVES
    ):  # taken by workers that are killed: nothing is said, the message reappears
        assert world.receive() is not None
        world.seconds += 1000
    worker = Played(world, succeed)
    worker.take(world.receive(), world.queue)
    assert worker.runs == 0
    assert world.workflow.answers["token"][:2] == ("failed", "JobFailed")
    assert "none came back" in world.workflow.answers["token"][2]
    assert world.queue.depth() == 1


def test_a_job_handed_back_by_workers_told_to_stop_is_not_counted_as_deadly() -> None:
    """More workers than the queue allows receives are told to stop while they have it; the next one does the job."""
    world = AppContext()
    world.queue.send(JOB.json_text())

    def told_to_stop(worker: Worker, _lost: threading.Event) -> JobResult:
        worker.stopping.set()
        raise Interrupted

    for _ in range(2 * retry_limits.JOB_RECEIVES):
        message = world.receive()
        assert message is not None
        assert message.receives == 1
        Played(world, told_to_stop).take(message, world.queue)
        assert world.queue.depth() == 1
    Played(world, succeed).take(world.receive(), world.queue)
    assert world.workflow.answers["token"] == ("succeeded", RESULT.json_text())
    assert world.queue.depth() == 0


def test_the_last_attempt_is_the_templates() -> None:
    """The worker's idea of the last receive leaves one for the answer before the queue's redrive policy takes the message."""
    queue = load_template(Path(__file__).parents[3] / "template.yaml")["Resources"]["TrainingQueue"]["Properties"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == retry_limits.JOB_RECEIVES + 1
    assert queue["VisibilityTimeout"] == module.VISIBILITY_SECONDS


def test_a_job_nobody_waits_for_is_not_started() -> None:
    """A token that was answered or has timed out costs no training, and its message goes away."""
    world = AppContext()
    world.workflow.waiting.clear()
    worker = Played(world, succeed)
    deliver(world, worker)
    assert (worker.runs, world.queue.depth()) == (0, 0)


def test_a_job_whose_task_ends_meanwhile_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat notices that nobody waits any more; the job stops and its message is deleted."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    world = AppContext()

    def until_lost(_worker: Worker, stop: Callable[[], bool]) -> JobResult:
        world.workflow.waiting.clear()
        while not stop():  # as tuning asks between two trials
            threading.Event().wait(0.005)
        raise Interrupted

    deliver(world, Played(world, until_lost))
    assert world.queue.depth() == 0
    assert world.workflow.answers == {}


def test_a_heartbeat_keeps_the_message_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that takes longer than the visibility is not delivered a second time."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    world = AppContext()

    def long(_worker: Worker, _stop: Callable[[], bool]) -> JobResult:
        for _ in range(5):
            world.seconds += 50
            beats = len(world.workflow.heartbeats)
            while len(world.workflow.heartbeats) < beats + 2:  # one whole beat after the clock moved
                threading.Event().wait(0.005)
            assert world.receive() is None
        return RESULT

    deliver(world, Played(world, long))
    assert world.workflow.answers["token"][0] == "succeeded"


def test_stopping_hands_the_job_back_at_once() -> None:
    """A worker told to stop in the middle of a job leaves it, and the message is visible to the next worker immediately."""
    world = AppContext()

    def stopped(worker: Worker, _stop: Callable[[], bool]) -> JobResult:
        worker.stop()
        raise AssertionError("the job went on")

    worker = Played(world, stopped)
    deliver(world, worker)
    assert worker.stopping.is_set()
    assert world.workflow.answers == {}
    again = world.receive()
    assert again is not None
    assert again.receives == 1


@pytest.mark.parametrize("body", ["not json", "[]", '{"schema_version": 9}', "{}", ""])
def test_a_message_that_is_no_job_is_left_for_the_dead_letter_queue(body: str) -> None:
    """It is neither run nor deleted, and the worker takes the next message."""
    world = AppContext()
    worker = Played(world, succeed)
    deliver(world, worker, body)
    assert (worker.runs, world.queue.depth()) == (0, 1)
    world.queue.send(JOB.json_text())
    worker.take(world.receive(), world.queue)
    assert world.workflow.answers["token"][0] == "succeeded"


def test_a_broken_job_with_a_token_fails_its_task() -> None:
    """A message that names its task but is no job tells the workflow instead of letting it wait for the timeout."""
    world = AppContext()
    deliver(world, Played(world, succeed), '{"task_token": "token", "model": 3}')
    assert world.workflow.answers["token"][:2] == ("failed", "InvalidRequest")


@pytest.mark.parametrize("silent", ["succeed", "fail", "heartbeat"])
def test_an_unreachable_workflow_costs_no_job(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the answer cannot be given the message stays, and the worker lives."""
    world = AppContext()

    def away(*_: str) -> bool:
        raise Unavailable("Step Functions is away")

    monkeypatch.setattr(world.workflow, silent, away)
    deliver(world, Played(world, raising(JobFailed("x")) if silent == "fail" else succeed))
    assert world.queue.depth() == 1


@pytest.mark.parametrize("silent", ["delete", "extend"])
def test_an_unreachable_queue_does_not_end_the_worker(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that goes away at the end of a job is no reason to stop: the message reappears by itself."""
    world = AppContext()

    def away(*_: Any) -> None:
        raise Unavailable("SQS is away")

    monkeypatch.setattr(world.queue, silent, away)
    deliver(world, Played(world, succeed if silent == "delete" else raising(Unavailable("x"))))
    world.seconds += 61
    assert world.receive() is not None


@pytest.mark.parametrize(("jobs", "loads"), [(0, 1), (1, 0)], ids=["idle", "busy"])
def test_libraries_are_imported_while_nobody_waits(monkeypatch: pytest.MonkeyPatch, jobs: int, loads: int) -> None:
    """A worker whose queue is empty imports what jobs need, once and before it waits; one that gets a job at once starts with it."""
    world = AppContext()
    worker = Played(world, succeed)
    for _ in range(jobs):
        world.queue.send(JOB.json_text())
    real, waits, loaded = world.queue.receive, [], []

    def three_times(**arguments: Any) -> Any:
        waits.append(arguments["wait_seconds"])
        if len(waits) == 3:
            worker.stop()
        return real(**(arguments | {"wait_seconds": 0}))

    monkeypatch.setattr(world.queue, "receive", three_times)
    monkeypatch.setattr(module, "load_libraries", lambda: loaded.append(1))
    worker.poll()
    assert len(loaded) == loads
    assert waits == [0, module.WAIT_SECONDS, module.WAIT_SECONDS]


def test_polling_survives_a_queue_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker keeps asking, takes the job when the queue is back, and ends when told to."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    world = AppContext()
    world.queue.send(JOB.json_text())
    real, requested = world.queue.receive, []

    def sometimes(**arguments: Any) -> Any:
        requested.append(1)
        if len(requested) < 3:
            raise Unavailable("SQS is away")
        if len(requested) > 3:
            worker.stop()
        return real(**arguments)

    monkeypatch.setattr(world.queue, "receive", sometimes)
    worker = Played(world, succeed)
    worker.poll()
    assert world.workflow.answers["token"][0] == "succeeded"
    assert len(requested) == 4


@pytest.mark.parametrize("play", [succeed, raising(JobFailed("bad data", fix="mend it"))], ids=["done", "failed"])
def test_a_worker_returns_memory_after_every_job(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a job, done or failed, its cycles are collected and the C library is asked once to return free pages."""
    trims: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(malloc_trim=trims.append))
    world = AppContext()
    garbage: list[weakref.ref[Any]] = []

    def training(worker: Worker, stop: Callable[[], bool]) -> JobResult:
        garbage.append(_cycle())
        worker.stopping.set()  # after this job
        return play(worker, stop)

    world.queue.send(JOB.json_text())
    gc.disable()
    try:
        Played(world, training).poll()
    finally:
        gc.enable()
    assert trims == [0]
    assert garbage[0]() is None


class _Cycle:
    itself: _Cycle


def _cycle() -> weakref.ref[_Cycle]:
    cycle = _Cycle()
    cycle.itself = cycle
    return weakref.ref(cycle)


@pytest.mark.parametrize("missing", [AttributeError, OSError])
def test_a_libc_without_trim_is_no_failure(missing: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the C library has no `malloc_trim`, releasing memory is no error."""

    def library(_name: None) -> Any:
        if missing is OSError:
            raise OSError
        return SimpleNamespace()

    monkeypatch.setattr(ctypes, "CDLL", library)
    memory.release()


def test_a_single_job_is_tried_again_in_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no queue behind it a transient failure is retried in place, and the token hears of success."""
    monkeypatch.setattr(module, "_BACKOFF_SECONDS", (0, 0))
    world = AppContext()

    def second_time(worker: Played, _stop: Callable[[], bool]) -> JobResult:
        if worker.runs == 1:
            raise Unavailable("MLflow is away")
        return RESULT

    assert work_once(Played(world, second_time), JOB, world.workflow, LOG)
    assert world.workflow.answers["token"][0] == "succeeded"


def test_a_single_job_always_answers_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every attempt fails, or the container is stopped, the task is failed: nobody else would."""
    monkeypatch.setattr(module, "_BACKOFF_SECONDS", (0, 0))
    world = AppContext()
    assert not work_once(Played(world, raising(Unavailable("away"))), JOB, world.workflow, LOG)
    assert world.workflow.answers["token"][1] == "Unavailable"

    def stopped(worker: Worker, _stop: Callable[[], bool]) -> JobResult:
        worker.stop()
        raise AssertionError("the job went on")

    world = AppContext()
    assert not work_once(Played(world, stopped), JOB, world.workflow, LOG)
    assert world.workflow.answers["token"][1] == "Interrupted"


def _s3_clients() -> int:
    gc.collect()
    return sum(type(o).__name__ == "S3" and isinstance(o, BaseClient) for o in gc.get_objects())


def test_a_worker_keeps_no_s3_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After jobs, five minutes apart, that store artifacts through MLflow there are no more S3 clients than after the first job."""
    from mlflow.store.artifact import s3_artifact_repo
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    clock = iter(range(0, 900, 300))
    monkeypatch.setattr(s3_artifact_repo, "_get_utcnow_timestamp", lambda: now)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    file = tmp_path / "figures.json"
    file.write_text("{}")

    def logs_artifacts(_worker: Worker, _stop: Callable[[], bool]) -> JobResult:
        get_artifact_repository("s3://artifacts/mlflow/run").log_artifact(str(file))
        return RESULT

    clients = []
    with mock_aws():
        boto3.client("s3", "us-east-1").create_bucket(Bucket="artifacts")
        for now in clock:  # noqa: B007 - read by the clock above
            world = AppContext()
            deliver(world, Played(world, logs_artifacts))
            assert world.workflow.answers["token"][0] == "succeeded"
            clients.append(_s3_clients())
    assert max(clients) == clients[0]


def test_a_worker_keeps_no_artifact_repositories(tracking_uri: str, tmp_path: Path) -> None:
    """MLflow's client remembers one for each run, with a pool of threads: after a job there is none."""
    import mlflow
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

    client = mlflow.MlflowClient(tracking_uri, tracking_uri)
    run = client.create_run(client.get_experiment_by_name("training-tests").experiment_id)
    (tmp_path / "figures.json").write_text("{}")

    def logs_artifacts(_worker: Worker, _stop: Callable[[], bool]) -> JobResult:
        client.log_artifacts(run.info.run_id, str(tmp_path))
        return RESULT

    world = AppContext()
    deliver(world, Played(world, logs_artifacts))
    assert world.workflow.answers["token"][0] == "succeeded"
    gc.collect()
    repositories = [o.artifact_uri for o in gc.get_objects() if isinstance(o, ArtifactRepository)]
    assert not [uri for uri in repositories if run.info.run_id in uri]


@pytest.mark.parametrize(
    "error", [ValueError("c4n4ry"), JobFailed("c4n4ry"), Unavailable("c4n4ry")], ids=lambda e: type(e).__name__
)
def test_a_failing_job_logs_no_message(error: Exception) -> None:
    """The workflow hears what a training failed of, for the record; the log has kinds, codes and places."""
    world = AppContext()
    with log_lines() as lines:
        for _ in range(retry_limits.JOB_RECEIVES):
            deliver(world, Played(world, raising(error)))
            world.seconds += 1000
        deliver(world, Played(world, succeed), body='{"c4n4ry": 1}')
    assert "c4n4ry" in str(world.workflow.answers)
    assert type(error).__name__ in lines.text
    assert "c4n4ry" not in lines.text
