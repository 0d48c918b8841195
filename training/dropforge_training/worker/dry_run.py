"""A model class tried by the real training job on a small generated table: `dropforge models check package.module:Class`."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dropforge import keys
from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.table_schema import ROW_HASH, Column, Kind, Schema
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest
from dropforge.messages import JobResult, TrainingBudget, TrainingJob
from dropforge.metrics import Task
from dropforge.ports import ObjectStore
from dropforge_training.job_context import WorkerPorts
from dropforge_training.models import model_spec
from dropforge_training.worker.train_job import run_job

ROWS: Final = 600
_BUCKET: Final = "dry-run"
_ID: Final = "0" * 20
_MANIFEST: Final = keys.training_manifest(_BUCKET, "d", "0" * 64)
_KINDS: Final[dict[str, Kind]] = {
    "amount (EUR)": "number", "visits": "integer", "colour": "category", "active": "boolean", "since": "datetime",
    "target": "category",
}  # fmt: skip
_SETTINGS: Final = """
project: dry-run
data: {{target: target, task: {task}}}
models:
  - name: checked
    class: "{import_path}"
    serve: {serve}
    budget: {{trials: {trials}, seconds: {seconds}}}
"""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the job did. `parity`: the bundle beside the pipeline on the held-out rows; `bytes`: size of the file that predicts."""

    metrics: dict[str, float]
    parity: dict[str, float]
    bytes: int


def dry_run(
    import_path: str,
    store: ObjectStore,
    folder: Path,
    *,
    task: Task = "classification",
    serve: str = "onnx",
    trials: int = 2,
) -> DryRun:
    """Tune, fit, evaluate, export and prove the bundle equal, as a worker does; everything is written to `store` and `folder`.

    Raises what the job raises: SettingsError for a class that cannot be used, JobFailed for one that cannot be trained or exported.
    """
    model_spec.load(import_path, task)  # a wrong name is told before MLflow's tables are made, which takes seconds
    seconds = 60
    text = _SETTINGS.format(import_path=import_path, task=task, serve=serve, trials=trials, seconds=seconds)
    settings = settings_store.apply(store, _BUCKET, text.encode())
    _store_table(store, _table(task), task)
    uri = f"sqlite:///{folder}/mlflow.db"
    result = run_job(
        _job(settings, TrainingBudget(trials=trials, seconds=seconds), _parent_run(uri, folder)),
        WorkerPorts(store, uri, _BUCKET, logging.getLogger("dropforge.dry_run")),
        lambda: False,
    )
    return _described(result)


def _described(result: JobResult) -> DryRun:
    bundle = Path(result.bundle_uri)
    manifest = BundleManifest.from_json((bundle / MANIFEST_FILE).read_bytes())
    return DryRun(result.metrics, manifest.parity, (bundle / manifest.model_file).stat().st_size)


def _job(settings: Settings, budget: TrainingBudget, parent_run_id: str) -> TrainingJob:
    return TrainingJob(
        job_id=f"{_ID}-checked",
        upload_id=_ID,
        dataset_uri=_MANIFEST,
        settings_uri=keys.settings_copy(_BUCKET, settings.sha256),
        model="checked",
        budget=budget,
        seed=settings.training.seed,
        parent_run_id=parent_run_id,
    )


def _parent_run(uri: str, folder: Path) -> str:
    import mlflow

    client = mlflow.MlflowClient(uri, uri)
    experiment = client.create_experiment("dry-run", artifact_location=str(folder / "artifacts"))
    return str(client.create_run(experiment, tags={"dataset_id": "d"}).info.run_id)


def _table(task: Task) -> pd.DataFrame:
    """Every kind of column, every tenth cell missing; the target depends on three of them."""
    rng = np.random.default_rng(0)
    amount, visits = rng.normal(100, 20, ROWS), rng.poisson(4, ROWS).astype(float)
    colour = rng.choice(["red", "green", "blue"], ROWS)
    signal = (amount - 100) / 20 + 0.5 * visits + 1.5 * (colour == "red") + rng.normal(0, 0.5, ROWS)
    table = pd.DataFrame(
        {
            "amount (EUR)": amount,
            "visits": pd.array(visits, dtype="Int64"),
            "colour": colour.astype(object),
            "active": pd.array(rng.random(ROWS) < 0.5, dtype="boolean"),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 40_000, ROWS), unit="h"),
        }
    )
    for column in table.columns:
        table.loc[rng.random(ROWS) < 0.1, column] = None
    labels = np.where(signal > np.median(signal), "yes", "no").astype(object)
    return table.assign(target=signal if task == "regression" else labels)


def _store_table(store: ObjectStore, table: pd.DataFrame, task: Task) -> None:
    digests = [hashlib.sha256(repr(r).encode()).digest()[:8] for r in table.itertuples(index=False)]
    hashed = table.assign(**{ROW_HASH: np.frombuffer(b"".join(digests), dtype="<u8")})
    out = io.BytesIO()
    # As the snapshot writer does it: plain types, none of pandas' own notes.
    pq.write_table(pa.Table.from_pandas(hashed, preserve_index=False).replace_schema_metadata(None), out)
    part: dict[str, Any] = {"dataset_id": "d", "uri": keys.snapshot(_BUCKET, "d"), "rows": len(table)}
    store.put(part["uri"], out.getvalue())
    kinds = _KINDS | ({"target": "number"} if task == "regression" else {})
    manifest = DatasetManifest(
        dataset_id="d",
        data_schema=Schema(columns=tuple(Column(name=n, kind=k) for n, k in kinds.items()), target="target"),
        parts=(Part(**part, sha256=hashlib.sha256(out.getvalue()).hexdigest()),),
        source=keys.uri(_BUCKET, f"{keys.INCOMING}table.csv"),
        created_at="2026-01-01T00:00:00Z",
    )
    store.put(_MANIFEST, manifest.model_dump_json().encode())
