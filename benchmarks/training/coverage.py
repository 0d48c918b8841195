"""Coverage of the prediction sets of served bundles on fresh rows: python coverage.py [--splits 50] [--json FILE] [CSV:TARGET …].

For each table and random split, 70 % of the rows are an upload: the product's own modules split it, fit and calibrate it, export it
to ONNX and calibrate the sets; the other 30 % go through the API's predictor of that bundle, and the
sets through the rule that the API uses.
Tables: those named, or three that scikit-learn ships or makes. Every split draws the rows' hashes anew, so
that each has calibration rows of its own: a row's hash is fixed in the product, but a table is one draw of all tables there could be.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import product_job
from sklearn.datasets import load_breast_cancer, load_digits, make_classification

from dropforge.config import settings as settings_module
from dropforge.inference.predictor import open_bundle
from dropforge_training.data import training_table
from dropforge_training.evaluate import held_out
from dropforge_training.export import bundle_builder, onnx_graph
from dropforge_training.fit import conformal, out_of_fold
from dropforge_training.fit.refit import Refit
from dropforge_training.models import model_spec

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

COVERAGES = ("0.8", "0.9", "0.95")
MODELS = {
    "random_forest": ("random_forest:RandomForest", {"n_estimators": 25, "max_depth": 10, "min_samples_leaf": 2}),
    "logistic_regression": ("logistic_regression:LogisticRegression", {"C": 0.3}),
    "xgboost": ("xgboost:XGBoost", {"n_estimators": 60, "learning_rate": 0.2, "max_depth": 4}),
}
LOG = logging.getLogger("coverage")


def shipped() -> dict[str, tuple[pd.DataFrame, str, str]]:
    """Table, target and model by name."""
    cancer = load_breast_cancer(as_frame=True).frame.rename(columns=lambda c: c.replace(" ", "_"))
    cancer["target"] = cancer["target"].map({0: "malignant", 1: "benign"})
    digits = load_digits(as_frame=True).frame
    digits["target"] = "d" + digits["target"].astype(str)
    x, y = make_classification(
        4000, 12, n_informative=6, n_classes=3, weights=[0.6, 0.3, 0.1], flip_y=0.1, class_sep=0.7, random_state=5
    )
    noisy = pd.DataFrame(x, columns=[f"x{i}" for i in range(12)]).assign(target=[f"c{k}" for k in y])
    return {
        "three noisy classes, 4,000 rows": (noisy, "target", "logistic_regression"),
        "digits, 1,797 rows": (digits, "target", "random_forest"),
        "breast cancer, 569 rows": (cancer, "target", "logistic_regression"),
    }


def split(table: pd.DataFrame, target: str, model: str, seed: int) -> dict[str, Any]:
    """Coverage of one split's bundle on its test rows, and what its calibration rows promise."""
    rng = np.random.default_rng(seed)
    order, cut = rng.permutation(len(table)), round(0.7 * len(table))
    upload, test = (table.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:]))
    path, params = MODELS[model]
    text = f'project: coverage\ndata: {{target: {target}}}\nmodels: [{{name: {model}, class: "dropforge_training.models.{path}"}}]\n'
    settings = settings_module.load(text)
    _, first = np.unique(product_job.row_hashes(upload), return_inverse=True)
    hashes = rng.integers(0, 2**64, first.max() + 1, dtype=np.uint64)[first]
    with tempfile.TemporaryDirectory() as folder:
        data = training_table.load(*product_job.stored(upload, target, hashes), settings, Path(folder))
    candidate = model_spec.load(settings.models[0].import_path)
    markers = data.markers(settings)
    refit = Refit(candidate, data, markers, [params], seed, jobs=1)
    fitted = out_of_fold.fit(
        refit,
        refit.pipeline(data.train),
        data,
        settings,
        # Calibration needs no more than one such fit, and the sets need none.
        out_of_fold.FitOptions(seed, LOG, allows=lambda fits, _seconds: fits == 0),
    )
    built = bundle_builder.build(
        fitted.model,
        bundle_builder.Origin(candidate, data, settings, model, "r", "d"),
        metrics={},
        importance={},
        log=LOG,
    )
    served = open_bundle(built.manifest.to_json(), built.model, built.sha256)
    answer = served.predict(onnx_graph.records(test[[c.name for c in data.features]]))
    codes = np.searchsorted(data.classes, test[target].astype(str))
    figures = conformal.measure(codes, answer.probabilities, served.manifest.conformal)
    by_coverage = {f"{f['coverage']:g}": f for f in figures}
    weights = np.bincount(codes, minlength=len(data.classes)) / len(codes)
    return {
        "accuracy": held_out.score("accuracy", codes, answer.probabilities),
        **{
            c: {
                "covered": by_coverage[c]["covered"],
                "mean_size": by_coverage[c]["mean_size"],
                "most_expected": float(weights @ [_most(n, float(c)) for n in served.manifest.conformal_rows]),
            }
            for c in COVERAGES
        },
    }


def _most(rows: int, coverage: float) -> float:
    """The coverage that `rows` calibration rows without ties give: ⌈(n + 1)·c⌉ / (n + 1), or 1 for too few."""
    return min(1.0, float(np.ceil((rows + 1) * coverage - 1e-9)) / (rows + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="FILE.csv:TARGET")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--model", choices=MODELS, default="random_forest", help="of the tables named")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chosen = shipped()
    if given.tables:
        named = [t.rpartition(":") for t in given.tables]
        chosen = {Path(f).stem: (pd.read_csv(f), target, given.model) for f, _, target in named}
    document: dict[str, Any] = {"splits": given.splits, "tables": []}
    for name, (table, target, model) in chosen.items():
        runs = [split(table, target, model, seed) for seed in range(given.splits)]
        for coverage in COVERAGES:
            entry = {
                "table": name,
                "model": model,
                "coverage": float(coverage),
                "covered": round(float(np.mean([r[coverage]["covered"] for r in runs])), 4),
                "standard_error": round(
                    float(np.std([r[coverage]["covered"] for r in runs], ddof=1) / np.sqrt(len(runs))), 4
                ),
                "promised_to": round(float(np.mean([r[coverage]["most_expected"] for r in runs])), 4),
                "mean_size": round(float(np.mean([r[coverage]["mean_size"] for r in runs])), 3),
                "accuracy": round(float(np.mean([r["accuracy"] for r in runs])), 4),
            }
            document["tables"].append(entry)
            print(json.dumps(entry), flush=True)
    if given.json:
        recorded.write(given.json, document)


if __name__ == "__main__":
    main()
