"""The only place that builds adapters. Each process asks for what it needs; nothing is built before it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dropforge import keys, observability
from dropforge.environment import Environment

if TYPE_CHECKING:
    from dropforge.config.settings import Settings
    from dropforge.ports import EventBus, Function, Logs, MacKey, ObjectStore, Queue, Registry, Tracking, Workflow
    from dropforge.system_events import SystemEvent
    from dropforge.uploads.upload_repository import UploadRepository


class AppContext:
    """The adapters of one process. Imports are inside: predict must not pay for MLflow, nor control for DuckDB."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._log = logging.getLogger("dropforge")

    @cached_property
    def store(self) -> ObjectStore:
        """Objects on S3."""
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.s3_store import S3Store

        return S3Store(client("s3", self.env))

    @cached_property
    def queue(self) -> Queue:
        """Training jobs."""
        return self._queue("training_queue_url")

    @cached_property
    def uploads_queue(self) -> Queue:
        """Events of uploads."""
        return self._queue("uploads_queue_url")

    @cached_property
    def batch_queue(self) -> Queue:
        """Events of files to be scored."""
        return self._queue("batch_queue_url")

    def _queue(self, variable: str) -> Queue:
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.sqs_queue import SqsQueue

        self.env.require(variable)
        return SqsQueue(client("sqs", self.env), getattr(self.env, variable))

    @cached_property
    def workflow(self) -> Workflow:
        """The state machine of trainings."""
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.step_functions import StepFunctionsWorkflow

        return StepFunctionsWorkflow(client("stepfunctions", self.env), self.env.state_machine_arn)

    @cached_property
    def registry(self) -> Registry:
        """MLflow's model registry."""
        from dropforge.adapters.mlflow_registry import MlflowRegistry

        return MlflowRegistry(self.mlflow_uri)

    @cached_property
    def mlflow_uri(self) -> str:
        """Address of the tracking server; its client has been given the credentials, where a secret holds any."""
        self.env.require("mlflow_tracking_uri")
        if self.env.mlflow_secret_arn:
            from dropforge.adapters.aws_client import client
            from dropforge.adapters.secrets_manager import Secrets

            self.env.hand_to_mlflow(Secrets(client("secretsmanager", self.env)).read(self.env.mlflow_secret_arn))
        return self.env.mlflow_tracking_uri

    def log(self, service: str) -> logging.Logger:
        """The process's logger, at the level and with the metrics namespace of the environment."""
        from dropforge.adapters.powertools_logging import PowertoolsFormatter

        env = self.env
        self._log = observability.logger(service, env.log_level, env.metrics_namespace, formatter=PowertoolsFormatter)
        return self._log

    @cached_property
    def logs(self) -> Logs:
        """Lines of the functions' log groups."""
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.cloudwatch_reader import CloudWatchLogs

        self.env.require("log_group_prefix")
        return CloudWatchLogs(client("logs", self.env))

    @cached_property
    def event_bus(self) -> EventBus:
        """Where system events go."""
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.eventbridge import EventBridgeBus

        return EventBridgeBus(client("events", self.env), f"dropforge.{self.env.project_name}")

    def announce(self, make: Callable[[str], SystemEvent | None]) -> None:
        """Put the event that `make` gives for the project's name, if any; none where no project is named. Never raises.

        What the event tells of has happened already: it must not be undone, or done twice, because nobody could be told.
        """
        if not self.env.project_name:
            return
        try:
            event = make(self.env.project_name)
            if event is not None:
                self.event_bus.put(event)
        except Exception as error:
            self._log.warning("not announced", extra=observability.failure(error))

    def python_function(self) -> Function | None:
        """The function that runs models without a graph; None when none is deployed. Asked for when such a model is."""
        return self.function(self.env.python_function) if self.env.python_function else None

    def function(self, name: str) -> Function:
        """Another function of the system, by its name or ARN."""
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.lambda_function import LambdaFunction

        return LambdaFunction(client("lambda", self.env), name)

    @cached_property
    def history_key(self) -> MacKey | None:
        """Key of the deployment history; None when none is configured. Only those who change or verify the history have it."""
        if not self.env.history_key:
            return None
        from dropforge.adapters import history_mac

        if self.env.history_key.startswith(history_mac.FILE):
            return history_mac.FileKey(Path(self.env.history_key.removeprefix(history_mac.FILE)))
        from dropforge.adapters.aws_client import client

        return history_mac.KmsKey(client("kms", self.env), self.env.history_key)

    def ship_logs(self, log: logging.Logger, stream: str) -> None:
        """Send the logger's lines to the training log group too, where the environment names one."""
        if not self.env.training_log_group:
            return
        from dropforge.adapters.aws_client import client
        from dropforge.adapters.cloudwatch_handler import CloudWatchHandler

        handler = CloudWatchHandler(client("logs", self.env), self.env.training_log_group, stream)
        handler.setFormatter(log.handlers[0].formatter)
        log.addHandler(handler)

    def tracking(self, experiment: str) -> Tracking:
        """Runs of the project's experiment."""
        from dropforge.adapters.mlflow_registry import MlflowTracking

        return MlflowTracking(self.mlflow_uri, experiment, self.store)

    @cached_property
    def uploads(self) -> UploadRepository:
        """Records of uploads."""
        from dropforge import announce
        from dropforge.uploads.upload_repository import UploadRepository

        self.env.require("data_bucket")
        return UploadRepository(
            self.store, self.env.data_bucket, lambda record: announce.upload_ended(record, self.announce)
        )

    def settings(self, uri: str = "") -> Settings:
        """The settings in force, or those a job names. Read anew on each call: they are data and may change."""
        from dropforge.config import settings_store

        return settings_store.read(self.store, uri or keys.settings(self.env.data_bucket))


def create(env: Environment | None = None) -> AppContext:
    """From the process environment unless one is given; libraries log without values from now on.

    Raises SettingsError when the buckets are not named.
    """
    observability.mask_libraries()
    result = env or Environment.read()
    result.require("data_bucket", "artifact_bucket")
    return AppContext(result)
