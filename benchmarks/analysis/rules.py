"""What 20 rules cost: one table of 1,000,000 rows admitted, profiled and reported with and without them, turn about.

    python benchmarks/analysis/rules.py --rows 1000000 --rounds 11 --json benchmarks/results/rules.json

The path is the function's (`keep`: identified, written as Parquet), from the file to the report. `violated`: some rows violate some
of the rules, so that their lines are looked for too. The figure is the median cost in processor time of all threads, which other
processes disturb less than wall time; each round runs both, in turn first, and its quartiles say how sure the median is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dropforge.analysis.report import build_report
from dropforge.analysis.report_model import Provenance
from dropforge.config.settings import Settings, load
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import admit

COLUMNS: dict[str, dict[str, Any]] = {
    "age": {"min": 0, "max": 120, "not_null": True},
    "hours": {"min": 0, "max": 99},
    "pay": {"min": 0},
    "job": {"values": [f"job{i}" for i in range(12)], "not_null": True},
    "code": {"pattern": "[A-Z]{2}-[0-9]{4}"},
    "region": {"values": ["north", "south", "east", "west"]},
}
RULES = [
    "ends >= starts",
    "pay <= 1000000",
    "age >= 16 OR hours = 0",
    "job <> 'job1' OR pay > 0",
    "date_diff('day', starts, ends) <= 400",
    "starts >= '2019-01-01'",
    "hours * 52 <= 5200",
    "region IN ('north', 'south') OR pay < 1000000",
    "starts_with(code, 'A') OR starts_with(code, 'B') OR length(code) = 7",
    "CASE WHEN hours = 0 THEN pay >= 0 ELSE true END",
]  # with the ten keys of COLUMNS: 20 rules


def _table(rows: int, *, violated: bool) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    starts = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, rows), unit="D")
    table = pd.DataFrame(
        {
            "age": rng.integers(17, 90, rows),
            "hours": rng.integers(0, 80, rows),
            "pay": np.round(rng.gamma(2.0, 20_000, rows), 2).clip(0, 900_000),
            "job": rng.choice([f"job{i}" for i in range(12)], rows),
            "code": [f"{'AB'[a]}{'XY'[b]}-{n:04d}" for a, b, n in rng.integers(0, [2, 2, 3000], (rows, 3))],
            "region": rng.choice(["north", "south", "east", "west"], rows),
            "starts": starts,
            "ends": starts + pd.to_timedelta(rng.integers(0, 300, rows), unit="D"),
            "score": rng.normal(size=rows).round(4),
            "y": rng.choice(["no", "yes"], rows, p=[0.8, 0.2]),
        }
    )
    if violated:
        some = rng.choice(rows, rows // 1000, replace=False)
        table.loc[some[::2], "ends"] = pd.Timestamp("2018-01-01")
        table.loc[some[1::2], "age"] = -1
    return table


def _settings(*, ruled: bool) -> Settings:
    data: dict[str, Any] = {"target": "y"}
    if ruled:
        data |= {"columns": COLUMNS, "rules": [{"name": f"rule {i}", "expect": e} for i, e in enumerate(RULES)]}
    return load(json.dumps({"project": "demo", "data": data, "models": [{"name": "m", "class": "a.b:C"}]}))


def _seconds(file: Path, settings: Settings) -> tuple[float, float, int, int]:
    """From the file to the report: wall time, processor time of all threads, rules evaluated, rows quarantined."""
    with tempfile.TemporaryDirectory() as folder, closing(connect(Path(folder))) as db:
        began, worked = time.perf_counter(), time.process_time()
        admission = admit(file, data=settings.data, reference=None, workdir=Path(folder), connection=db)
        profile = build_report.profile_of(admission, Path(folder), None, db)
        build_report.report(None, profile, build_report.intake_of(admission, "x"), settings, Provenance())
        return (
            time.perf_counter() - began,
            time.process_time() - worked,
            len(admission.rules),
            admission.rows_quarantined,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"rows": arguments.rows, "rounds": arguments.rounds}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("kept", "violated"):
            file = Path(folder) / f"{name}.csv"
            _table(arguments.rows, violated=name == "violated").to_csv(file, index=False)
            times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for round_number in range(arguments.rounds):
                for ruled in (False, True) if round_number % 2 else (True, False):
                    wall, worked, rules, aside = _seconds(file, _settings(ruled=ruled))
                    times[ruled].append((wall, worked))
                    if ruled:
                        result[name] = {"rules": rules, "rows_quarantined": aside}
            for k, clock in enumerate(("wall", "processor")):
                without, ruled_times = ([t[k] for t in times[r]] for r in (False, True))
                costs = [b / a - 1 for a, b in zip(without, ruled_times, strict=True)]
                result[name][clock] = {
                    "seconds_without": round(statistics.median(without), 3),
                    "seconds_with": round(statistics.median(ruled_times), 3),
                    "cost": round(statistics.median(costs), 4),
                    "quartiles": [round(float(q), 4) for q in np.quantile(costs, [0.25, 0.75])],
                    "costs": [round(c, 4) for c in costs],
                }
            sys.stderr.write(f"{name}: {json.dumps(result[name])}\n")
    text = json.dumps({**result, "measured_at": time.strftime("%Y-%m-%d")}, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
