"""One batch file of many rows, from bytes to predictions, beside the sklearn pipeline's own predict_proba on the same rows.

Real data (Adult, drawn with replacement to the number of rows), models fitted and exported as a training job does. Each
system runs in its own process; the pipeline gets the rows in memory, the batch step gets the file and writes the answer.

    python benchmarks/serving/batch.py [--rows 100000] [--large 1000000] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROOT = Path(__file__).parents[2]
MODELS = {
    "xgboost": (
        "dropforge_training.models.xgboost:XGBoost",
        {"n_estimators": 300, "max_depth": 6, "learning_rate": 0.1},
    ),
    "random_forest": (
        "dropforge_training.models.random_forest:RandomForest",
        {"n_estimators": 200, "max_depth": 14, "min_samples_leaf": 2, "max_features": "sqrt"},
    ),
}


def prepare(folder: Path, rows: int, large: int, distinct: int) -> None:
    """Models as bundle and pickle, and the files to score."""
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from dropforge.config import settings
    from dropforge.ids import slug
    from dropforge.ingest.ingest_file import admit
    from dropforge_cli import example_data
    from dropforge_training.data import training_table
    from dropforge_training.data.training_table import Table, TrainingData
    from dropforge_training.export import onnx_graph
    from dropforge_training.export.manifest_builder import ExportedModel, ManifestFacts, manifest_for
    from dropforge_training.models import model_spec
    from dropforge_training.preprocessing.cleaner import LabelledPipeline

    shipped = settings.load((ROOT / "settings.yaml").read_bytes())
    example = example_data.fetch(Path.home() / ".cache" / "dropforge")
    (folder / "in").mkdir()
    schema = admit(example.reference, data=shipped.data, reference=None, workdir=folder / "in")
    frame = pd.read_parquet(schema.snapshot)
    frame = frame[frame["income"].notna()]
    classes = sorted(frame["income"].unique())
    features = tuple(c for c in schema.schema.columns if c.name not in {"income", *shipped.data.ignore})
    y = np.searchsorted(np.array(classes, dtype=object), frame["income"]).astype(np.int64)
    table = Table(frame[[c.name for c in features]].reset_index(drop=True), y, frame["__row"].to_numpy())
    data = TrainingData(table, table, classes, ">50K", features, 0, len(frame), {}, table.x[[]])
    markers = {c.name: training_table.markers_of(shipped, c.name) for c in features}
    for name, (path, params) in MODELS.items():
        candidate = model_spec.load(path)
        numbers = [c.name for c in features if c.kind not in {"category", "text"}]
        cleaner = candidate.cleaner(numbers, [c.name for c in features if c.name not in numbers], markers, {})
        clean = cleaner.fit(table.x).transform(table.x)
        preprocessor = candidate.preprocessor(cleaner)
        matrix = np.asarray(preprocessor.fit_transform(clean), dtype=np.float32)
        estimator = candidate.estimator(params, seed=1, jobs=2, classes=2).fit(matrix, y)
        steps = [("cleaner", cleaner), ("preprocessor", preprocessor), ("estimator", estimator)]
        model = LabelledPipeline(Pipeline(steps), classes, 0.5, ">50K")
        onnx, output = onnx_graph.to_onnx(model.pipeline, len(cleaner.numbers), len(cleaner.categories))
        facts = ManifestFacts("adult", slug(name), "r", "d", "income", 0.2, markers, {}, {})
        manifest = manifest_for(model, data, ExportedModel(onnx, output), facts)
        (folder / f"{name}.onnx").write_bytes(onnx)
        (folder / f"{name}.json").write_bytes(manifest.to_json())
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(model))
    drawn = pd.read_csv(example.new, dtype=str, keep_default_na=False)
    (folder / "schema.json").write_text(schema.schema.model_dump_json())
    for count in {rows, large} - {0}:
        sample = drawn.sample(count, replace=True, random_state=7)
        if distinct:
            sample["capital-gain"] = np.arange(count).astype(str)
        sample.to_csv(folder / f"rows-{count}.csv", index=False)
        sample.to_parquet(folder / f"rows-{count}.parquet", index=False)


def pipeline(folder: Path, name: str, rows: int) -> dict[str, Any]:
    """The rows typed as training sees them, in memory; the clock runs over predict_proba alone, as the best of three."""
    import numpy as np
    import pandas as pd

    from dropforge.config import settings
    from dropforge.datasets.table_schema import Schema
    from dropforge.ingest.ingest_file import admit

    shipped = settings.load((ROOT / "settings.yaml").read_bytes())
    with tempfile.TemporaryDirectory() as work:
        schema = Schema.model_validate_json((folder / "schema.json").read_text())
        admission = admit(folder / f"rows-{rows}.csv", data=shipped.data, reference=schema, workdir=Path(work))
        frame = pd.read_parquet(admission.snapshot)
    model = pickle.loads((folder / f"{name}.pickle").read_bytes())  # noqa: S301 - written by this program
    wanted = [f["name"] for f in json.loads((folder / f"{name}.json").read_bytes())["features"]]
    took = []
    for _ in range(3):
        started = time.perf_counter()
        probabilities = model.predict_proba(frame[wanted])
        took.append(time.perf_counter() - started)
    labels = model.predict(frame[wanted])
    np.savez(folder / f"{name}-{rows}.npz", labels=labels.astype(str), probabilities=probabilities)
    return {"seconds": min(took), "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def batch(folder: Path, name: str, rows: int, form: str) -> dict[str, Any]:
    """The whole step: state record, reading, scoring, writing the answer. S3 is a dict, so that no network is measured."""
    from dropforge.batch.batch_ports import BatchPorts
    from dropforge.batch.score_file import score
    from dropforge.config import settings_store
    from dropforge.deployment.active_model import Active, ActivePointer
    from dropforge.deployment.bundle_integrity import ModelRecord, ModelRecords
    from dropforge.deployment.history import DeploymentHistory  # noqa: F401 - import time is not what is measured
    from dropforge.messages import UploadEvent
    from dropforge.uploads.upload_repository import UploadRepository
    from dropforge_local.memory import MemoryStore, MemoryWorkflow

    store = MemoryStore()
    settings_store.apply(store, "data", (ROOT / "settings.yaml").read_bytes())
    manifest = (folder / f"{name}.json").read_bytes()
    store.put("s3://artifacts/bundle/manifest.json", manifest)
    store.put("s3://artifacts/bundle/model.onnx", (folder / f"{name}.onnx").read_bytes())
    digest = hashlib.sha256(manifest).hexdigest()
    active = Active("adult", "1", "P", "r", "s3://artifacts/bundle", digest)
    ModelRecords(store, "data").write(ModelRecord.of(active, serve="onnx", by="benchmark"))
    ActivePointer(store, "data").replace(active, "")
    ports = BatchPorts(store, UploadRepository(store, "data"), "data", logging.getLogger("bench"), MemoryWorkflow())
    took = []
    for n in range(3 if rows <= 200_000 else 1):
        uri = f"s3://data/batch/{n}.{form}"
        store.put(uri, (folder / f"rows-{rows}.{form}").read_bytes())
        event = UploadEvent(bucket="data", key=f"batch/{n}.{form}", version=store.get(uri).version)
        started = time.perf_counter()
        record = score(event, ports)
        took.append(time.perf_counter() - started)
        if record.state != "scored":
            raise SystemExit(f"{record.state}: {record.reason}")
    (folder / f"answer.{form}").write_bytes(store.get(record.predictions_uri).body)
    current = sum(len(v.body) for stored in store._objects.values() for v in stored) / 1e6
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": min(took), "rss_mb": rss, "of_it_the_dict_mb": current, **_compared(folder, name, rows, form)}


def _compared(folder: Path, name: str, rows: int, form: str) -> dict[str, Any]:
    """Labels that differ from the pipeline's, and the largest difference of a probability."""
    stored = folder / f"{name}-{rows}.npz"
    if not stored.exists():
        return {}
    import duckdb
    import numpy as np

    with np.load(stored) as expected:
        read = "read_csv" if form == "csv" else "read_parquet"
        table = duckdb.sql(
            f'SELECT prediction, "probability_<=50K" a, "probability_>50K" b FROM {read}(\'{folder}/answer.{form}\')'
        ).fetchnumpy()
        ours = np.stack([table["a"], table["b"]], axis=1)
        flips = int((np.asarray(table["prediction"], dtype=str) != expected["labels"]).sum())
        worst = float(np.abs(ours - expected["probabilities"]).max())
    return {"labels_differing": flips, "max_abs_difference": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=1_000_000, help="one more file, for memory; 0 for none")
    parser.add_argument(
        "--distinct", action="store_true", help="write the row's number into a feature: no two are equal"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        what, folder, *rest = arguments.part
        act = {"pipeline": pipeline, "batch": batch, "prepare": prepare}[what]
        given = [int(r) if r.isdigit() else r for r in rest]
        print(json.dumps(act(Path(folder), *given)))  # type: ignore[operator] # three functions of other parameters
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        _run("prepare", folder, arguments.rows, arguments.large, int(arguments.distinct))
        for name in MODELS:
            matches = {"system": "sklearn predict_proba (rows in memory)", "model": name, "rows": arguments.rows}
            results.append(matches | _run("pipeline", folder, name, arguments.rows))
            print(_line(results[-1]), flush=True)
            for form in ("csv", "parquet"):
                matches = {
                    "system": f"dropforge batch ({form} file to {form} file)",
                    "model": name,
                    "rows": arguments.rows,
                }
                results.append(matches | _run("batch", folder, name, arguments.rows, form))
                print(_line(results[-1]), flush=True)
        if arguments.large:
            matches = {"system": "dropforge batch (csv file to csv file)", "model": "xgboost", "rows": arguments.large}
            results.append(matches | _run("batch", folder, "xgboost", arguments.large, "csv"))
            print(_line(results[-1]))
    if arguments.json:
        recorded.write(arguments.json, results)


def _run(*part: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", *map(str, part)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1]) or {}


def _line(r: dict[str, Any]) -> str:
    more = f"  labels differing {r['labels_differing']}" if "labels_differing" in r else ""
    return f"{r['model']:<14} {r['rows']:>9,} rows  {r['seconds']:6.2f} s  {r['rss_mb']:6.0f} MB{more}  {r['system']}"


if __name__ == "__main__":
    main()
