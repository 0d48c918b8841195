"""A training job of the product on a table, without a cloud: store in memory, MLflow in a database file, everything else as it is."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dropforge import keys
from dropforge.config import settings_store
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.table_schema import ROW_HASH, Column, Kind, Schema
from dropforge.messages import JobResult, TrainingBudget, TrainingJob
from dropforge_local.memory import MemoryStore

DATASET = "s3://data/datasets/d/training.json"


def kinds(table: pd.DataFrame) -> dict[str, Kind]:
    """What each column is: whole numbers, numbers, or categories."""
    return {
        str(c): "integer" if t.kind in "iu" else "number" if t.kind == "f" else "category"
        for c, t in table.dtypes.items()
    }


def row_hashes(table: pd.DataFrame) -> np.ndarray:
    """As an upload has them: equal rows have one hash."""
    return np.asarray(pd.util.hash_pandas_object(table.astype(str), index=False), dtype=np.uint64)


def stored(table: pd.DataFrame, target: str, hashes: np.ndarray | None = None) -> tuple[MemoryStore, DatasetManifest]:
    """The table as the one part of a dataset."""
    hashed = table.assign(**{ROW_HASH: row_hashes(table) if hashes is None else hashes})
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(hashed, preserve_index=False).replace_schema_metadata(None), out)
    store, body, uri = MemoryStore(), out.getvalue(), "s3://data/datasets/d/data.parquet"
    store.put(uri, body)
    part = Part(dataset_id="d", uri=uri, rows=len(table), sha256=hashlib.sha256(body).hexdigest())
    schema = Schema(columns=tuple(Column(name=n, kind=k) for n, k in kinds(table).items()), target=target)
    manifest = DatasetManifest(
        dataset_id="d", data_schema=schema, parts=(part,), source="s3://data/incoming/table.csv", created_at="2026"
    )
    store.put(DATASET, manifest.model_dump_json().encode())
    return store, manifest


def run(table: pd.DataFrame, text: str, model: str, folder: str | None = None) -> tuple[JobResult, float]:
    """The job of one model by the settings `text`, and its seconds: all that a user waits for, from the first row read to the last
    artifact logged. The bundle is in a folder of this machine, as its `bundle_uri` says.
    """
    import mlflow

    from dropforge_training.job_context import WorkerPorts
    from dropforge_training.worker.train_job import run_job

    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    home = Path(folder or tempfile.mkdtemp(prefix="product-job-"))
    tracking = f"sqlite:///{home}/mlflow.db"
    client = mlflow.MlflowClient(tracking, tracking)
    experiment = client.create_experiment("benchmark", artifact_location=str(home / "artifacts"))
    parent = client.create_run(experiment, tags={"dataset_id": "d"})
    target = text.split("target:", 1)[1].split(maxsplit=1)[0].strip("\"'},")
    store, _ = stored(table, target)
    settings = settings_store.apply(store, "data", text.encode())
    chosen = next(m for m in settings.models if m.name == model)
    job = TrainingJob(
        job_id=f"upload-{model}",
        upload_id="0123456789abcdef0123",
        dataset_uri=DATASET,
        settings_uri=keys.settings_copy("data", settings.sha256),
        model=model,
        budget=TrainingBudget(trials=chosen.budget.trials, seconds=chosen.budget.seconds),
        seed=settings.training.seed,
        parent_run_id=parent.info.run_id,
    )
    started = time.monotonic()
    result = run_job(job, WorkerPorts(store, tracking, "data", logging.getLogger("job")), lambda: False)
    return result, time.monotonic() - started
