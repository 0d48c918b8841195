"""Coverage and width of served prediction intervals on fresh rows.

    python interval_coverage.py [--splits 50] [--runs FILE.jsonl] [--seconds 400] [--json FILE] [TABLE …]

TABLE: FILE.csv:TARGET; tables made here when left out. For each table and random split, 70 % of the rows are an upload: the
product's own modules split it, choose the target's transform, fit, export to ONNX and calibrate the intervals; the other 30 %
go through the API's predictor of that bundle. Beside it plain split conformal prediction with the same model and calibration
rows: the prediction ± one quantile of the absolute residuals, in units of the target.
Every split draws the rows' hashes anew, so that each has calibration rows of its own (see coverage.py). Coverage does not depend on
how good the model is: it has few trees. Each split is a line of --runs, and those that stand there are not run again: after
--seconds the script ends, to be continued by the next call.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import product_job
from sklearn.datasets import load_diabetes, make_friedman1, make_friedman2, make_friedman3

from dropforge.config import settings as settings_module
from dropforge.inference.predictor import open_graph
from dropforge_training.data import training_table
from dropforge_training.export import bundle_builder, onnx_graph
from dropforge_training.fit import out_of_fold, target_transform
from dropforge_training.fit.refit import Refit
from dropforge_training.models import model_spec

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

COVERAGE = 0.9
PARAMS = {"n_estimators": 40, "learning_rate": 0.2, "max_depth": 4}
LOG = logging.getLogger("coverage")


def shipped() -> dict[str, tuple[pd.DataFrame, str]]:
    """Table and target by name: one that scikit-learn ships, others made so that intervals are hard to get right."""
    rng = np.random.default_rng(5)
    x, y = make_friedman1(3000, 8, noise=0.0, random_state=5)
    grows = y + rng.normal(0, 1, len(y)) * (0.3 + 4 * x[:, 5])
    tails = y + rng.standard_t(2, len(y))
    amounts = np.exp(y / 4 + rng.normal(0, 0.5, len(y)))
    second, third = (
        make(2000, noise=n, random_state=5) for make, n in ((make_friedman2, 125.0), (make_friedman3, 0.1))
    )
    return {
        "diabetes": (load_diabetes(as_frame=True).frame, "target"),
        "noise that grows": (_frame(x, grows), "target"),
        "noise of heavy tails": (_frame(x, tails), "target"),
        "skewed amounts": (_frame(x, amounts), "target"),
        "friedman 2": (_frame(*second), "target"),
        "friedman 3": (_frame(*third), "target"),
    }


def _frame(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])]).assign(target=y)


def split(table: pd.DataFrame, target: str, seed: int) -> dict[str, float]:
    """Coverage and mean width on one split's test rows, of the bundle and of plain split conformal prediction."""
    rng = np.random.default_rng(seed)
    order, cut = rng.permutation(len(table)), round(0.7 * len(table))
    upload, test = (table.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    text = (
        f"project: coverage\ndata: {{target: {target}, task: regression}}\n"
        "models: [{name: xgboost, class: 'dropforge_training.models.xgboost:XGBoost'}]\n"
    )
    settings = settings_module.load(text)
    _, first = np.unique(product_job.row_hashes(upload), return_inverse=True)
    hashes = rng.integers(0, 2**64, first.max() + 1, dtype=np.uint64)[first]
    with tempfile.TemporaryDirectory() as folder:
        loaded = training_table.load(*product_job.stored(upload, target, hashes), settings, Path(folder))
    data = target_transform.with_transform(loaded, settings.training)
    candidate, markers = model_spec.load(settings.models[0].import_path, "regression"), data.markers(settings)
    refit = Refit(candidate, data, markers, [PARAMS], seed, jobs=1)
    fitted = out_of_fold.fit(
        refit,
        refit.pipeline(data.train),
        data,
        settings,
        out_of_fold.FitOptions(seed, LOG),
    )
    if not isinstance(fitted, out_of_fold.FittedNumbers):
        raise SystemExit(f"{target} is no number to estimate")
    built = bundle_builder.build(
        fitted.model,
        bundle_builder.Origin(candidate, data, settings, "xgboost", "r", "d"),
        metrics={},
        importance={},
        log=LOG,
        width=fitted.width,
    )
    served = open_graph(built.manifest, built.model, lambda: built.width)
    answer = served.predict(onnx_graph.records(test[[c.name for c in data.features]]))
    low, high = served.intervals(answer.feeds, COVERAGE)
    y, predicted = np.asarray(test[target], dtype=float), answer.probabilities[:, 0]
    residuals = np.sort(np.abs(data.heldout.y - fitted.model.predict(data.heldout.x)))
    rank = math.ceil((len(residuals) + 1) * COVERAGE - 1e-9)
    plain = float(residuals[rank - 1]) if rank <= len(residuals) else math.inf
    return {
        "covered": float(((y >= low) & (y <= high)).mean()),
        "mean_width": float((high - low).mean()),
        "plain_covered": float((np.abs(y - predicted) <= plain).mean()),
        "plain_mean_width": 2 * plain,
        "calibration_rows": float(len(residuals)),
        "log_target": float(data.transform != ""),
        "r2": 1 - float(((y - predicted) ** 2).mean() / y.var()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="FILE.csv:TARGET")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--runs", type=Path, default=Path(".cache/intervals.jsonl"), help="finished splits, one a line")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no split after so long")
    parser.add_argument("--most-rows", type=int, default=2000, help="of a table, the first so many of a shuffle")
    parser.add_argument("--json", type=Path, help="tables that are not measured keep what the file has of them")
    given = parser.parse_args()
    chosen = shipped()
    if given.tables:
        named = [t.rpartition(":") for t in given.tables]
        chosen = {Path(file).stem: (pd.read_csv(file), target) for file, _, target in named}
    started = time.monotonic()
    given.runs.parent.mkdir(parents=True, exist_ok=True)
    lines = given.runs.read_text(encoding="utf-8").splitlines() if given.runs.exists() else []
    finished = {(name, rows, seed): run for name, rows, seed, run in map(json.loads, lines)}
    before = recorded.read(given.json) if given.json else None
    figures: dict[str, Any] = {t["table"]: t for t in (before.figures["tables"] if before else [])}
    parts = {
        n: t.dropna(subset=[y]).sample(frac=1, random_state=0).iloc[: given.most_rows] for n, (t, y) in chosen.items()
    }
    for seed in range(given.splits):
        for name, part in parts.items():
            if (name, len(part), seed) in finished or time.monotonic() - started > given.seconds:
                continue
            finished[name, len(part), seed] = split(part, chosen[name][1], seed)
            with given.runs.open("a", encoding="utf-8") as out:
                out.write(json.dumps([name, len(part), seed, finished[name, len(part), seed]]) + "\n")
    for name, part in parts.items():
        runs = [finished[name, len(part), s] for s in range(given.splits) if (name, len(part), s) in finished]
        if len(runs) < 2:
            continue
        means = {k: float(np.mean([r[k] for r in runs])) for k in runs[0]}
        error = float(np.std([r["covered"] for r in runs], ddof=1) / math.sqrt(len(runs)))
        figures[name] = {
            "table": name,
            "rows": len(part),
            "splits": len(runs),
            "standard_error": round(error, 4),
            "width_of_plain": round(means["mean_width"] / means["plain_mean_width"], 3),
            **{k: float(f"{v:.5g}") for k, v in means.items()},
        }
        print(json.dumps(figures[name]), flush=True)
        if given.json:
            recorded.write(given.json, {"coverage": COVERAGE, "tables": list(figures.values())})


if __name__ == "__main__":
    main()
