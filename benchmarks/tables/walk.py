"""Every table of a folder from `dropforge init` to an answer of the prediction API, beside a default model on the same split.

    python benchmarks/tables/walk.py FOLDER --out walk.jsonl [--only NAME,NAME] [--seconds 20] [--most-seconds 420]

FOLDER holds `tables.json`, a list of {name, file, target, task}, and the files it names. `init` runs as a user types it. Its
settings are not edited but for the target and the task, and only where `init` says that they are guesses; then analysis,
training jobs, bundle and prediction service run in this process over a store in memory: a local cloud for each table would take
longer than its training. `--seconds` bounds each job's budget. A table that is in the result file already is not run again; the
result is one line of JSON for each table.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from dropforge.config import settings_store
from dropforge.config.settings import Settings
from dropforge.datasets.dataset_store import load_manifest
from dropforge.deployment.active_model import Active, ActivePointer
from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.messages import JobResult, TrainingBudget, TrainingRequest, UploadEvent
from dropforge.metrics import DEFAULT, sign
from dropforge.metrics.weighted_rows import of_numbers
from dropforge.serving.prediction_service import PredictService
from dropforge.serving.query_options import Options
from dropforge.uploads.analyze_upload import analyze
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge_training.data import training_table
from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import held_out, metrics
from dropforge_training.export import onnx_graph
from dropforge_training.job_context import WorkerPorts
from dropforge_training.worker.train_job import run_job

LOG = logging.getLogger("walk")
DROPFORGE = Path(sys.executable).parent / "dropforge"
_ASKED = 200  # held-out rows sent to the prediction service


@dataclass(frozen=True)
class Known:
    """What the author of the list knows of a table."""

    name: str
    file: Path
    target: str
    task: str  # classification or regression


def read_list(folder: Path) -> list[Known]:
    """The tables of FOLDER/tables.json."""
    listed = json.loads((folder / "tables.json").read_text(encoding="utf-8"))
    return [
        Known(
            t["name"],
            folder / t["file"],
            t["target"],
            "regression" if t["task"] == "regression" else "classification",
        )
        for t in listed
    ]


def init(known: Known, project: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `dropforge init` wrote, and how it decided: again with target and task where it marked them as guesses and was wrong.

    Raises SystemExit with the command's own words when it fails.
    """
    first = _init(known.file, project)
    wrong = first["target"] != known.target or first["task"] != known.task
    facts = {
        "guessed": {"target": first["target"], "task": first["task"], "second": first["other_targets"][:2]},
        "marked": any("guess" in c or "--task" in c for c in first["checks"]),
        "edited": [],
    }
    if not wrong:
        return first, facts
    named = ["--target", known.target]
    again = _init(known.file, project, *named)
    if again["task"] != known.task:
        named += ["--task", known.task]
        again = _init(known.file, project, *named)
    return again, {**facts, "edited": named}


def _init(file: Path, project: Path, *named: str) -> dict[str, Any]:
    command = [str(DROPFORGE), "init", str(file), "--dir", str(project), "--force", "--json", *named]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("DROPFORGE_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    if done.returncode:
        raise SystemExit(f"init: {done.stdout}{done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@dataclass(frozen=True)
class Uploaded:
    """An upload that was analysed: where its rows lie, and the jobs it asks for."""

    store: MemoryStore
    settings: Settings
    request: TrainingRequest
    facts: dict[str, Any]


def upload(file: Path, text: bytes) -> Uploaded:
    """The file through the function `analyze`. Raises SystemExit when it is rejected."""
    text = text.replace(b"\ntraining:\n", b"\ntraining:\n  trigger: {quiet_minutes: 0}\n")  # nothing else will arrive
    store, workflow, tracking = MemoryStore(), MemoryWorkflow(), MemoryTracking()
    settings = settings_store.apply(store, "data", text)
    ports = Ports(
        store=store,
        workflow=workflow,
        book=UploadRepository(store, "data"),
        tracking=lambda _experiment: tracking,
        data_bucket="data",
        artifact_bucket="artifacts",
        log=LOG,
    )
    key = f"incoming/{file.name}"
    store.put(f"s3://data/{key}", file.read_bytes())
    version = store.get(f"s3://data/{key}").version
    record = analyze(UploadEvent(bucket="data", key=key, version=version, size=file.stat().st_size), ports)
    if record.state != "training":
        raise SystemExit(f"upload: {record.state}: {record.model_dump_json(include={'verdict', 'error', 'reason'})}")
    request = TrainingRequest.parse(next(iter(workflow.payloads.values())))
    facts = {"rows_used": record.rows_used, "rows_quarantined": record.rows_quarantined, "verdict": record.verdict}
    return Uploaded(store, settings, request, facts)


def train(
    done: Uploaded, folder: Path, seconds: float, model: str
) -> tuple[list[JobResult], dict[str, dict[str, float]]]:
    """Each model's job (or that of `model` alone), within the smaller of its own budget and `seconds`; the seconds of each."""
    import mlflow

    tracking = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(tracking, tracking)
    experiment = client.create_experiment("walk", artifact_location=str(folder / "artifacts"))
    parent = client.create_run(experiment).info.run_id
    results, clocks = [], {}
    for job in [j for j in done.request.jobs if not model or j.model == model]:
        budget = TrainingBudget(trials=job.budget.trials, seconds=min(seconds, job.budget.seconds))
        changed = job.model_copy(update={"parent_run_id": parent, "budget": budget})
        wall, processor = time.monotonic(), time.process_time()
        results.append(run_job(changed, WorkerPorts(done.store, tracking, "data", LOG), lambda: False))
        spent = {"asked": budget.seconds, "wall": time.monotonic() - wall, "processor": time.process_time() - processor}
        clocks[job.model] = {k: round(v, 1) for k, v in spent.items()}
    return results, clocks


def serve(store: MemoryStore, result: JobResult) -> PredictService:
    """The prediction function's own service with this result's bundle as the active model."""
    folder = Path(result.bundle_uri)
    uri = f"s3://artifacts/{result.run_id}/bundle"
    for file in folder.iterdir():
        store.put(f"{uri}/{file.name}", file.read_bytes())
    active = Active(result.model, "1", "Production", result.run_id, uri, result.bundle_sha256)
    ModelRecords(store, "data").write(ModelRecord.of(active, serve="onnx", by="walk"))
    ActivePointer(store, "data").replace(active, "")
    return PredictService(store, "data", LOG)


def ask(service: PredictService, manifest: BundleManifest, data: TrainingData, stored: pd.DataFrame) -> dict[str, Any]:
    """`/predict` with the example of the bundle and with held-out rows, beside what training stored for those rows."""
    example = service.predict(json.dumps({"records": [manifest.example]}).encode(), "application/json")
    rows = onnx_graph.records(data.heldout.x.iloc[:_ASKED])
    options = replace(Options(), coverage=0.8) if _states(manifest, "0.8") else Options()
    started = time.perf_counter()
    answers = service.predict(json.dumps({"records": rows}).encode(), "application/json", options)["predictions"]
    milliseconds = (time.perf_counter() - started) * 1000
    if data.regression:
        answered = np.array([a["prediction"] for a in answers], dtype=float)
        expected = stored["predicted"].to_numpy()[: len(answered)]
        spread = float(np.std(stored["label"])) or 1.0
        difference = np.abs(answered - expected) / np.maximum(np.abs(expected), spread)
    else:
        answered = np.array([[a["probabilities"][c] for c in data.classes] for a in answers])
        expected = stored[[f"p.{c}" for c in data.classes]].to_numpy()[: len(answered)]
        difference = np.abs(answered - expected)
    return {
        "predict": example["predictions"][0],
        "served_rows": len(answers),
        "served_difference": float(difference.max()),
        "milliseconds": round(milliseconds, 1),
    }


def _states(manifest: BundleManifest, coverage: str) -> bool:
    return coverage in (manifest.regression.intervals if manifest.regression else manifest.conformal)


def baseline(data: TrainingData, metric: str, seed: int) -> dict[str, float]:
    """The metric of scikit-learn's HistGradientBoosting with its defaults on the same split, and of CatBoost where it is installed."""
    names = list(data.train.x.columns)
    joined = pd.concat([data.train.x, data.heldout.x], ignore_index=True)
    categorical = [c.name for c in data.features if c.kind in {"category", "text"}]
    columns = {c: _codes(joined[c]) if c in categorical else _floats(joined[c]) for c in names}
    matrix = np.column_stack([columns[c] for c in names])
    train, current = matrix[: len(data.train)], matrix[len(data.train) :]
    few = [i for i, c in enumerate(names) if c in categorical and np.nanmax(columns[c], initial=0) < 255]
    kind = HistGradientBoostingRegressor if data.regression else HistGradientBoostingClassifier
    fitted = kind(categorical_features=few, random_state=seed).fit(train, data.train.y)
    scores = {"hist_gradient_boosting": _score(metric, data, fitted, current)}
    try:
        import catboost  # type: ignore[import-not-found] # optional
    except ImportError:
        return scores
    model = catboost.CatBoostRegressor if data.regression else catboost.CatBoostClassifier
    at = [names.index(c) for c in categorical]
    frame = pd.DataFrame(
        {
            c: joined[c].astype(object).where(joined[c].notna(), "(missing)").astype(str)
            if c in categorical
            else columns[c]
            for c in names
        }
    )
    quiet = model(verbose=False, random_seed=seed, thread_count=1, allow_writing_files=False)
    quiet.fit(frame.iloc[: len(data.train)], data.train.y, cat_features=at)
    return {**scores, "catboost": _score(metric, data, quiet, frame.iloc[len(data.train) :])}


def _score(metric: str, data: TrainingData, fitted: Any, held_out_rows: Any) -> float:
    if data.regression:
        numbers = np.asarray(fitted.predict(held_out_rows), dtype=float).reshape(-1)
        return sign(metric) * metrics.score(metric, of_numbers(data.heldout.y, numbers))
    probabilities = np.asarray(fitted.predict_proba(held_out_rows))
    positive = data.classes.index(data.positive) if data.positive else 1
    return sign(metric) * held_out.score(metric, data.heldout.y, probabilities, positive)


def _codes(values: pd.Series) -> np.ndarray:
    codes = pd.factorize(values)[0].astype(float)
    return np.where(codes < 0, np.nan, codes)


def _floats(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(values):
        return np.asarray((values - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1), dtype=float)
    return np.asarray(pd.to_numeric(values, errors="coerce"), dtype=float)


def as_a_worker() -> None:
    """Start this script anew in a worker's environment: idle threads that spin slow processes that share cores tenfold."""
    if os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})  # noqa: S606 - itself


def walk(known: Known, seconds: float, model: str) -> dict[str, Any]:
    """One table; what went wrong stands under `error`."""
    started = time.monotonic()
    line: dict[str, Any] = {"name": known.name}
    with tempfile.TemporaryDirectory(prefix="dropforge-walk-") as temporary:
        folder = Path(temporary)
        try:
            created, facts = init(known, folder / "project")
            line |= {**facts, "target": created["target"], "task": created["task"], "seconds_init": _since(started)}
            done = upload(known.file, (folder / "project" / "settings.yaml").read_bytes())
            line |= {**done.facts, "split": done.settings.split.model_dump(exclude_none=True, exclude_defaults=True)}
            line["seconds_upload"] = _since(started)
            results, line["seconds_of_jobs"] = train(done, folder, seconds, model)
            line["seconds_train"] = _since(started)
            line |= _judge(done, results, folder)
        except (Exception, SystemExit) as error:
            line |= {"error": f"{type(error).__name__}: {error}", "at": traceback.format_exc().splitlines()[-8:]}
    return {**line, "seconds": _since(started), "load": round(os.getloadavg()[0], 1)}


def _judge(done: Uploaded, results: list[JobResult], folder: Path) -> dict[str, Any]:
    settings = done.settings
    metric = DEFAULT[settings.data.task] if not settings.training.metric else settings.training.metric
    known = sorted((r for r in results if metric in r.metrics), key=lambda r: -sign(metric) * r.metrics[metric])
    best = known[0]
    data = training_table.load(done.store, load_manifest(done.store, done.request.dataset_uri), settings, folder)
    manifest = BundleManifest.from_json((Path(best.bundle_uri) / "manifest.json").read_bytes())
    stored = pd.read_parquet(best.predictions_uri)
    beside = baseline(data, metric, settings.training.seed)
    return {
        "metric": metric,
        "train_rows": len(data.train),
        "heldout_rows": len(data.heldout),
        "model": best.model,
        "scores": {r.model: round(r.metrics[metric], 6) for r in known},
        "baseline": {k: round(v, 6) for k, v in beside.items()},
        "cross_validated": {k: [e.value, e.low, e.high] for k, e in best.evidence.cross_validated.items()},
        "parity": manifest.parity["max_abs_difference"],
        **ask(serve(done.store, best), manifest, data, stored),
    }


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


def _finished(out: Path) -> set[str]:
    """Tables whose line is in the file: looked up before each one, so that two runs may share it."""
    return {json.loads(line)["name"] for line in out.read_text().splitlines()} if out.exists() else set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, appended to")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seconds", type=float, default=20, help="most of a job's budget")
    parser.add_argument("--model", default="", help="train this one of the models that init wrote, not all")
    parser.add_argument("--most-seconds", type=float, default=420, help="begin no table after so long")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    only = set(filter(None, given.only.split(",")))
    started = time.monotonic()
    for known in read_list(given.folder):
        if known.name in _finished(given.out) or (only and known.name not in only):
            continue
        if _since(started) > given.most_seconds:
            print("more tables are left: run it again", file=sys.stderr)
            return
        print(f"{known.name} …", file=sys.stderr, flush=True)
        line = walk(known, given.seconds, given.model)
        with given.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    as_a_worker()
    main()
