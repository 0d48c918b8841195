"""The settings that `dropforge init` writes beside AutoML systems, on the same rows and within the same seconds.

    python benchmarks/tables/compare.py FOLDER [--json FILE] [--seconds 60] [--splits 1] [--only NAME,NAME]
        [--system autogluon=/path/of/its/python …] [--again SYSTEM] [--most-seconds 420] [--summary]

FOLDER as for walk.py. A system is given with the Python of an environment that has it: `pip install
"autogluon.tabular[lightgbm,catboost,xgboost]"`, `pip install "flaml[automl]==2.7.0" pyarrow`, `pip install catboost pyarrow`;
hist_gradient_boosting runs in this one. Nothing of ours is set by hand but target and task where `init` marks them as guesses;
its jobs run one after the other within the seconds, each with its part of what init gives it. Ours is the job with the best
validation score: held-out rows choose nothing. All systems get the training rows of our split and are scored on its held-out rows;
splits after the first draw the rows' hashes anew (rows that are split by time are split alike in all of them).
Each run is a row of the result file, and is not repeated unless it failed or --again names its system; --summary prints what the
rows say.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.append(str(Path(__file__).parents[1]))
import recorded
import table_results
import walk
from table_results import OURS

from dropforge.datasets.dataset_store import load_manifest
from dropforge.datasets.table_schema import ROW_HASH
from dropforge.inference.bundle_manifest import BundleManifest
from dropforge.metrics.weighted_rows import of_numbers
from dropforge_training.data import training_table
from dropforge_training.data.training_table import TrainingData
from dropforge_training.evaluate import held_out, metrics

RESULTS = Path(__file__).parents[1] / "results" / "tables.json"
_SCORES = ("rmse", "mae", "roc_auc", "log_loss", "log_loss_uncalibrated", "ece")
_ONE_ROW = 20  # one-row predictions, of which the median counts


def redrawn(done: walk.Uploaded, split: int) -> walk.Uploaded:
    """The upload with other row hashes, which decide who is held out; equal rows have equal ones. Split 0: as it is."""
    if not split:
        return done
    manifest, parts = load_manifest(done.store, done.request.dataset_uri), []
    for part in manifest.parts:
        table = pq.read_table(io.BytesIO(done.store.get(part.uri).body))
        place = table.column_names.index(ROW_HASH)
        hashed = [
            int.from_bytes(hashlib.blake2b(f"{split} {h}".encode(), digest_size=8).digest(), "little")
            for h in table.column(place).to_pylist()
        ]
        out = io.BytesIO()
        column = np.array(hashed, dtype=np.uint64)
        pq.write_table(table.set_column(place, table.schema.field(place), [column]), out)
        uri = f"{part.uri}.{split}"
        done.store.put(uri, out.getvalue())
        digest = hashlib.sha256(out.getvalue()).hexdigest()
        parts.append(part.model_copy(update={"uri": uri, "sha256": digest}))
    changed = manifest.model_copy(update={"parts": tuple(parts)})
    uri = f"{done.request.dataset_uri}.{split}"
    done.store.put(uri, changed.model_dump_json().encode())
    jobs = tuple(job.model_copy(update={"dataset_uri": uri}) for job in done.request.jobs)
    request = done.request.model_copy(update={"dataset_uri": uri, "jobs": jobs})
    return walk.Uploaded(done.store, done.settings, request, done.facts)


def ours(done: walk.Uploaded, folder: Path, seconds: float) -> dict[str, Any]:
    """Every job of the settings, and the one that validation rows prefer."""
    wanted = sum(job.budget.seconds for job in done.request.jobs)
    jobs = []
    for job in done.request.jobs:
        budget = job.budget.model_copy(update={"seconds": job.budget.seconds * seconds / wanted})
        jobs.append(job.model_copy(update={"budget": budget}))
    request = done.request.model_copy(update={"jobs": tuple(jobs)})
    scaled = walk.Uploaded(done.store, done.settings, request, done.facts)
    results, clocks = walk.train(scaled, folder, float("inf"), "")
    cards = {r.model: json.loads((Path(r.bundle_uri).parent / "model_card.json").read_text()) for r in results}
    best = max(results, key=lambda r: float(cards[r.model]["tuning"]["score"]))
    service = walk.serve(done.store, best)
    example = BundleManifest.from_json((Path(best.bundle_uri) / "manifest.json").read_bytes()).example
    body, each = json.dumps({"records": [example]}).encode(), []
    for _ in range(_ONE_ROW):
        started = time.perf_counter()
        service.predict(body, "application/json")
        each.append(time.perf_counter() - started)
    scores = best.metrics
    return {
        "scores": {k: scores[k] for k in _SCORES if k in scores},
        "seconds": round(sum(c["wall"] for c in clocks.values()), 1),
        "milliseconds": round(float(np.median(each)) * 1000, 2),
        "bundle_bytes": sum(f.stat().st_size for f in Path(best.bundle_uri).iterdir()),
        "model": best.model,
    }


def theirs(system: str, python: str, data: TrainingData, folder: Path, seconds: float) -> dict[str, Any]:
    """One rival on the same rows. Raises SystemExit with its last words when it fails."""
    target = "target of this table"
    for name, part in (("train", data.train), ("test", data.heldout)):
        y = part.y if data.regression else np.array(data.classes, dtype=object)[part.y]
        part.x.assign(**{target: y}).to_parquet(folder / f"{name}.parquet", index=False)
    task, out = "regression" if data.regression else "classification", folder / "predicted.npy"
    files = [str(folder / f"{name}.parquet") for name in ("train", "test")]
    command = [
        python,
        str(Path(__file__).resolve().parent / "rival.py"),
        system,
        *files,
        target,
        task,
        str(seconds),
        str(out),
    ]
    # In the folder of the run: some systems leave files where they are started.
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if finished.returncode:
        raise SystemExit(f"{system}: {finished.stderr[-1000:]}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return {"scores": _scores(data, np.load(out)), **result}


def _scores(data: TrainingData, predicted: np.ndarray) -> dict[str, float]:
    y = data.heldout.y
    if data.regression:
        numbers = of_numbers(y, predicted.reshape(-1))
        return {m: -metrics.score(m, numbers) for m in ("rmse", "mae")}
    positive = data.classes.index(data.positive) if data.positive else 1
    p = predicted / predicted.sum(axis=1, keepdims=True)
    return {
        "roc_auc": held_out.score("roc_auc", y, p, positive),
        "log_loss": -held_out.score("log_loss", y, p, positive),
    }


def runs(known: walk.Known, split: int, systems: dict[str, str], seconds: float) -> Iterable[dict[str, Any]]:
    """One table and split: a line for each system."""
    with tempfile.TemporaryDirectory(prefix="dropforge-compare-") as temporary:
        folder = Path(temporary)
        walk.init(known, folder / "project")
        settings = (folder / "project" / "settings.yaml").read_bytes()
        done = redrawn(walk.upload(known.file, settings), split)
        manifest = load_manifest(done.store, done.request.dataset_uri)
        data = training_table.load(done.store, manifest, done.settings, folder)
        for system, python in systems.items():
            line: dict[str, Any] = {"table": known.name, "split": split, "system": system, "budget_seconds": seconds}
            line |= {"rows": len(data.train), "classes": len(data.classes)}
            try:
                line |= ours(done, folder, seconds) if system == OURS else theirs(system, python, data, folder, seconds)
            except (Exception, SystemExit) as error:
                line["error"] = f"{type(error).__name__}: {error}"[:1500]
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--json", type=Path, default=RESULTS, help="the result file, added to (default: the published one)"
    )
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--system", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--again", action="append", default=[], metavar="SYSTEM", help="measure it anew")
    parser.add_argument("--most-seconds", type=float, default=420, help="begin no table after so long")
    parser.add_argument("--summary", action="store_true", help="run nothing")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    named = dict(s.partition("=")[::2] for s in given.system)
    systems = {OURS: "", "hist_gradient_boosting": sys.executable, **named}
    today = datetime.now(UTC).date().isoformat()
    started, only = time.monotonic(), set(filter(None, given.only.split(",")))
    for known in [] if given.summary else walk.read_list(given.folder):
        for split in range(given.splits):
            finished = {
                (r["table"], r["split"], r["system"], r["budget_seconds"])
                for r in table_results.measured(_rows(given.json))
                if r["system"] not in given.again or r["day"] == today
            }
            left = {s: p for s, p in systems.items() if (known.name, split, s, given.seconds) not in finished}
            if not left or (only and known.name not in only):
                continue
            if time.monotonic() - started > given.most_seconds:
                print("more tables are left: run it again", file=sys.stderr)
                return
            for line in runs(known, split, left, given.seconds):
                _write(given.json, {**line, "day": today})
                print(json.dumps(line), flush=True)
    for entry in table_results.summary([r for r in _rows(given.json) if r["budget_seconds"] == given.seconds]):
        print(json.dumps(entry))


def _rows(file: Path) -> list[dict[str, Any]]:
    known = recorded.read(file)
    return list(known.figures) if known else []


def _write(file: Path, row: dict[str, Any]) -> None:
    """The row in the place of an earlier one of the same run."""
    run = ("table", "split", "system", "budget_seconds")
    others = [r for r in _rows(file) if any(r[k] != row[k] for k in run)]
    recorded.write(file, sorted([*others, row], key=lambda r: tuple(r[k] for k in run)))


if __name__ == "__main__":
    walk.as_a_worker()
    main()
