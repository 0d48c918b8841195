"""Dropforge's own training job on Adult within a number of seconds: python ours.py SECONDS [BAG] [SEED].

The seconds are those of the whole job: search, last fit, calibration, evaluation, export and log, as a user waits for them. The
predictions are those of the bundle that it leaves.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import adult
import product_job

from dropforge.inference.predictor import open_bundle
from dropforge_training.export import onnx_graph

CLASSES = ("<=50K", ">50K")
SETTINGS = """
project: adult
data:
  target: income
  positive_class: ">50K"
training: {{seed: {seed}}}
models:
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
    budget: {{trials: 10000, seconds: {seconds}}}
    bag: {bag}
"""


def main(seconds: float, bag: int = 4, seed: int = 20260101) -> None:
    train, test = adult.load("reference"), adult.load("new")
    table = train[0].assign(income=[CLASSES[k] for k in train[1]])
    result, taken = product_job.run(table, SETTINGS.format(seed=seed, seconds=seconds, bag=int(bag)), "xgboost")
    folder = Path(result.bundle_uri)
    predictor = open_bundle((folder / "manifest.json").read_bytes(), (folder / "model.onnx").read_bytes())
    p = predictor.predict(onnx_graph.records(test[0])).probabilities[:, 1]
    card = json.loads((folder.parent / "model_card.json").read_text())
    now = time.monotonic()
    adult.tell(now - taken, test[1], p, ended=now, trials=card["trials"], validation=round(card["tuning"]["score"], 5))


if __name__ == "__main__":
    main(float(sys.argv[1]), *(int(a) for a in sys.argv[2:]))
