"""A job of the role `tune`: trials of a study that several workers share, and nothing else."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from threadpoolctl import threadpool_limits

from dropforge.datasets.dataset_store import load_manifest
from dropforge.messages import TrainingJob, TuneResult
from dropforge_training.data import training_table
from dropforge_training.job_context import JobContext, WorkerPorts
from dropforge_training.search import job_search
from dropforge_training.worker.mlflow_run import JobRun
from dropforge_training.worker.progress_reporter import Note, Reporter

_ROWS_A_THREAD = 5000


def run_tune(job: TrainingJob, ports: WorkerPorts, stop: Callable[[], bool]) -> TuneResult:
    """Run trials until the study's budget is used up. The job of the role `finish` makes the model.

    Raises what job.run_job raises.
    """
    context = JobContext.of(job, ports, stop)
    settings, store, log = context.settings, ports.store, ports.log
    with contextlib.ExitStack() as stack:
        tell: Callable[..., None] = _silent
        if job.worker == 1:  # one of them makes the run and tells of all: its study is everybody's
            note = Note(store, ports.data_bucket, job, settings.training.metric, log)
            note.stage("tuning")
            tell = stack.enter_context(Reporter(JobRun(ports.tracking_uri, settings, job), log, note=note))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dropforge-job-"))
        loaded = training_table.load(store, load_manifest(store, job.dataset_uri), settings, Path(folder))
        jobs = cores(len(loaded.train))
        data = job_search.decided(context, loaded, jobs=jobs)
        log.info("data loaded", extra={"train_rows": len(data.train), "worker": job.worker})
        stack.enter_context(threadpool_limits(jobs))
        tuned = job_search.run(context, context.candidate(), data, jobs=jobs, tell=tell)
    score = tuned.score if tuned.members else None
    log.info("tuned", extra={"worker": job.worker, "trials": tuned.trials, "seconds": round(tuned.seconds, 1)})
    return TuneResult(model=job.model, worker=job.worker, trials=tuned.trials, best_score=score)


def cores(rows: int) -> int:
    """Threads worth starting: those this process may use, but one for a few rows, where waking them costs more than it saves."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(mine, 1 + rows // _ROWS_A_THREAD)


def _silent(_: object) -> None: ...
