"""A retrain that starts with the last study's best points, beside one from scratch: trials until the same score.

python benchmarks/training/warm_start.py [--trials 40] [--seeds 5] [--json FILE]

First a study on 20,000 rows of Adult drawn at random; then a retrain's first trial on the same rows; then, with 5,000 more as
an accepted upload would add them, one study that starts as a retrain does (see search/job_search.py) and has a tenth of
the trials, and one that knows nothing. All are scored on one yardstick, the first study's validation rows: a retrain fits on
none of them, because a row's hash alone says on which side it is (search/validation_folds.py). Other rows move a score by more
than tuning gains.
A study from scratch begins with points drawn at random: the model class's own first point was chosen on tables like this
one, and would hide what the last study taught. As in the product, a retrain has the seed of the study before it (training.seed).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import adult
import numpy as np
import own_search
import pandas as pd

from dropforge_cli.example_data import fetch
from dropforge_training.models.model_spec import Fold
from dropforge_training.search import validation_folds
from dropforge_training.search.study_budget import TuningBudget

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROWS, ADDED = 20_000, 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    fetch(adult.DATA)
    halves = [adult.load(name) for name in ("reference", "new")]
    x, y = pd.concat([h[0] for h in halves], ignore_index=True), np.concatenate([h[1] for h in halves])
    runs = []
    for seed in range(1, given.seeds + 1):
        drawn = np.random.default_rng(seed).permutation(len(y))[: ROWS + ADDED]
        rows = x.iloc[drawn].reset_index(drop=True), y[drawn]
        old, grown = _folds(rows, ROWS), _folds(rows, ROWS + ADDED)
        before = _study(old, seed, given.trials, [])
        points = [p.params for p in before["points"]][: max(1, given.trials // 4)]
        again = _study(old, seed, 1, points)
        warm = _study(grown, seed, max(1, given.trials // 10), points)
        cold = _study(grown, seed + 100, given.trials, [])
        runs.append(
            {
                "seed": seed,
                "earlier_best": before["scores"][-1],
                "earlier_trials_to_best": _until(before["scores"], before["scores"][-1]),
                "same_rows_first_trial": again["scores"][-1],
                "warm_trials_to_earlier_best": _until(warm["scores"], before["scores"][-1]),
                "cold_trials_to_earlier_best": _until(cold["scores"], before["scores"][-1]),
                "warm_trials_to_cold_best": _until(warm["scores"], cold["scores"][-1]),
                "warm_best": warm["scores"][-1],
                "cold_best": cold["scores"][-1],
            }
        )
        print(json.dumps(runs[-1]), flush=True)
    reached = [r["warm_trials_to_earlier_best"] for r in runs]
    document = {
        "trials": given.trials,
        "runs": runs,
        "reached_at_once_on_the_same_rows": sum(r["same_rows_first_trial"] >= r["earlier_best"] for r in runs),
        "reached_within_a_tenth": sum(n is not None for n in reached),
        "median_warm_trials": statistics.median(n or given.trials for n in reached),
    }
    print(json.dumps({k: v for k, v in document.items() if k != "runs"}))
    if given.json:
        recorded.write(given.json, document)


def _folds(rows: tuple[pd.DataFrame, np.ndarray], count: int) -> list[Fold]:
    """The first `count` rows as a trial gets them, scored on the validation rows among the first ROWS."""
    part = rows[0].iloc[:count], rows[1][:count]
    data = own_search.data(part, part)
    created = validation_folds.make(own_search.CANDIDATE, data, own_search.markers(data), 20260101)
    known = int(validation_folds.validation(data.train)[:ROWS].sum())
    return [dataclasses.replace(f, x_valid=f.x_valid[:known], y_valid=f.y_valid[:known]) for f in created]


def _study(rows: list[Fold], seed: int, trials: int, start: list[dict[str, Any]]) -> dict[str, Any]:
    """Its best points, and the best score after each trial."""
    scores: list[float] = []
    done = own_search.tune(
        rows,
        TuningBudget(trials, 3600),
        seed=seed,
        name=f"warm-{seed}",
        start=start,
        tell=lambda p: scores.append(round(p.best or 0.0, 6)),
    )
    return {"points": done.points, "scores": scores}


def _until(scores: list[float], target: float) -> int | None:
    """Trials until the target was reached; None when it was not."""
    return next((n for n, s in enumerate(scores, 1) if s >= target), None)


if __name__ == "__main__":
    main()
