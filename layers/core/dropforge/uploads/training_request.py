"""What the training workflow is asked to do for one upload, and where that is kept."""

from __future__ import annotations

import logging

from dropforge import ids
from dropforge.config.cost_estimate import before_training
from dropforge.config.settings import Settings
from dropforge.messages import ModelProgress, TrainingBudget, TrainingJob, TrainingRequest
from dropforge.uploads.upload_repository import UploadRepository


def build(
    settings: Settings, *, upload_id: str, dataset_id: str, dataset_uri: str, settings_uri: str, parent_run_id: str
) -> TrainingRequest:
    """One job for every model of the settings."""
    jobs = tuple(
        TrainingJob(
            job_id=ids.job_id(upload_id, m.name),
            upload_id=upload_id,
            dataset_uri=dataset_uri,
            settings_uri=settings_uri,
            model=m.name,
            budget=TrainingBudget(trials=m.budget.trials, seconds=m.budget.seconds, money=m.budget.money),
            seed=settings.training.seed,
            parent_run_id=parent_run_id,
            workers=tuple(range(1, m.workers + 1)) if m.workers > 1 else (),
        )
        for m in settings.models
    )
    return TrainingRequest(
        upload_id=upload_id,
        dataset_id=dataset_id,
        dataset_uri=dataset_uri,
        settings_uri=settings_uri,
        parent_run_id=parent_run_id,
        jobs=jobs,
    )


def log_cost(settings: Settings, upload_id: str, book: UploadRepository, log: logging.Logger) -> None:
    """Record and log what the training may cost, before a job is sent out: it is known even when nothing comes back."""
    limit = before_training(settings)
    book.update(upload_id, cost=limit)
    log.info("training may cost", extra={"correlation_id": upload_id, "cost": limit})


def plan(request: TrainingRequest) -> tuple[ModelProgress, ...]:
    """What is to be trained, before any worker has begun."""
    return tuple(
        ModelProgress(model=j.model, trials_budget=j.budget.trials, seconds_budget=j.budget.seconds)
        for j in request.jobs
    )
