"""How often the verdict cries wolf, and how often it sees one: resamples of the example data, beside Evidently's published rule.

python benchmarks/analysis/false_alarms.py [--runs 100] [--json FILE]
python benchmarks/analysis/false_alarms.py --many [--tables FOLDER] [--runs 12] [--json FILE]

With `--many`: tables of columns with 2 to 20,000 values (tables.py; or a folder's), and reports with any change counted too.

No drift: reference and new rows are disjoint random samples of the same table (5,000 reference rows). Share of reports with
any flagged column; a relation between columns counts as well. Power: the new rows' `age` shifted by half a standard deviation.
Evidently's rule (reference over 1,000 rows): numeric columns of more than five values Wasserstein / standard deviation >= 0.1,
others Jensen-Shannon distance >= 0.1, as dropforge.analysis.rivals has it, on the same counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from dropforge import settings
from dropforge.analysis import measure, run
from dropforge.analysis.facts import Intake, Provenance
from dropforge.analysis.profile import Profile
from dropforge.data.admission import admit
from dropforge.data.engine import connect, name, quote
from dropforge_cli.example_data import fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

sys.path.insert(0, str(Path(__file__).parent))
import tables

ROOT = Path(__file__).parents[2]
REFERENCE_ROWS = 5000
CHANGES = {"joint_drift", "labels_weakened"}  # the other findings on relations describe the new rows alone
SIZES = (50, 200, 500, 5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--many", action="store_true", help="several tables, of columns with 2 to 20,000 values")
    parser.add_argument("--tables", type=Path, default=None, help="folder of CSV files and tables.json")
    parser.add_argument("--only", nargs="*", default=None, help="names of tables")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.many:
        figures = on_tables(
            [t for t in tables.tables(arguments.tables) if t.name in (arguments.only or [t.name])], arguments.runs
        )
        if arguments.json:
            recorded.write(arguments.json, figures)
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
                found = run.report(old, new, intake, parsed, Provenance())
                reports = found.columns
                counts["columns"] += any(c.outcome == "drift" for c in reports)
                counts["relations"] += any(f.kind in CHANGES for f in found.findings)
                counts["evidently"] += any(c.others.get("Evidently") for c in reports)
                moved = _sample(connection, work, admission.schema, size, REFERENCE_ROWS, seed, std / 2, old)
                shifted = run.report(old, moved, intake, parsed, Provenance()).columns
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


def on_tables(some: list[tables.Table], runs: int) -> list[dict[str, object]]:
    """Fractions of reports without drift that flag a column, and that name any change, by table and number of new rows."""
    figures: list[dict[str, object]] = []
    for table in some:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            file = tables.write(work / "table.csv", table.header, table.rows)
            admission = admit(file, data=table.settings.data, reference=None, workdir=work)
            connection = connect(work)
            connection.execute(f"CREATE TABLE everything AS FROM read_parquet({quote(str(admission.snapshot))})")
            reference = min(REFERENCE_ROWS, len(table.rows) // 2)
            values = sorted(
                c.distinct for c in _sample(connection, work, admission.schema, 10**9, 0, 0, 0, None).columns
            )
            for size in sorted({min(n, len(table.rows) - reference) for n in (50, 500, 5000)}):
                flagged = changed = 0
                for seed in range(runs):
                    old = _sample(connection, work, admission.schema, reference, 0, seed, 0.0, None)
                    new = _sample(connection, work, admission.schema, size, reference, seed, 0.0, old)
                    intake = Intake(key="new", format="csv", rows_in=size, rows_used=size, rows_quarantined=0)
                    found = run.report(old, new, intake, table.settings, Provenance())
                    flagged += bool(found.drifted)
                    notes = [f for f in found.findings if f.change]
                    changed += bool(notes)
                    for f in notes:
                        print(f"  {table.name} {size}: {f.severity} {f.kind}: {f.title} | {f.evidence}", flush=True)
                line = {
                    "table": table.name, "columns": len(values), "values": [values[0], values[-1]], "reference_rows": reference,
                    "new_rows": size, "runs": runs, "flagged": flagged, "any_change": changed,
                }  # fmt: skip
                figures.append(line)
                print(line, flush=True)
    return figures


def _sample(connection, work, schema, rows, skip, seed, shift, like) -> Profile:  # type: ignore[no-untyped-def] # a script's helper
    columns = ", ".join(f"age + {shift} AS age" if c.name == "age" and shift else name(c.name) for c in schema.columns)
    file = work / "sample.parquet"
    order = f"hash(rowid + {seed} * 1000003)"
    chosen = f"SELECT * FROM everything ORDER BY {order} LIMIT {rows} OFFSET {skip}"
    connection.execute(f"COPY (SELECT {columns}, __row FROM ({chosen})) TO {quote(str(file))} (FORMAT parquet)")
    return measure.build(connection, measure.in_memory(connection, file), schema, like)


if __name__ == "__main__":
    main()
