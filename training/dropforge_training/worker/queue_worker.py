"""The training process: one job from the variable JOB (a training or a pull), or jobs from the queue until it is told to stop.

A job that is being worked on is kept hidden by a heartbeat. A worker that dies stops beating: the job reappears and the
next worker goes on with the same study and the same run.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

from dropforge import app_context, observability
from dropforge.environment import Environment
from dropforge.errors import DropforgeError, InvalidRequest, JobFailed, TransientError
from dropforge.messages import JobResult, TrainingJob, TuneResult
from dropforge.ports import Queue, QueueMessage, Workflow
from dropforge.retry_limits import JOB_RECEIVES
from dropforge_training.interruption import Interrupted
from dropforge_training.worker import memory, pull_job

VISIBILITY_SECONDS = 60
BEAT_SECONDS = 15
WAIT_SECONDS = 10
_PAUSE_SECONDS = 2
_BACKOFF_SECONDS = (30, 120, 480)  # an outage of ten minutes costs no job


class Worker:
    """Takes one job at a time. `stopping` is set by `stop`, which SIGTERM calls."""

    def __init__(self, world: app_context.AppContext, log: logging.Logger) -> None:
        self._app_context = world
        self._log = log
        self._interruptible = False
        self._libraries_loaded = False
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Take no further job, leave the one in work at once. Called in the main thread, where jobs run and are waited for.

        A message that arrives in the very instant of stopping stays hidden for VISIBILITY_SECONDS, then reappears.
        """
        self.stopping.set()
        if self._interruptible:
            raise Interrupted

    def poll(self) -> None:
        """Until told to stop."""
        self._log.info("waiting for jobs", extra={"queue": self._app_context.env.training_queue_url})
        while not self.stopping.is_set():
            try:
                message = self._receive()
            except Interrupted:
                break
            except DropforgeError as error:  # even "does not exist": a cloud that restarts has no queue for a moment
                self._log.warning("the queue does not answer", extra=observability.failure(error))
                self.stopping.wait(_PAUSE_SECONDS)
                continue
            if message is not None:
                self.take(message, self._app_context.queue)
                memory.release()
            elif not self._libraries_loaded:
                load_libraries()
            self._libraries_loaded = True
        self._log.info("stopped")

    def _receive(self) -> QueueMessage | None:
        try:
            self._interruptible = True
            wait = (
                WAIT_SECONDS if self._libraries_loaded else 0
            )  # a worker that just started has something to do meanwhile
            return self._app_context.queue.receive(wait_seconds=wait, visibility_seconds=VISIBILITY_SECONDS)
        finally:
            self._interruptible = False

    def take(self, message: QueueMessage, queue: Queue) -> None:
        """One message: done, failed for good, or given back. Never raises: what cannot be said now reappears later."""
        try:
            job = TrainingJob.parse(message.body)
        except InvalidRequest as error:
            self._refuse(message, queue, error)
            return
        if message.receives > JOB_RECEIVES:
            self._fail_exhausted_job(job, message, queue)
            return
        with observability.context(correlation_id=job.upload_id, job_id=job.job_id, model=job.model):
            beat = _Heartbeat(job, queue, message.receipt, self._app_context.workflow, self._log)
            with beat:
                done = self.work(job, lost=beat.lost, last=message.receives >= JOB_RECEIVES)
            try:
                if done:
                    queue.delete(message.receipt)
                elif self.stopping.is_set():
                    # As a new message: its receives count workers that died, and this one was only told to stop. Sent before the
                    # old one goes: twice is harmless, never is not.
                    queue.send(message.body)
                    queue.delete(message.receipt)
                else:
                    queue.extend(message.receipt, _BACKOFF_SECONDS[min(message.receives, len(_BACKOFF_SECONDS)) - 1])
            except DropforgeError as error:
                self._log.warning(
                    "the queue does not answer; the job reappears by itself", extra=observability.failure(error)
                )

    def work(self, job: TrainingJob, *, lost: threading.Event, last: bool = False) -> bool:
        """Run the job and answer its token. False: try again later; with `last` there is no later, and the token is told."""
        self._log.info("job started")
        try:
            if job.task_token and not self._app_context.workflow.heartbeat(job.task_token):
                self._log.info("job dropped: nobody waits for it")
                return True
            result = self._run(job, lost)
            waited = not job.task_token or self._app_context.workflow.succeed(job.task_token, result.json_text())
        except Interrupted:
            self._log.info("job handed back" if self.stopping.is_set() else "job dropped: nobody waits for it")
            return not self.stopping.is_set()
        except TransientError as error:
            self._log.warning("job given back", extra={**observability.failure(error), "last": last})
            if last:
                self._fail(job.task_token, error)
            return False
        except DropforgeError as error:
            self._log.error("job failed", extra=observability.failure(error))
            return self._fail(job.task_token, error)
        except Exception as error:
            # A defect must end the job with its reason, not leave its workflow waiting for the timeout.
            self._log.exception("job failed")
            return self._fail(job.task_token, error)
        self._log.info("job done" if waited else "job done, but its workflow no longer waits")
        return True

    def _run(self, job: TrainingJob, lost: threading.Event) -> JobResult | TuneResult:
        from dropforge_training.job_context import WorkerPorts
        from dropforge_training.worker import mlflow_run
        from dropforge_training.worker.train_job import run_job
        from dropforge_training.worker.tune_job import run_tune

        task: Callable[..., JobResult | TuneResult] = run_tune if job.role == "tune" else run_job
        app = self._app_context
        ports = WorkerPorts(app.store, app.mlflow_uri, app.env.data_bucket, self._log, app.python_function)
        try:
            self._interruptible = True
            return task(job, ports, lambda: self.stopping.is_set() or lost.is_set())
        finally:
            self._interruptible = False
            mlflow_run.close_clients()

    def _fail(self, token: str, error: Exception) -> bool:
        """Tell the workflow. False when it does not answer: the message reappears and the job fails once more."""
        cause = f"{error.message} Fix: {error.fix}" if isinstance(error, DropforgeError) else str(error)
        try:
            if token:
                self._app_context.workflow.fail(token, type(error).__name__, cause)
        except DropforgeError as unheard:
            self._log.warning("the workflow does not answer", extra=observability.failure(unheard))
            return False
        return True

    def _fail_exhausted_job(self, job: TrainingJob, message: QueueMessage, queue: Queue) -> None:
        """Every worker that took it went away without a word, as one that runs out of memory does: told instead of tried.

        Its next receive moves it to the dead-letter queue.
        """
        with observability.context(correlation_id=job.upload_id, job_id=job.job_id, model=job.model):
            self._log.error("job failed", extra={"code": "worker_died", "receives": message.receives})
            error = JobFailed(
                f"{JOB_RECEIVES} workers took this job and none came back",
                code="worker_died",
                fix="give the worker more memory, or narrow the model's `search` in settings.yaml",
            )
            self._fail(job.task_token, error)
            try:
                queue.extend(message.receipt, 0)
            except DropforgeError as unheard:
                self._log.warning("the queue does not answer", extra=observability.failure(unheard))

    def _refuse(self, message: QueueMessage, queue: Queue, error: InvalidRequest) -> None:
        """Not a job. Left in the queue: after its last receive it moves to the dead-letter queue, where a person finds it."""
        self._log.error("not a training job", extra={**observability.failure(error), "receives": message.receives})
        try:
            value = json.loads(message.body)
        except ValueError:
            value = None
        token = value.get("task_token") if isinstance(value, dict) else None
        if isinstance(token, str) and token and message.receives == 1:
            self._fail(token, error)
        try:
            queue.extend(message.receipt, _PAUSE_SECONDS)
        except DropforgeError as unheard:
            self._log.warning("the queue does not answer", extra=observability.failure(unheard))


def load_libraries() -> None:
    """Import what every job needs, while the queue is empty: the first job would wait some five seconds for it."""
    import mlflow.pyfunc
    import mlflow.sklearn  # noqa: F401 - as below
    import xgboost  # noqa: F401 - loaded for the jobs to come

    from dropforge_training.worker import train_job, tune_job  # noqa: F401 - as above


class _Heartbeat:
    """Keeps the message hidden and the workflow's task alive while the job runs; `lost` when the task no longer waits."""

    def __init__(
        self, job: TrainingJob, queue: Queue | None, receipt: str, workflow: Workflow, log: logging.Logger
    ) -> None:
        self.lost = threading.Event()
        self._job = job
        self._queue = queue
        self._receipt = receipt
        self._workflow = workflow
        self._log = log
        self._done = threading.Event()
        self._fields = observability.current()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        with observability.context(**self._fields):
            while not self._done.wait(BEAT_SECONDS) and not self.lost.is_set():
                self._once()

    def _once(self) -> None:
        try:
            if self._queue is not None:
                self._queue.extend(self._receipt, VISIBILITY_SECONDS)
            if self._job.task_token and not self._workflow.heartbeat(self._job.task_token):
                self._log.warning("the workflow no longer waits for this job")
                self.lost.set()
        except DropforgeError as error:
            self._log.warning("heartbeat failed; trying again", extra=observability.failure(error))


def main() -> int:
    """Entry point of the container and of the local worker. Exit code 0: stopped or done; 1: a single job did not succeed."""
    env = Environment.read()
    world = app_context.create(env)
    log = world.log("training")
    world.ship_logs(log, f"{socket.gethostname()}/{os.getpid()}")
    try:
        return pull_job.main(world, log) if pull_job.is_pull(env.job) else _train(world, log)
    finally:
        for handler in log.handlers:
            handler.close()


def _train(world: app_context.AppContext, log: logging.Logger) -> int:
    env = world.env.require("mlflow_tracking_uri")
    worker = Worker(world, log)

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stop()  # no logging here: the signal may have come in the middle of a line

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if not env.job:
        worker.poll()
        return 0
    return 0 if work_once(worker, TrainingJob.parse(env.job), world.workflow, log) else 1


def work_once(worker: Worker, job: TrainingJob, workflow: Workflow, log: logging.Logger) -> bool:
    """The job of the variable JOB. No queue brings it back, so it is tried again here, and its token is always answered."""
    with observability.context(correlation_id=job.upload_id, job_id=job.job_id, model=job.model):
        beat = _Heartbeat(job, None, "", workflow, log)
        with beat:
            for pause in (*_BACKOFF_SECONDS, None):
                if worker.work(job, lost=beat.lost, last=pause is None):
                    return True
                if worker.stopping.wait(pause or 0):
                    break
        if worker.stopping.is_set() and job.task_token:
            workflow.fail(job.task_token, "Interrupted", "the container was stopped. Fix: start the job again")
        return False


if __name__ == "__main__":
    sys.exit(main())
