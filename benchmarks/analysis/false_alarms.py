"""How often the verdict cries wolf, and how often it sees one: resamples of the example data, beside Evidently's published rule.

python benchmarks/analysis/false_alarms.py [--runs 100] [--json FILE]

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
from dropforge.analysis import compare, measure, relations
from dropforge.analysis.facts import Intake
from dropforge.analysis.profile import Profile
from dropforge.data.admission import admit
from dropforge.data.engine import connect, name, quote
from dropforge_cli.example_data import fetch

sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded

ROOT = Path(__file__).parents[2]
REFERENCE_ROWS = 5000
CHANGES = {"joint_drift", "labels_weakened"}  # the other findings on relations describe the new rows alone
SIZES = (50, 200, 500, 5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
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
                reports = compare.columns(old, new, parsed.data, parsed.analysis, intake)
                counts["columns"] += any(c.outcome == "drift" for c in reports)
                ties = relations.associations(old, new, parsed.data, parsed.analysis)
                told = relations.findings(ties, set(), parsed.data, parsed.analysis)
                counts["relations"] += any(f.kind in CHANGES for f in told)
                counts["evidently"] += any(c.others.get("Evidently") for c in reports)
                moved = _sample(connection, work, admission.schema, size, REFERENCE_ROWS, seed, std / 2, old)
                shifted = compare.columns(old, moved, parsed.data, parsed.analysis, intake)
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


def _sample(connection, work, schema, rows, skip, seed, shift, like) -> Profile:  # type: ignore[no-untyped-def] # a script's helper
    columns = ", ".join(f"age + {shift} AS age" if c.name == "age" and shift else name(c.name) for c in schema.columns)
    file = work / "sample.parquet"
    order = f"hash(rowid + {seed} * 1000003)"
    chosen = f"SELECT * FROM everything ORDER BY {order} LIMIT {rows} OFFSET {skip}"
    connection.execute(f"COPY (SELECT {columns}, __row FROM ({chosen})) TO {quote(str(file))} (FORMAT parquet)")
    return measure.build(connection, measure.in_memory(connection, file), schema, like)


if __name__ == "__main__":
    main()
