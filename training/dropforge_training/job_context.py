"""What the steps of one training job share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from dropforge.config import settings_store
from dropforge.config.settings import ModelSettings, Settings
from dropforge.errors import JobFailed
from dropforge.messages import TrainingJob
from dropforge.ports import Function, ObjectStore
from dropforge_training.models import model_spec
from dropforge_training.models.model_spec import ModelSpec
from dropforge_training.worker.deadline import Deadline


@dataclass(frozen=True, slots=True)
class WorkerPorts:
    """Where a worker reads and writes. `python`: makes the function that runs a champion without a graph."""

    store: ObjectStore
    tracking_uri: str
    data_bucket: str
    log: logging.Logger
    python: Callable[[], Function | None] = lambda: None


@dataclass(frozen=True, slots=True)
class JobContext:
    """A job's message, its settings and its model; where it reads and writes; until when it may run, and who stops it."""

    job: TrainingJob
    settings: Settings
    model: ModelSettings
    store: ObjectStore
    data_bucket: str
    deadline: Deadline
    log: logging.Logger
    stop: Callable[[], bool]

    @classmethod
    def of(cls, job: TrainingJob, ports: WorkerPorts, stop: Callable[[], bool]) -> JobContext:
        """Read the job's settings; its time begins. Raises JobFailed when settings.yaml has no model of its name."""
        deadline = Deadline(job.budget.seconds)
        settings = settings_store.read(ports.store, job.settings_uri)
        model = next((m for m in settings.models if m.name == job.model), None)
        if model is None:
            raise JobFailed(
                f"settings.yaml has no model {job.model!r}", code="model_unknown", fix="name it under models:"
            )
        return cls(job, settings, model, ports.store, ports.data_bucket, deadline, ports.log, stop)

    def candidate(self) -> ModelSpec:
        """The plug-in of the job's model. Raises SettingsError when it cannot be loaded."""
        return model_spec.load(self.model.import_path, self.settings.data.task)
