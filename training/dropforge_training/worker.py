"""The training process: one job from the variable JOB, or jobs from the queue until it is told to stop.

A job that is being worked on is kept hidden by a heartbeat. A worker that dies stops beating: the job reappears and the
next worker goes on with the same study and the same run.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from types import FrameType

from dropforge import bootstrap, observability
from dropforge.environment import Environment
from dropforge.errors import DropforgeError, InvalidRequest, TransientError
from dropforge.messages import JobResult, TrainingJob
from dropforge.ports import Queue, QueueMessage, Workflow

VISIBILITY_SECONDS = 60
BEAT_SECONDS = 15
WAIT_SECONDS = 10
_BACKOFF_SECONDS = 20


class Worker:
    """Takes one job at a time. `stopping` is set by SIGTERM."""

    def __init__(self, world: bootstrap.World, log: logging.Logger) -> None:
        self._world = world
        self._log = log
        self.stopping = threading.Event()

    def poll(self) -> None:
        """Until told to stop."""
        self._log.info("waiting for jobs", extra={"queue": self._world.env.training_queue_url})
        while not self.stopping.is_set():
            try:
                message = self._world.queue.receive(wait_seconds=WAIT_SECONDS, visibility_seconds=VISIBILITY_SECONDS)
            except TransientError as error:
                self._log.warning("the queue does not answer", extra={"why": error.message})
                self.stopping.wait(2)
                continue
            if message is not None:
                self.take(message, self._world.queue)

    def take(self, message: QueueMessage, queue: Queue) -> None:
        """One message: done, failed for good, or given back."""
        try:
            job = TrainingJob.parse(message.body)
        except InvalidRequest as error:
            # Left in the queue: after its last receive SQS moves it to the dead-letter queue, where a person finds it.
            self._log.error("not a training job", extra={"why": error.message, "receives": message.receives})
            return
        with observability.context(correlation_id=job.upload_id, job_id=job.job_id, model=job.model):
            beat = _Heartbeat(job, queue, message.receipt, self._world.workflow, self._log)
            with beat:
                done = self.work(job, lost=beat.lost, receives=message.receives)
            if done:
                queue.delete(message.receipt)
            else:
                queue.extend(message.receipt, 0 if self.stopping.is_set() else _BACKOFF_SECONDS)

    def work(self, job: TrainingJob, *, lost: threading.Event, receives: int = 1) -> bool:
        """Run the job and answer its token. False: try again later."""
        self._log.info("job started", extra={"attempt": receives})
        try:
            result = self._run(job, lost)
        except TransientError as error:
            self._log.warning("job given back", extra={"code": error.code, "why": error.message})
            return False
        except DropforgeError as error:
            self._log.error("job failed", extra={"code": error.code, "why": error.message})
            self._world.workflow.fail(job.task_token, type(error).__name__, f"{error.message} Fix: {error.fix}")
            return True
        except Exception as error:
            # A defect must end the job with its reason, not leave its workflow waiting for the timeout.
            self._log.exception("job failed")
            self._world.workflow.fail(job.task_token, type(error).__name__, str(error))
            return True
        if result is None:
            self._log.info("job handed back" if self.stopping.is_set() else "job dropped: nobody waits for it")
            return not self.stopping.is_set()
        waited = self._world.workflow.succeed(job.task_token, result.json_text())
        self._log.info("job done" if waited else "job done, but its workflow no longer waits")
        return True

    def _run(self, job: TrainingJob, lost: threading.Event) -> JobResult | None:
        from dropforge_training.job import Interrupted, run_job

        try:
            return run_job(
                job,
                store=self._world.store,
                tracking_uri=self._world.env.mlflow_tracking_uri,
                data_bucket=self._world.env.data_bucket,
                log=self._log,
                stop=lambda: self.stopping.is_set() or lost.is_set(),
            )
        except Interrupted:
            return None


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
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                if self._queue is not None:
                    self._queue.extend(self._receipt, VISIBILITY_SECONDS)
                if self._job.task_token and not self._workflow.heartbeat(self._job.task_token):
                    self._log.warning("the workflow no longer waits for this job")
                    self.lost.set()
                    return
            except DropforgeError as error:
                self._log.warning("heartbeat failed; trying again", extra={"why": error.message})


def main() -> int:
    """Entry point of the container and of the local worker. Exit code 0: stopped or done; 1: a single job did not succeed."""
    env = Environment.read()
    world = bootstrap.world(env)
    env.require("mlflow_tracking_uri")
    log = observability.logger("training", env.log_level)
    world.ship_logs(log, f"{socket.gethostname()}/{os.getpid()}")
    worker = Worker(world, log)

    def stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        worker.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        if not env.job:
            worker.poll()
            return 0
        job = TrainingJob.parse(env.job)
        with observability.context(correlation_id=job.upload_id, job_id=job.job_id, model=job.model):
            beat = _Heartbeat(job, None, "", world.workflow, log)
            with beat:
                return 0 if worker.work(job, lost=beat.lost) else 1
    finally:
        for handler in log.handlers:
            handler.close()


if __name__ == "__main__":
    sys.exit(main())
