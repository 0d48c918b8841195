"""A small table of every kind of column, a tracking database and a job, without a cloud."""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dropforge import keys
from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.table_schema import ROW_HASH, Column, Kind, Schema
from dropforge.messages import JobResult, TrainingBudget, TrainingJob, TuneResult
from dropforge.ports import Function
from dropforge_local.memory import MemoryStore
from dropforge_training.job_context import WorkerPorts

KINDS: dict[str, Kind] = {
    "size-cm": "number",
    "visits": "integer",
    "colour": "category",
    "active": "boolean",
    "since": "datetime",
    "note": "text",
    "label": "category",
}
SETTINGS = """
project: little-table
data:
  target: label
  missing_markers: ["?"]
models:
  - name: random_forest
    class: dropforge_training.models.random_forest:RandomForest
    search: {n_estimators: 20, max_depth: [3, 6]}
    budget: {trials: 2, seconds: 60}
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
    search: {max_depth: [2, 4], learning_rate: 0.3}
    budget: {trials: 2, seconds: 60}
  - name: logistic_regression
    class: dropforge_training.models.logistic_regression:LogisticRegression
    budget: {trials: 2, seconds: 60}
  - name: hist_gradient_boosting
    class: dropforge_training.models.hist_gradient_boosting:HistGradientBoosting
    search: {learning_rate: 0.3, max_leaf_nodes: [7, 15]}
    budget: {trials: 2, seconds: 60}
"""


@dataclass(frozen=True)
class Bench:
    """One dataset with its settings in a store, and the jobs on it."""

    store: MemoryStore
    settings: Settings
    manifest: DatasetManifest
    tracking_uri: str
    parent_run_id: str

    def job(self, model: str = "random_forest", upload: str = "0123456789abcdef0123", **changes: Any) -> TrainingJob:
        chosen = next(m for m in self.settings.models if m.name == model)
        facts: dict[str, Any] = {
            "task_token": "token",
            "job_id": f"{upload}-{model}",
            "upload_id": upload,
            "dataset_uri": "s3://data/datasets/d/training.json",
            "settings_uri": keys.settings_copy("data", self.settings.sha256),
            "model": model,
            "budget": TrainingBudget(trials=chosen.budget.trials, seconds=chosen.budget.seconds),
            "seed": 7,
            "parent_run_id": self.parent_run_id,
        }
        return TrainingJob(**(facts | changes))

    def ports(self, python: Callable[[], Function | None] = lambda: None) -> WorkerPorts:
        return WorkerPorts(self.store, self.tracking_uri, "data", logging.getLogger("test"), python)

    def tune(self, job: TrainingJob) -> TuneResult:
        from dropforge_training.worker.tune_job import run_tune

        return run_tune(job, self.ports(), lambda: False)

    def run(
        self,
        job: TrainingJob,
        stop: Callable[[], bool] = lambda: False,
        python: Callable[[], Function | None] = lambda: None,
    ) -> JobResult:
        from dropforge_training.worker.train_job import run_job

        return run_job(job, self.ports(python), stop)


def make_table(rows: int, classes: tuple[str, ...], seed: int = 1) -> pd.DataFrame:
    """Every kind of column, every tenth cell missing, a label that depends on three of them."""
    rng = np.random.default_rng(seed)
    size = rng.normal(170, 12, rows)
    visits = rng.poisson(4, rows).astype(float)
    colour = rng.choice(["red", "green", "blue"], rows)
    signal = (size - 170) / 12 + 0.5 * visits - 2 + 1.5 * (colour == "red") + rng.normal(0, 0.5, rows)
    table = pd.DataFrame(
        {
            "size-cm": size,
            "visits": pd.array(visits, dtype="Int64"),
            "colour": colour.astype(object),
            "active": pd.array(rng.random(rows) < 0.5, dtype="boolean"),
            "since": pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 90_000, rows), unit="h"),
            "note": rng.choice([f"note {i}" for i in range(300)], rows).astype(object),
        }
    )
    for column in table.columns:
        table.loc[rng.random(rows) < 0.1, column] = None
    edges = np.quantile(signal, np.linspace(0, 1, len(classes) + 1)[1:-1])
    table["label"] = np.array(classes, dtype=object)[np.searchsorted(edges, signal)]
    return table


def parquet(table: pd.DataFrame) -> bytes:
    """The table as a snapshot's Parquet, with row hashes of its content."""
    digests = [hashlib.md5(repr(r).encode(), usedforsecurity=False).digest()[:8] for r in table.itertuples(index=False)]
    hashed = table.assign(**{ROW_HASH: np.frombuffer(b"".join(digests), dtype="<u8")})
    out = io.BytesIO()
    # as DuckDB writes it: plain types, none of pandas' own notes
    pq.write_table(pa.Table.from_pandas(hashed, preserve_index=False).replace_schema_metadata(None), out)
    return out.getvalue()


@pytest.fixture(scope="session")
def tracking_uri(mlflow_database: Callable[[], str]) -> str:
    """MLflow in a database file: the client's own code, no server."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    uri = mlflow_database()
    folder = Path(uri.removeprefix("sqlite:///")).parent
    import mlflow

    mlflow.MlflowClient(uri, uri).create_experiment("training-tests", artifact_location=str(folder / "artifacts"))
    return uri


@pytest.fixture(scope="session")
def table() -> Callable[..., pd.DataFrame]:
    """Makes tables: rows, classes, seed."""
    return make_table


@pytest.fixture(scope="session")
def snapshot() -> Callable[..., tuple[MemoryStore, DatasetManifest]]:
    """Puts tables into a store as the parts of one dataset."""

    def make(
        *tables: pd.DataFrame, kinds: dict[str, Kind] = KINDS, target: str = "label"
    ) -> tuple[MemoryStore, DatasetManifest]:
        store = MemoryStore()
        parts = []
        for number, part in enumerate(tables):
            body = parquet(part)
            uri = f"s3://data/datasets/d{number}/data.parquet"
            store.put(uri, body)
            parts.append(
                Part(dataset_id=f"d{number}", uri=uri, rows=len(part), sha256=hashlib.sha256(body).hexdigest())
            )
        schema = Schema(columns=tuple(Column(name=n, kind=k) for n, k in kinds.items()), target=target)
        manifest = DatasetManifest(
            dataset_id="d", data_schema=schema, parts=tuple(parts), source="s3://data/incoming/t.csv", created_at="2026"
        )
        store.put("s3://data/datasets/d/training.json", manifest.model_dump_json().encode())
        return store, manifest

    return make


@pytest.fixture(scope="session")
def bench(snapshot: Callable[..., tuple[MemoryStore, DatasetManifest]], tracking_uri: str) -> Callable[..., Bench]:
    """A dataset of the given classes, its settings and a parent run."""

    def make(
        classes: tuple[str, ...] = ("no", "yes"),
        rows: int = 500,
        extra: str = "",
        frame: pd.DataFrame | None = None,
        kinds: dict[str, Kind] = KINDS,
        target: str = "label",
        text: str = SETTINGS,
    ) -> Bench:
        import mlflow

        store, manifest = snapshot(make_table(rows, classes) if frame is None else frame, kinds=kinds, target=target)
        settings = settings_store.apply(store, "data", (text + extra).encode())
        client = mlflow.MlflowClient(tracking_uri, tracking_uri)
        experiment = client.get_experiment_by_name("training-tests").experiment_id
        parent = client.create_run(experiment, tags={"dataset_id": "d"})
        return Bench(store, settings, manifest, tracking_uri, parent.info.run_id)

    return make


Finished = Callable[..., tuple[Bench, JobResult]]


@pytest.fixture(scope="session")
def finished(bench: Callable[..., Bench]) -> Finished:
    """A job that is done, for tests that look at what it left: trained once for each model, classes and additions to the settings.

    The store is the test's own copy; the run and its artifacts are shared, so nobody changes them.
    """
    done: dict[tuple[str, tuple[str, ...], str], tuple[Bench, JobResult]] = {}

    def job(
        model: str = "random_forest", classes: tuple[str, ...] = ("no", "yes"), extra: str = ""
    ) -> tuple[Bench, JobResult]:
        if (model, classes, extra) not in done:
            created = bench(classes, extra=extra)
            upload = f"{model}{len(classes)}" + ("" if not extra else hashlib.sha256(extra.encode()).hexdigest()[:6])
            done[model, classes, extra] = created, created.run(created.job(model, upload=upload))
        created, result = done[model, classes, extra]
        store = MemoryStore()
        for matches in created.store.list("s3://data/"):
            store.put(matches.uri, created.store.get(matches.uri).body)
        return replace(created, store=store), result

    return job
