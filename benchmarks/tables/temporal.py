"""How far a held-out score is from the score on the period that follows, by time and by random splits.

    python benchmarks/tables/temporal.py FOLDER [--json FILE] [--only NAME,NAME] [--seconds 20] [--model tree_ensemble]

FOLDER as for walk.py; its tables with a `time` are tried. The newest fifth of a table's rows is the next period, which nobody sees. On
the others `dropforge init` writes the settings, whose model is trained twice: with the newest rows held out (`split.by: time`), and
with random ones. The served bundle then predicts the next period. `gap`: how much worse it is there than its held-out score said,
in fractions of that score. `coverage`: share of the next period's rows within their 90 % intervals, of all and of each fifth of it,
oldest first. A row of the result file for each table; one that is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))
import recorded
import walk

from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import of_numbers
from dropforge.serving.query_options import Options
from dropforge_training.evaluate import metrics
from dropforge_training.export import onnx_graph

_PERIOD = 0.2  # of the rows, the newest
_ROWS = 500  # of one request
_COVERAGE = 0.9
_PARTS = 5  # of the next period
RESULTS = Path(__file__).parents[1] / "results" / "temporal.json"


def tables(folder: Path) -> list[tuple[walk.Known, str]]:
    """The regressions of FOLDER/tables.json that have a time, with its column."""
    times = {t["name"]: t.get("time") for t in json.loads((folder / "tables.json").read_text(encoding="utf-8"))}
    return [(k, times[k.name]) for k in walk.read_list(folder) if times[k.name] and k.task == "regression"]


def parted(file: Path, column: str, out: Path) -> pd.DataFrame:
    """Rows up to the next period, written to `out`; the rows of that period, oldest first."""
    table = pd.read_csv(file, low_memory=False)
    number = pd.to_numeric(table[column], errors="coerce")
    moments = number if number.notna().all() else pd.to_datetime(table[column], format="mixed", utc=True)
    start = moments.sort_values(ignore_index=True).iloc[int(len(table) * (1 - _PERIOD))]
    table[moments < start].to_csv(out, index=False)
    order = moments[moments >= start].sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def trained(known: walk.Known, settings: str, coming: pd.DataFrame, seconds: float, model: str) -> dict[str, Any]:
    """The score on held-out rows and on the next period, and the gap between them."""
    with tempfile.TemporaryDirectory(prefix="dropforge-temporal-") as temporary:
        done = walk.upload(known.file, settings.encode())
        results, clocks = walk.train(done, Path(temporary), seconds, model)
        metric = done.settings.training.metric
        service = walk.serve(done.store, results[0])
        predicted: list[float] = []
        intervals: list[tuple[float, float]] = []
        options = Options(coverage=_COVERAGE)
        rows = onnx_graph.records(coming.drop(columns=[known.target]))
        for start in range(0, len(rows), _ROWS):
            body = json.dumps({"records": rows[start : start + _ROWS]}).encode()
            answers = service.predict(body, "application/json", options)["predictions"]
            predicted += [p["prediction"] for p in answers]
            intervals += [(p["interval"]["low"], p["interval"]["high"]) for p in answers]
    y = pd.to_numeric(coming[known.target]).to_numpy(dtype=float)
    low, high = np.array(intervals).T
    within = (low <= y) & (y <= high)
    later = sign(metric) * metrics.score(metric, of_numbers(y, np.array(predicted)))
    heldout = results[0].metrics[metric]
    worse = sign(metric) * (heldout - later)
    return {
        "metric": metric,
        "heldout": round(heldout, 4),
        "next_period": round(later, 4),
        "gap": round(worse / abs(heldout), 4),
        "coverage": round(float(within.mean()), 4),
        "coverage_by_period": [round(float(part.mean()), 4) for part in np.array_split(within, _PARTS)],
        "seconds": clocks[results[0].model]["wall"],
    }


def compared(known: walk.Known, column: str, seconds: float, model: str) -> dict[str, Any]:
    """One table, by both splits."""
    with tempfile.TemporaryDirectory(prefix="dropforge-temporal-") as temporary:
        folder = Path(temporary)
        file = folder / known.file.name
        coming = parted(known.file, column, file)
        coming = coming[coming[known.target].notna()].reset_index(drop=True)
        here = replace(known, file=file)
        walk.init(here, folder / "project")
        text = (folder / "project" / "settings.yaml").read_text(encoding="utf-8")
        by_time = re.sub(
            r"\nsplit:.*?(?=\n\S)", f"\nsplit: {{by: time, time: {json.dumps(column)}}}", text, flags=re.DOTALL
        )
        at_random = re.sub(r"\nsplit:.*?(?=\n\S)", "\nsplit: {by: random}", text, flags=re.DOTALL)
        proposed = re.search(r"\n  by: (\w+)", text)
        line: dict[str, Any] = {
            "name": known.name,
            "proposed": proposed[1] if proposed else "",
            "next_rows": len(coming),
        }
        for name, settings in (("time", by_time), ("random", at_random)):
            line[name] = trained(here, settings, coming, seconds, model)
    time_gap, random_gap = (max(0.0, line[k]["gap"]) for k in ("time", "random"))
    return {**line, "at_most_half": time_gap <= random_gap / 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--json", type=Path, default=RESULTS, help="the result file, added to (default: the published one)"
    )
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seconds", type=float, default=20, help="of each of the two trainings")
    parser.add_argument("--model", default="tree_ensemble")
    parser.add_argument("--most-seconds", type=float, default=420, help="begin no table after so long")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    only, started = set(filter(None, given.only.split(","))), time.monotonic()
    before = recorded.read(given.json)
    lines = list(before.figures) if before else []
    finished = {line["name"] for line in lines}
    for known, column in tables(given.folder):
        if known.name in finished or (only and known.name not in only):
            continue
        if time.monotonic() - started > given.most_seconds:
            break
        lines.append(compared(known, column, given.seconds, given.model))
        recorded.write(given.json, lines)
        print(json.dumps(lines[-1]), flush=True)


if __name__ == "__main__":
    walk.as_a_worker()
    main()
