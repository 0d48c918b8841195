"""Tracking and Registry on an MLflow server. The client is imported on first use: it costs about a second."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropforge import s3_uri
from dropforge.errors import DropforgeError, NotFound, PermanentError, Unavailable
from dropforge.messages import ModelVersion
from dropforge.ports import DatasetInput, ObjectStore, RunInfo

KEY_TAG = "dropforge.key"
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_BATCH_METRICS = 1000
_BATCH_PARAMS = 100
_AT_ONCE = 8
_RACES = 5  # lost in a row before it is an error
_RACE = "IntegrityError"  # SQLAlchemy's name for a row that is there already, in whatever database


def connect(tracking_uri: str) -> Any:
    """MLflow's client of a server: of its address, or of the ARN of a managed one, to which requests are signed.

    Raises PermanentError when there is nothing to sign with, SettingsError for another ARN.
    """
    from mlflow.tracking import MlflowClient

    if tracking_uri.startswith("arn:"):
        from dropforge.adapters import sagemaker_mlflow

        sagemaker_mlflow.introduce(tracking_uri)
    return MlflowClient(tracking_uri, tracking_uri)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise our errors for MLflow's, and for those of the S3 client inside it: artifacts go to S3 directly."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException

    from dropforge.adapters import aws_client

    try:
        yield
    except MlflowException as error:
        raise _translate(error, what) from error
    except (BotoCoreError, ClientError):
        with aws_client.translated(what):
            raise
    except Boto3Error as error:  # a transfer that failed after its own retries; the cause is only in its words
        raise Unavailable(
            f"{what}: artifacts cannot be written: {error}", code="aws_unavailable", fix="try again in a moment"
        ) from error


def _translate(error: Any, what: str) -> DropforgeError:
    code = str(error.error_code)
    if code in _MISSING:
        return NotFound(
            f"{what} does not exist in MLflow", code="mlflow_missing", fix="check the name in the MLflow UI"
        )
    if code in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}:
        return Unavailable(
            f"{what}: MLflow does not answer: {error}",
            code="mlflow_unavailable",
            fix="is the server up? `dropforge status`",
        )
    return PermanentError(f"{what}: MLflow refused: {error}", code="mlflow_refused", fix="see the message")


def log_input(client: Any, run_id: str, dataset: Any, context: str) -> None:
    """Name a dataset (mlflow.entities.Dataset) as a run's input, whatever others log at the same time.

    MLflow looks a dataset up and then inserts it: of two runs that do so at once one meets the other's row, and finds it
    the next time.
    """
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
    for attempt in range(_RACES):
        try:
            client.log_inputs(run_id, inputs)
            return
        except MlflowException as error:
            if _RACE not in str(error) or attempt + 1 == _RACES:
                raise
            time.sleep(0.05 * (attempt + 1))


class MlflowTracking:
    """Runs of one experiment. Artifacts are written to S3 by our own store: one client, no upload through the server."""

    def __init__(self, tracking_uri: str, experiment: str, store: ObjectStore) -> None:
        self._uri = tracking_uri
        self._experiment = experiment
        self._store = store
        self._client_: Any = None
        self._experiment_id = ""

    @property
    def _client(self) -> Any:
        if self._client_ is None:
            self._client_ = connect(self._uri)
        return self._client_

    def experiment_id(self) -> str:
        """Created on first use; two creators at once end with the same one."""
        if not self._experiment_id:
            from mlflow.exceptions import MlflowException

            with translated(f"experiment {self._experiment}"):
                response = self._client.get_experiment_by_name(self._experiment)
                if response is None:
                    try:
                        self._experiment_id = str(self._client.create_experiment(self._experiment))
                    except MlflowException as error:
                        if error.error_code != _EXISTS:
                            raise
                        response = self._client.get_experiment_by_name(self._experiment)
                if response is not None:
                    self._experiment_id = str(response.experiment_id)
        return self._experiment_id

    def ensure_run(self, key: str, *, name: str, tags: Mapping[str, str]) -> RunInfo:
        experiment = self.experiment_id()
        with translated(f"run {name}"):
            result = self._client.search_runs(
                [experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1, order_by=["attributes.start_time ASC"]
            )
            run = (
                result[0] if result else self._client.create_run(experiment, tags={**tags, KEY_TAG: key}, run_name=name)
            )
        return RunInfo(run.info.run_id, experiment, run.info.status, dict(run.data.tags))

    def log(
        self, run_id: str, *, metrics: Mapping[str, float] | None = None, params: Mapping[str, str] | None = None
    ) -> None:
        from mlflow.entities import Metric, Param

        at = int(time.time() * 1000)
        points = [Metric(_metric_name(k), float(v), at, 0) for k, v in (metrics or {}).items()]
        given = {k: str(v)[:6000] for k, v in (params or {}).items()}
        with translated(f"run {run_id}"):
            if given:
                logged = set(self._client.get_run(run_id).data.params)
                given = {k: v for k, v in given.items() if k not in logged}
            texts = [Param(k, v) for k, v in given.items()]
            for start in range(0, max(len(points), 1), _BATCH_METRICS):
                batch = points[start : start + _BATCH_METRICS]
                first = texts[:_BATCH_PARAMS] if start == 0 else []
                if batch or first:
                    self._client.log_batch(run_id, metrics=batch, params=first)
            for start in range(_BATCH_PARAMS, len(texts), _BATCH_PARAMS):
                self._client.log_batch(run_id, params=texts[start : start + _BATCH_PARAMS])

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        from mlflow.entities import Dataset

        entity = Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type="s3",
            source=json.dumps({"uri": dataset.source_uri}),
            schema=json.dumps({"mlflow_colspec": list(dataset.schema)}),
            profile=json.dumps({"num_rows": dataset.rows}),
        )
        with translated(f"run {run_id}"):
            log_input(self._client, run_id, entity, dataset.context)

    def put_artifacts(self, run_id: str, files: Mapping[str, bytes | Path]) -> None:
        with translated(f"run {run_id}"):
            base = str(self._client.get_run(run_id).info.artifact_uri)

        def put(path: str) -> None:
            body, uri = files[path], s3_uri.join(base, path)
            if isinstance(body, Path):
                self._store.upload(body, uri, content_type=_content_type(path))
            else:
                self._store.put(uri, body, content_type=_content_type(path))

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(put, files))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        with translated(f"run {run_id}"):
            self._client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def finish(self, run_id: str, *, failed: bool = False) -> None:
        with translated(f"run {run_id}"):
            self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    def run_url(self, run: RunInfo) -> str:
        if self._uri.startswith("arn:"):  # its pages are opened from the SageMaker console, by an address that expires
            return ""
        return f"{self._uri.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}"


class MlflowRegistry:
    """Registered models of the server; versions are tied to runs."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client_: Any = None

    @property
    def _client(self) -> Any:
        if self._client_ is None:
            self._client_ = connect(self._uri)
        return self._client_

    def register(self, name: str, *, source: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        with translated(f"model {name}"):
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != _EXISTS:
                    raise
            result = self._client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
            # A logged model (`models:/m-…`) must be named as the resource that holds the source.
            logged = source.removeprefix("models:/") if source.startswith("models:/m-") else None
            created = (
                result[0]
                if result
                else self._client.create_model_version(name, source, run_id, tags=dict(tags), model_id=logged)
            )
            return self._version(created, {})

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with translated(f"model {name} version {version}"):
            self._client.set_registered_model_alias(name, alias, version)

    def drop_alias(self, name: str, alias: str) -> None:
        with translated(f"model {name}"):
            self._client.delete_registered_model_alias(name, alias)

    def resolve(self, alias: str, names: Sequence[str] | None = None) -> list[ModelVersion]:
        with translated(f"alias {alias}"):
            matches: list[ModelVersion] = []
            for model in self._models(names):
                version = model.aliases.get(alias)
                if version:
                    matches.append(self._version(self._client.get_model_version(model.name, version), model.aliases))
            return matches

    def versions(self, names: Sequence[str] | None = None) -> list[ModelVersion]:
        with translated("model versions"):
            aliases = {str(m.name): m.aliases for m in self._models(names)}
            if not aliases:
                return []
            # One request for all of them, which a server takes as long for as for one; what else begins so is left out.
            prefix = os.path.commonprefix(list(aliases))  # noqa: RUF071 - of names: no component of a path is meant
            listed = _every(self._client.search_model_versions, filter_string=f"name LIKE '{prefix}%'")
            listed = sorted((v for v in listed if v.name in aliases), key=lambda v: (v.name, -int(v.version)))
            return [self._version(v, aliases[v.name]) for v in listed]

    def run_tags(self, run_id: str) -> Mapping[str, str]:
        with translated(f"run {run_id}"):
            return dict(self._client.get_run(run_id).data.tags)

    def artifact_uri(self, run_id: str, path: str = "") -> str:
        with translated(f"run {run_id}"):
            base = str(self._client.get_run(run_id).info.artifact_uri)
        return s3_uri.join(base, path) if path else base

    def _models(self, names: Sequence[str] | None) -> list[Any]:
        listed = sorted(_every(self._client.search_registered_models), key=lambda m: str(m.name))
        return [m for m in listed if names is None or m.name in names]

    def _version(self, version: Any, aliases: Mapping[str, str]) -> ModelVersion:
        return ModelVersion(
            name=version.name,
            version=str(version.version),
            run_id=version.run_id or "",
            source=version.source or "",
            aliases=tuple(sorted(a for a, v in aliases.items() if str(v) == str(version.version))),
            tags=dict(version.tags or {}),
        )


def _every(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    """The entries of all pages; a server answers 100 registered models at a time."""
    matches: list[Any] = []
    token: str | None = None
    while True:
        page = search(**arguments, page_token=token)
        matches += page
        token = getattr(page, "token", None)
        if not token:
            return matches


def _metric_name(name: str) -> str:
    """MLflow allows letters, digits, `_ - . / :` and space."""
    return "".join(c if c.isalnum() or c in "_-./: " else "_" for c in name)


def _content_type(path: str) -> str:
    return {
        "html": "text/html; charset=utf-8",
        "svg": "image/svg+xml",
        "json": "application/json",
        "csv": "text/csv",
    }.get(path.rpartition(".")[2], "application/octet-stream")
