"""A large table analysed by shards and at once: seconds of each step, bytes between the steps, memory, equal reports.

    python benchmarks/analysis/shards.py --rows 1000000 5000000 20000000 [--shard-bytes 64000000] [--json FILE] [--no-whole]

Each run is a process of its own, compared with a reference of 100,000 rows of the same generator. The memory is the process's
highest resident set.
`--json` replaces the rows with the same number of rows in the file and keeps the others. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from dropforge.analysis.report import build_report
from dropforge.analysis.report_model import Provenance
from dropforge.config.settings import Settings, load
from dropforge.ingest import shard_plan, shard_reading
from dropforge.ingest.duckdb_connection import connect
from dropforge.ingest.ingest_file import ReadingOptions, admit
from dropforge.ingest.sharded_file import in_turn

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]
import recorded  # noqa: E402 - a folder of scripts, no package

REFERENCE_ROWS = 100_000
AT_ONCE = 10**15  # bytes: no file is cut
COLUMNS = {
    "account": "hash(i * 17 + 1) % 400000",
    "age": "18 + hash(i * 17 + 2) % 70",
    "amount": "round((hash(i * 17 + 3) % 10000000)::DOUBLE / 97, 2)",
    "score": "round((hash(i * 17 + 4) % 1000003)::DOUBLE / 1000003, 6)",
    "hours": "(hash(i * 17 + 5) % 24) + 1",
    "city": "'city ' || (hash(i * 17 + 6) % 300)",
    "channel": "['web', 'shop', 'phone', 'partner'][CAST(1 + hash(i * 17 + 7) % 4 AS INT)]",
    "member": "hash(i * 17 + 8) % 3 = 0",
    "day": "DATE '2024-01-01' + CAST(hash(i * 17 + 9) % 700 AS INT)",
    "grade": "['A', 'B', 'C', 'D', 'E', 'F', 'G'][CAST(1 + hash(i * 17 + 10) % 7 AS INT)]",
    "balance": "CASE WHEN hash(i * 17 + 11) % 20 > 0 THEN round((hash(i * 17 + 12) % 2000001)::DOUBLE / 100 - 10000, 2) END",
    "label": "CASE WHEN hash(i * 17 + 13) % 10 < 3 THEN 'yes' ELSE 'no' END",
}


def generate(file: Path, rows: int, seed: int) -> None:
    """A CSV file; one row of 10,000 has a text where a number should be, one of 100 is the row before it again."""
    start = seed * 10**10
    columns = ", ".join(f"{sql} AS {name}" for name, sql in COLUMNS.items())
    bad = "CASE WHEN n % 10000 = 77 THEN 'many' ELSE CAST(age AS VARCHAR) END AS age"
    with closing(duckdb.connect()) as db:
        numbered = f"SELECT n, CASE WHEN n % 100 = 50 THEN n - 1 ELSE n END + {start} AS i FROM range({rows}) r(n)"
        table = f"SELECT * EXCLUDE (i, n) REPLACE ({bad}) FROM (SELECT i, n, {columns} FROM ({numbered}))"
        db.execute(f"COPY ({table}) TO '{file}' (FORMAT csv, HEADER)")


def _settings(shard_bytes: int) -> Settings:
    limits = {"max_bytes": 10**12, "max_rows": 10**10, "shard_bytes": shard_bytes}
    document = {
        "project": "bench",
        "data": {"target": "label", "limits": limits},
        "models": [{"name": "m", "class": "a.b:C"}],
    }
    return load(json.dumps(document))


def _timed(seconds: list[float], function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - start)

    return timed


def measure(file: Path, reference: Path, shard_bytes: int) -> dict[str, Any]:
    """In this process: the analysis of one file, with the report it gives."""
    surveys, admissions, plans = list[float](), list[float](), list[float]()
    shard_reading.survey = _timed(surveys, shard_reading.survey)
    shard_reading.admit = _timed(admissions, shard_reading.admit)
    shard_plan.plan_text = _timed(plans, shard_plan.plan_text)
    settings = _settings(shard_bytes)
    with tempfile.TemporaryDirectory() as work:
        first, second = Path(work, "reference"), Path(work, "new")
        first.mkdir()
        second.mkdir()
        with closing(connect(first)) as db:
            old = admit(reference, data=settings.data, reference=None, workdir=first, connection=db)
            like = build_report.profile_of(old, first, None, db)
        surveys.clear(), admissions.clear(), plans.clear()
        began, cpu = time.perf_counter(), time.process_time()
        with closing(connect(second)) as db:
            new = admit(
                file,
                data=settings.data,
                reference=old.schema,
                workdir=second,
                connection=db,
                options=ReadingOptions(read_shards=in_turn(build_report.counting(like))),
            )
            admitted = time.perf_counter()
            profile = build_report.profile_of(new, second, like, db)
            report = build_report.report(
                like, profile, build_report.intake_of(new, file.name), settings, Provenance(dataset_id=new.dataset_id)
            )
        ended = time.perf_counter()
        counts = [
            f.stat().st_size
            for folder in new.shards
            for f in folder.iterdir()
            if f.name != "data.parquet" and f.is_file()
        ]
        snapshot = new.snapshot.stat().st_size
    text = report.model_dump(mode="json", exclude={"provenance"})
    return {
        "shards": max(1, len(new.shards)),
        "seconds": round(ended - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "plan_seconds": round(sum(plans), 2),
        "survey_seconds": round(sum(surveys), 1),
        "admit_seconds": round(sum(admissions), 1),
        "slowest_shard_seconds": round(max(surveys, default=0) + max(admissions, default=0), 1),
        "join_seconds": round(admitted - began - sum(plans) - sum(surveys) - sum(admissions), 1) if new.shards else 0.0,
        "merge_seconds": round(ended - admitted, 1),
        "counts_bytes": sum(counts),
        "snapshot_bytes": snapshot,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rows_in": new.rows_in,
        "rows_used": new.rows_used,
        "rows_quarantined": new.rows_quarantined,
        "duplicates": profile.duplicates,
        "report": text,
    }


def _in_process(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ).stdout
    )
    return result


def differences(a: Any, b: Any) -> int:
    """Fields in which two reports differ by more than the order of adding fractions explains."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return sum(differences(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return sum(map(differences, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return int(abs(a - b) > 1e-9 * max(1.0, abs(a), abs(b)))
    return int(a != b)


def run(rows: int, shard_bytes: int, *, whole: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        reference, file = Path(work, "reference.csv"), Path(work, "new.csv")
        generate(reference, REFERENCE_ROWS, 1)
        generate(file, rows, 2)
        size = file.stat().st_size
        sharded = _in_process(file, reference, shard_bytes)
        report = sharded.pop("report")
        line: dict[str, Any] = {"rows": rows, "bytes": size, "shard_bytes": shard_bytes, **sharded}
        if whole:
            one = _in_process(file, reference, AT_ONCE)
            line |= {
                "whole_seconds": one["seconds"],
                "whole_cpu_seconds": one["cpu_seconds"],
                "whole_peak_mb": one["peak_mb"],
                "different_fields": differences(report, one["report"]),
            }
        return line


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--shard-bytes", type=int, default=64_000_000)
    parser.add_argument("--no-whole", action="store_true", help="do not read the file at once too")
    parser.add_argument("--note", default="", help="about the machine, for the page: busy, lowest priority")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("FILE", "REFERENCE", "SHARD_BYTES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        json.dump(measure(Path(given.measure[0]), Path(given.measure[1]), int(given.measure[2])), sys.stdout)
        return
    lines = [run(rows, given.shard_bytes, whole=not given.no_whole) | {"note": given.note} for rows in given.rows]
    if given.json:
        before = recorded.read(given.json)
        earlier = [f for f in before.figures if f["rows"] not in given.rows] if before else []
        recorded.write(given.json, sorted([*earlier, *lines], key=lambda f: f["rows"]))
    json.dump(lines, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
