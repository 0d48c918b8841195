"""The last fit on more rows than are held in memory: seconds, peak memory, and the score beside that of the sample alone.

python benchmarks/training/beyond_memory.py [--rows 1000000 3000000] [--in-memory 300000] [--limit-gb 8] [--json FILE]

Each size is a process of its own, whose data segment cannot grow beyond the limit: a generated table of 12 columns as one Parquet
part, loaded as a job loads it, XGBoost of fixed parameters fitted on the sample and on all training rows, both judged on the same
held-out rows. Tuning, calibration and export work on the sample, whatever the number of rows, and are not in these figures.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from sklearn.metrics import roc_auc_score

from dropforge.config import settings
from dropforge.datasets.dataset_manifest import DatasetManifest, Part
from dropforge.datasets.table_schema import ROW_HASH, Column, Schema
from dropforge_training.data import training_table
from dropforge_training.fit.refit import Refit
from dropforge_training.models.model_spec import predicted
from dropforge_training.models.xgboost import XGBoost
from dropforge_training.worker.tune_job import cores

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

_PARAMS = {"n_estimators": 60, "max_depth": 6, "learning_rate": 0.3}
_NUMBERS, _CATEGORIES = 7, 4
_GB = 2**30


class _Files:
    """The part is on this disk already."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def download(self, _uri: str, path: Path) -> None:
        path.hardlink_to(self._file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 3_000_000])
    parser.add_argument("--in-memory", type=int, default=300_000)
    parser.add_argument("--limit-gb", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments.one, arguments.in_memory, arguments.limit_gb)))
        return
    figures = []
    for rows in arguments.rows:
        command = [sys.executable, __file__, "--one", str(rows), "--in-memory", str(arguments.in_memory)]
        done = subprocess.run(
            [*command, "--limit-gb", str(arguments.limit_gb)], check=True, stdout=subprocess.PIPE, text=True
        )
        figures.append(json.loads(done.stdout))
        print(figures[-1], flush=True)
    if arguments.json:
        recorded.write(arguments.json, figures)


def measured(rows: int, in_memory: int, limit_gb: float) -> dict[str, Any]:
    """One size, in this process."""
    with tempfile.TemporaryDirectory(prefix="dropforge-bench-") as folder:
        manifest, file = table(rows, Path(folder))
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit_gb * _GB), int(limit_gb * _GB)))
        text = f"project: bench\ndata: {{target: y}}\ntraining: {{rows_in_memory: {in_memory}}}\nmodels: [{{name: m, class: a.b:C}}]\n"
        started = time.perf_counter()
        job = Path(folder) / "job"
        job.mkdir()
        tempfile.tempdir = str(job)
        data = training_table.load(_Files(file), manifest, settings.load(text), job)  # type: ignore[arg-type] # what load uses of a store
        loaded = time.perf_counter()
        figures: dict[str, Any] = {"rows": rows, "sample_rows": data.rows, "load_s": round(loaded - started, 1)}
        for name, beyond in (("sample", False), ("all", True)):
            started, worked, jobs = time.perf_counter(), time.process_time(), cores(len(data.train))
            with _Disk(job) as disk:
                fitted = Refit(XGBoost(), data, {}, [_PARAMS], 1, jobs, beyond=beyond).pipeline(data.train)
            figures[f"{name}_fit_s"] = round(time.perf_counter() - started, 1)
            figures[f"{name}_cpu_s"] = round(time.process_time() - worked, 1)
            figures[f"{name}_auc"] = round(
                float(roc_auc_score(data.heldout.y, predicted(fitted, data.heldout.x)[:, 1])), 4
            )
            figures[f"{name}_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        figures["disk_mb"] = round(disk.peak / 1e6)
        return figures


class _Disk:
    """The most bytes that lay below a folder at a time, looked at twice a second."""

    def __init__(self, folder: Path) -> None:
        self.peak = 0
        self._folder, self._ended = folder, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Disk:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            size = 0
            for folder, _, names in os.walk(self._folder):
                for name in names:
                    with contextlib.suppress(OSError):  # it went away
                        size += os.stat(os.path.join(folder, name)).st_size
            self.peak = max(self.peak, size)


def table(rows: int, folder: Path) -> tuple[DatasetManifest, Path]:
    """Numbers, categories of 5 to 2,000 values and a class that interactions of them decide, in part by chance."""
    file = folder / "data.parquet"
    numbers = ", ".join(f"(hash(i * 16 + {k}) % 10007)::DOUBLE / 10007 AS n{k}" for k in range(_NUMBERS))
    sizes = [5, 20, 80, 2000]
    categories = ", ".join(f"'c' || (hash(i * 16 + {8 + k}) % {size}) AS t{k}" for k, size in enumerate(sizes))
    margin = "6 * (n0 - 0.5) * (n1 - 0.5) + sin(9 * n2) * (n3 > 0.4)::INT + (hash(t1) % 7)::DOUBLE / 7 - 0.5 + n4 * (t0 = 'c1')::INT"
    chance = "(hash(i * 16 + 15) % 10007)::DOUBLE / 10007"
    # A process of its own: its memory is not the job's.
    sql = (
        f"COPY (SELECT *, CASE WHEN {chance} < 1 / (1 + exp(-2 * ({margin}))) THEN 'yes' ELSE 'no' END AS y, "
        f'hash(i) AS "{ROW_HASH}" FROM (SELECT i, {numbers}, {categories} FROM range({rows}) r(i))) '
        f"TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
    )
    program = f"import duckdb; duckdb.sql({sql!r})"
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)  # a progress bar
    columns = [Column(name=f"n{k}", kind="number") for k in range(_NUMBERS)]
    columns += [Column(name=f"t{k}", kind="category") for k in range(_CATEGORIES)]
    schema = Schema(columns=(*columns, Column(name="y", kind="category")), target="y")
    with file.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    part = Part(dataset_id="d", uri="s3://data/d/data.parquet", rows=rows, sha256=digest)
    manifest = DatasetManifest(dataset_id="d", data_schema=schema, parts=(part,), source="generated", created_at="2026")
    return manifest, file


if __name__ == "__main__":
    main()
