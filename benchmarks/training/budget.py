"""Seconds asked for and seconds waited: python budget.py [--json FILE] CSV:TARGET …, and Adult.

Each line is one training job of the product, from the first row read to the last artifact logged.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import adult
import pandas as pd
import product_job

from dropforge_cli.example_data import fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

SETTINGS = """
project: budget
data:
  target: {target}
models:
  - name: model
    class: dropforge_training.models.{path}
    budget: {{trials: 10000, seconds: {seconds}}}
"""
MODELS = {
    "xgboost": "xgboost:XGBoost",
    "random_forest": "random_forest:RandomForest",
    "hist_gradient_boosting": "hist_gradient_boosting:HistGradientBoosting",
}


def measure(name: str, table: pd.DataFrame, target: str, model: str, seconds: float) -> dict[str, Any]:
    """One job."""
    text = SETTINGS.format(target=target, path=MODELS[model], seconds=seconds)
    result, taken = product_job.run(table, text, "model")
    card = json.loads((Path(result.bundle_uri).parent / "model_card.json").read_text())
    return {
        "table": name,
        "rows": len(table),
        "classes": int(table[target].nunique()),
        "model": model,
        "seconds_asked": seconds,
        "seconds_waited": round(taken, 1),
        "trials": card["trials"],
        "accuracy": round(result.metrics["accuracy"], 4),
        "roc_auc": round(result.metrics["roc_auc"], 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help="FILE.csv:TARGET")
    parser.add_argument("--model", nargs="*", choices=MODELS, default=["xgboost"])
    parser.add_argument("--seconds", type=float, nargs="*", default=[60])
    parser.add_argument("--json", type=Path, help="tables that are not measured keep what the file has of them")
    given = parser.parse_args()
    chosen = []
    for named in given.tables:
        file, _, target = named.rpartition(":")
        chosen.append((Path(file).stem, pd.read_csv(file), target))
    if not chosen:
        chosen.append(("adult", pd.read_csv(fetch(adult.DATA).reference), "income"))
    figures = []
    for name, table, target in chosen:
        for model in given.model:
            for seconds in given.seconds:
                figures.append(measure(name, table, target, model, seconds))
                print(json.dumps(figures[-1]), flush=True)
    if given.json:
        before, now = recorded.read(given.json), {name for name, _, _ in chosen}
        recorded.write(given.json, [f for f in (before.figures if before else []) if f["table"] not in now] + figures)


if __name__ == "__main__":
    main()
