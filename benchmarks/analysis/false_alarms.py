"""How often the verdict cries wolf, and how often it sees one: resamples of the example data, beside Evidently's published rule.

python benchmarks/analysis/false_alarms.py [--runs 100] [--json FILE]
python benchmarks/analysis/false_alarms.py --many [--tables FOLDER] [--runs 12] [--json FILE]

With `--many`: tables of columns with 2 to 20,000 values (tables.py; or a folder's), and reports with any change counted too.

No drift: reference and new rows are disjoint random samples of the same table (5,000 reference rows). Share of reports with
any flagged column; a relation between columns counts as well. Power: the new rows' `age` shifted by half a standard deviation.
Evidently's rule (reference over 1,000 rows): numeric columns of more than five values Wasserstein / standard deviation >= 0.1,
others Jensen-Shannon distance >= 0.1, as dropforge.analysis.other_tools_rules has it, on the same counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dropforge.analysis import profile_queries
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report import build_report
from dropforge.analysis.report_model import Intake, Provenance
from dropforge.config import settings
from dropforge.datasets.table_schema import Schema
from dropforge.ingest.duckdb_connection import connect, name, quote
from dropforge.ingest.ingest_file import admit
from dropforge_cli.example_data import fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

sys.path.insert(0, str(Path(__file__).parent))
import tables

ROOT = Path(__file__).parents[2]
REFERENCE_ROWS = 5000
CHANGES = {"joint_drift", "labels_weakened"}  # the other findings on relations describe the new rows alone
SIZES = (50, 200, 500, 5000)
MANY_SIZES = (50, 500, 5000)
_PIECE = 10  # runs of one table that a process takes at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--many", action="store_true", help="several tables, of columns with 2 to 20,000 values")
    parser.add_argument("--tables", type=Path, default=None, help="folder of CSV files and tables.json")
    parser.add_argument("--only", nargs="*", default=None, help="names of tables; the file keeps what it has of others")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.many:
        figures = on_tables(arguments.tables, arguments.only, arguments.runs)
        if arguments.json:
            before = recorded.read(arguments.json)
            others = [f for f in before.figures if f["table"] not in (arguments.only or ())] if before else []
            recorded.write(arguments.json, [*others, *figures] if arguments.only else figures)
        return
    parsed = settings.load((ROOT / "settings.yaml").read_bytes())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        admission = admit(fetch(ROOT / ".cache" / "data").reference, data=parsed.data, reference=None, workdir=work)
        connection = connect(work)
        connection.execute(f"CREATE TABLE everything AS FROM read_parquet({quote(str(admission.snapshot))})")
        (std,) = connection.execute("SELECT stddev_pop(age) FROM everything").fetchone()
        for size in SIZES:
            counts = {"columns": 0, "relations": 0, "evidently": 0, "found": 0}
            for seed in range(arguments.runs):
                old = _sample(connection, work, admission.schema, REFERENCE_ROWS, 0, seed, 0.0, None)
                new = _sample(connection, work, admission.schema, size, REFERENCE_ROWS, seed, 0.0, old)
                intake = Intake(key="new", format="csv", rows_in=size, rows_used=size, rows_quarantined=0)
                result = build_report.report(old, new, intake, parsed, Provenance())
                reports = result.columns
                counts["columns"] += any(c.outcome == "drift" for c in reports)
                counts["relations"] += any(f.kind in CHANGES for f in result.findings)
                counts["evidently"] += any(c.others.get("Evidently") for c in reports)
                moved = _sample(connection, work, admission.schema, size, REFERENCE_ROWS, seed, std / 2, old)
                shifted = build_report.report(old, moved, intake, parsed, Provenance()).columns
                counts["found"] += next(c.outcome for c in shifted if c.name == "age") == "drift"
            rows.append(
                {"new_rows": size, "runs": arguments.runs, **{k: v / arguments.runs for k, v in counts.items()}}
            )
            last = rows[-1]
            print(
                f"{size:>6} new rows: any column flagged {last['columns']:.2f}   relations {last['relations']:.2f}   "
                f"Evidently's rule {last['evidently']:.2f}   half a deviation found {last['found']:.2f}",
                flush=True,
            )
    if arguments.json:
        recorded.write(arguments.json, rows)


def on_tables(folder: Path | None, only: Sequence[str] | None, runs: int) -> list[dict[str, object]]:
    """Reports without drift that flag a column, and that name any change, by table and number of new rows.

    As many processes as cores; each takes a few runs of one table at a time.
    """
    names = tables.names(folder, only)
    pieces = [
        (folder, name, range(first, min(first + _PIECE, runs))) for first in range(0, runs, _PIECE) for name in names
    ]
    figures: dict[tuple[str, int], dict[str, Any]] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for lines in pool.map(_runs, pieces):
            for line in lines:
                known = figures.setdefault((line["table"], line["size"]), line)
                if known is not line:
                    known |= {k: known[k] + line[k] for k in ("runs", "flagged", "any_change")}
                    known["values"] = [
                        min(known["values"][0], line["values"][0]),
                        max(known["values"][1], line["values"][1]),
                    ]
                print(known, flush=True)
    return sorted(figures.values(), key=lambda f: (names.index(f["table"]), f["size"]))


def _runs(piece: tuple[Path | None, str, range]) -> list[dict[str, Any]]:
    folder, only, seeds = piece
    (table,) = tables.tables(folder, [only])
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        file = tables.write(work / "table.csv", table.header, table.rows)
        admission = admit(file, data=table.settings.data, reference=None, workdir=work)
        connection = connect(work, threads=1)  # few rows
        connection.execute(f"CREATE TABLE everything AS FROM read_parquet({quote(str(admission.snapshot))})")
        return _on_table(table, connection, admission.schema, seeds)


def _on_table(table: tables.Table, connection: Any, schema: Schema, seeds: range) -> list[dict[str, Any]]:
    """One shuffle a run: the reference first, then the new rows of every size (50, 500, 5,000; fewer where the table ends)."""
    (rows,) = connection.execute("SELECT count(*) FROM everything").fetchone()
    reference = min(REFERENCE_ROWS, rows // 2)
    sizes = {nominal: min(nominal, rows - reference) for nominal in MANY_SIZES}
    counts = {nominal: Counter[str]() for nominal in sizes}
    distinct = list[int]()
    for seed in seeds:
        connection.execute(
            f"CREATE OR REPLACE TABLE shuffled AS FROM everything ORDER BY hash(rowid + {seed} * 1000003) "
            f"LIMIT {reference + max(sizes.values())}"
        )
        old = _profile(connection, schema, f"rowid < {reference}", None)
        distinct += [c.distinct for c in old.columns]
        for nominal, size in sizes.items():
            new = _profile(connection, schema, f"rowid BETWEEN {reference} AND {reference + size - 1}", old)
            intake = Intake(key="new", format="csv", rows_in=size, rows_used=size, rows_quarantined=0)
            result = build_report.report(old, new, intake, table.settings, Provenance())
            notes = [f for f in result.findings if f.change]
            counts[nominal] += Counter({"flagged": bool(result.drifted), "any_change": bool(notes)})
            for f in notes:
                print(f"  {table.name} {size}: {f.severity} {f.kind}: {f.title} | {f.evidence}", flush=True)
    return [
        {
            "table": table.name, "columns": len(table.header), "values": [min(distinct), max(distinct)],
            "reference_rows": reference, "size": nominal, "new_rows": size, "runs": len(seeds),
            "flagged": counts[nominal]["flagged"], "any_change": counts[nominal]["any_change"],
        }
        for nominal, size in sizes.items()
    ]  # fmt: skip


def _profile(connection: Any, schema: Schema, where: str, like: Profile | None) -> Profile:
    connection.execute(f"CREATE OR REPLACE TABLE part AS SELECT * FROM shuffled WHERE {where}")
    return profile_queries.build(connection, "part", schema, like)


def _sample(connection, work, schema, rows, skip, seed, shift, like) -> Profile:  # type: ignore[no-untyped-def] # a script's helper
    columns = ", ".join(f"age + {shift} AS age" if c.name == "age" and shift else name(c.name) for c in schema.columns)
    file = work / "sample.parquet"
    order = f"hash(rowid + {seed} * 1000003)"
    chosen = f"SELECT * FROM everything ORDER BY {order} LIMIT {rows} OFFSET {skip}"
    connection.execute(f"COPY (SELECT {columns}, __row FROM ({chosen})) TO {quote(str(file))} (FORMAT parquet)")
    return profile_queries.build(connection, profile_queries.in_memory(connection, file), schema, like)


if __name__ == "__main__":
    main()
