"""The MLflow run of a training job. The only module here that imports mlflow."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dropforge.adapters.mlflow_registry import KEY_TAG, connect, log_input, translated
from dropforge.config.settings import Settings
from dropforge.messages import JobResult, TrainingJob
from dropforge.observability import mask_library
from dropforge_training.preprocessing.cleaner import LabelledPipeline, NumberPipeline

_RESULT = "result.json"


def close_clients() -> None:
    """Let go of the S3 clients and the artifact repositories that MLflow has made in this process.

    It makes a client every five minutes and keeps the last 64, each with its connections, and a repository for each run and each
    logged model, and keeps the last 1,024, each with pools of threads: in a worker that lives for days memory and open files
    would grow for hours.
    """
    from mlflow.store.artifact import s3_artifact_repo
    from mlflow.tracking._tracking_service import utils

    s3_artifact_repo._cached_get_s3_client.cache_clear()
    utils._artifact_repos_cache.clear()


@contextmanager
def _same_search_path() -> Iterator[None]:
    """Import the same modules afterwards as before.

    MLflow loads every model it has logged, to try it, puts the folders of its code in front of sys.path and leaves them there
    when they are gone: in a worker every later import would look into two more folders for each job, and remember them.
    """
    before = sys.path
    try:
        yield
    finally:
        added = tuple(set(sys.path) - set(before))
        sys.path = before  # MLflow binds a new list
        for folder in [p for p in sys.path_importer_cache if added and p.startswith(added)]:
            del sys.path_importer_cache[folder]


class JobRun:
    """One run for one job: made once, found again by every later attempt."""

    def __init__(self, tracking_uri: str, settings: Settings, job: TrainingJob) -> None:
        import mlflow

        self._mlflow = mlflow
        self._client = connect(tracking_uri)
        mlflow.set_tracking_uri(tracking_uri)
        self._job = job
        with translated(f"run of job {job.job_id}"):
            parent = self._client.get_run(job.parent_run_id)
            self.experiment_id = parent.info.experiment_id
            result = self._client.search_runs([self.experiment_id], f"tags.`{KEY_TAG}` = '{job.job_id}'", max_results=1)
            self._run = result[0] if result else self._create(settings, parent)
        self.run_id: str = self._run.info.run_id
        self.artifact_uri: str = self._run.info.artifact_uri

    def _create(self, settings: Settings, parent: Any) -> Any:
        tags = {
            KEY_TAG: self._job.job_id,
            "dropforge.kind": "training",
            "mlflow.parentRunId": self._job.parent_run_id,
            "upload_id": self._job.upload_id,
            "job_id": self._job.job_id,
            "dataset_id": parent.data.tags.get("dataset_id", ""),
            "settings_sha256": settings.sha256,
        }
        return self._client.create_run(
            self.experiment_id, tags=tags, run_name=f"{self._job.model} {self._job.upload_id[:8]}"
        )

    def stored_result(self) -> JobResult | None:
        """The answer of the attempt that finished this job; None when none did.

        The stored answer decides, not the run's status: MLflow's own calls may close a run before its answer is stored.
        """
        with translated(f"run {self.run_id}"), tempfile.TemporaryDirectory() as folder:
            if not any(f.path == _RESULT for f in self._client.list_artifacts(self.run_id)):
                return None
            path = self._client.download_artifacts(self.run_id, _RESULT, folder)
            result = JobResult.parse(Path(path).read_text())
            if self._run.info.status != "FINISHED":  # the attempt died between storing the answer and closing the run
                self._client.set_terminated(self.run_id, "FINISHED")
            return result

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters in one call; one of an earlier attempt that differs keeps its first value."""
        from mlflow.entities import Param

        with translated(f"run {self.run_id}"):
            known = self._client.get_run(self.run_id).data.params
            texts = [Param(k, str(v)[:500]) for k, v in params.items() if k not in known]
            self._client.log_batch(self.run_id, params=texts)

    def log_progress(self, trial: int, figures: Mapping[str, float]) -> None:
        """Metrics of a search that is under way; `trial` is their step."""
        from mlflow.entities import Metric

        at = int(time.time() * 1000)
        with translated(f"run {self.run_id}"):
            self._client.log_batch(self.run_id, metrics=[Metric(k, float(v), at, trial) for k, v in figures.items()])

    def log_dataset(self, name: str, digest: str, uri: str, rows: int) -> None:
        """Name the dataset as an input of the run."""
        from mlflow.entities import Dataset

        dataset = Dataset(
            name=name,
            digest=digest,
            source_type="s3",
            source=json.dumps({"uri": uri}),
            profile=json.dumps({"num_rows": rows}),
        )
        with translated(f"run {self.run_id}"):
            log_input(self._client, self.run_id, dataset, "training")

    def log_model(
        self,
        model: LabelledPipeline | NumberPipeline,
        example: Any,
        metrics: Mapping[str, float],
        code: Sequence[str] = (),
    ) -> str:
        """The whole pipeline with signature and input example; returns the model URI to register. `code`: folders it needs besides.

        The metrics become the run's and the logged model's in one call after it: of those that a run has before its model, MLflow
        reads the history one by one, a request to its server for each.

        Kept as cloudpickle: it holds our own classes and XGBoost, which the skops format refuses. It is read by people and
        trainers only: the API loads the ONNX bundle and never a pickle.
        """
        import mlflow.sklearn
        from mlflow.entities import Metric
        from mlflow.models import infer_signature

        logging.getLogger("mlflow.sklearn").setLevel(logging.ERROR)  # its advice for skops; see above
        mask_library("mlflow")  # it quotes rows that it cannot use
        # Integers as doubles: an integer column cannot say "missing", and MLflow would refuse rows that do.
        example = example.astype(dict.fromkeys(example.select_dtypes("integer").columns, "float64"))
        signature = infer_signature(example, model.predict(example))
        with translated(f"run {self.run_id}"), self._mlflow.start_run(run_id=self.run_id), _same_search_path():
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                serialization_format="cloudpickle",
                signature=signature,
                input_example=example,
                code_paths=[str(Path(__file__).parents[1]), *code],
                pip_requirements=["scikit-learn", "xgboost-cpu", "pandas", "numpy"],
            )
            at, known = int(time.time() * 1000), {"run_id": self.run_id, "model_id": logged.model_id}
            self._client.log_batch(self.run_id, [Metric(k, float(v), at, 0, **known) for k, v in metrics.items()])
        return str(logged.model_uri)

    def put(self, folder: Path, path: str = "") -> None:
        """Every file of a local folder as artifacts below `path`."""
        with translated(f"run {self.run_id}"):
            self._client.log_artifacts(self.run_id, str(folder), path or None)

    def finish(self, result: JobResult) -> None:
        """Store the answer, then close the run: a closed run always has its answer."""
        with translated(f"run {self.run_id}"):
            self._client.log_text(self.run_id, result.json_text(), _RESULT)
            self._client.set_terminated(self.run_id, "FINISHED")
