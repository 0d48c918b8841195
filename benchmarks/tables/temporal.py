"""How far a held-out score is from the score on the period that follows, by time and by random splits.

    python benchmarks/tables/temporal.py FOLDER --out temporal.jsonl [--only NAME,NAME] [--seconds 20] [--model tree_ensemble]

FOLDER as for walk.py; its tables with a `time` are tried. The newest fifth of a table's rows is the next period, which nobody sees. On
the others `dropforge init` writes the settings, whose model is trained twice: with the newest rows held out (`split.by: time`), and
with random ones. The served bundle then predicts the next period. `gap`: how much worse it is there than its held-out score said,
in fractions of that score. A line of JSON for each table; a table that is in the file already is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import walk

from dropforge.metrics import sign
from dropforge.metrics.weighted_rows import of_numbers
from dropforge_training.evaluate import metrics
from dropforge_training.export import onnx_graph

_PERIOD = 0.2  # of the rows, the newest
_ROWS = 500  # of one request


def tables(folder: Path) -> list[tuple[walk.Known, str]]:
    """The regressions of FOLDER/tables.json that have a time, with its column."""
    times = {t["name"]: t.get("time") for t in json.loads((folder / "tables.json").read_text(encoding="utf-8"))}
    return [(k, times[k.name]) for k in walk.read_list(folder) if times[k.name] and k.task == "regression"]


def parted(file: Path, column: str, out: Path) -> pd.DataFrame:
    """Rows up to the next period, written to `out`; the rows of that period."""
    table = pd.read_csv(file, low_memory=False)
    number = pd.to_numeric(table[column], errors="coerce")
    moments = number if number.notna().all() else pd.to_datetime(table[column], format="mixed", utc=True)
    start = moments.sort_values(ignore_index=True).iloc[int(len(table) * (1 - _PERIOD))]
    table[moments < start].to_csv(out, index=False)
    return table[moments >= start].reset_index(drop=True)


def trained(known: walk.Known, settings: str, coming: pd.DataFrame, seconds: float, model: str) -> dict[str, Any]:
    """The score on held-out rows and on the next period, and the gap between them."""
    with tempfile.TemporaryDirectory(prefix="dropforge-temporal-") as temporary:
        done = walk.upload(known.file, settings.encode())
        results, clocks = walk.train(done, Path(temporary), seconds, model)
        metric = done.settings.training.metric
        service = walk.serve(done.store, results[0])
        predicted: list[float] = []
        rows = onnx_graph.records(coming.drop(columns=[known.target]))
        for start in range(0, len(rows), _ROWS):
            body = json.dumps({"records": rows[start : start + _ROWS]}).encode()
            predicted += [p["prediction"] for p in service.predict(body, "application/json")["predictions"]]
    y = pd.to_numeric(coming[known.target]).to_numpy(dtype=float)
    later = sign(metric) * metrics.score(metric, of_numbers(y, np.array(predicted)))
    heldout = results[0].metrics[metric]
    worse = sign(metric) * (heldout - later)
    return {
        "metric": metric,
        "heldout": round(heldout, 4),
        "next_period": round(later, 4),
        "gap": round(worse / abs(heldout), 4),
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
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, appended to")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--seconds", type=float, default=20, help="of each of the two trainings")
    parser.add_argument("--model", default="tree_ensemble")
    parser.add_argument("--most-seconds", type=float, default=420, help="begin no table after so long")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    only, started = set(filter(None, given.only.split(","))), time.monotonic()
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
    finished = {json.loads(line)["name"] for line in lines}
    for known, column in tables(given.folder):
        if known.name in finished or (only and known.name not in only):
            continue
        if time.monotonic() - started > given.most_seconds:
            break
        line = compared(known, column, given.seconds, given.model)
        with given.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    walk.as_a_worker()
    main()
