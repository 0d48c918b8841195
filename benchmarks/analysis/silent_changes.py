"""Changes that pass every check of form: which of them does a report name, with the fraction of rows; and clean files beside them.

python benchmarks/analysis/silent_changes.py [--tables FOLDER] [--clean 8] [--json FILE]

Every table is halved at random: the reference, and rows into which one change is made. A change counts as reported when a
finding that is not about the unchanged table (none of its kind on the same column for the clean half) names the column, or is
of the kind that the change stands for, and says a fraction of rows. Clean files: other random halves; every finding that says
that something changed is a false one. FOLDER: CSV files and a `tables.json`: [{"name", "file", "target"}].
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from dropforge.analysis.report import build_report
from dropforge.analysis.report_model import Finding, Provenance, Report
from dropforge.datasets.table_schema import Schema
from dropforge.ingest.admission import Admission
from dropforge.ingest.ingest_file import admit

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import recorded
from tables import Table, names, tables, write

Row = tuple[str, ...]
_HALVES = 11  # seed
_SHARE = re.compile(r"\d+(?:\.\d+)?\s?%")


class NotApplicable(Exception):
    """The table has no column of the kind that the change needs."""


@dataclass(slots=True)
class Draft:
    """New rows (and reference rows) under a change."""

    table: Table
    old: list[Row]
    new: list[Row]
    rng: random.Random
    columns: set[str]  # that the change is made in
    extra: str = ""

    def numbers(self, distinct: int = 10) -> list[int]:
        return [i for i in self._features() if self._is_number(i) and len({r[i] for r in self.old[:3000]}) >= distinct]

    def texts(self, most: int = 60) -> list[int]:
        return [
            i
            for i in self._features()
            if not self._is_number(i) and not self._is_date(i) and 2 <= len({r[i] for r in self.old}) <= most
        ]

    def dates(self) -> list[int]:
        return [i for i in self._features() if self._is_date(i)]

    def target(self) -> int:
        return self.table.header.index(self.table.target)

    def pick(self, candidates: list[int], count: int = 1) -> list[int]:
        if len(candidates) < count:
            raise NotApplicable
        chosen = self.rng.sample(candidates, count)
        self.columns |= {self.table.header[i] for i in chosen}
        return chosen

    def some(self, share: float) -> list[int]:
        return self.rng.sample(range(len(self.new)), round(share * len(self.new)))

    def put(self, k: int, i: int, value: str) -> None:
        row = list(self.new[k])
        row[i] = value
        self.new[k] = tuple(row)

    def change(self, i: int, share: float, of: Callable[[str], str]) -> None:
        for k in self.some(share):
            if self.new[k][i] not in {"", "?", "NA"}:
                self.put(k, i, of(self.new[k][i]))

    def _features(self) -> list[int]:
        return [i for i, c in enumerate(self.table.header) if c != self.table.target]

    def _sample(self, i: int) -> list[str]:
        return [r[i] for r in self.old[:300] if r[i] not in {"", "?", "NA"}]

    def _is_number(self, i: int) -> bool:
        return bool(self._sample(i)) and all(re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", v) for v in self._sample(i))

    def _is_date(self, i: int) -> bool:
        return bool(self._sample(i)) and all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", v) for v in self._sample(i))


def _times(d: Draft, factor: float, share: float) -> None:
    (i,) = d.pick([i for i in d.numbers(30) if sum(float(v) != 0 for v in d._sample(i)) > 0.9 * len(d._sample(i))])
    d.change(i, share, lambda v: f"{float(v) * factor:g}")


def unit_1000(d: Draft) -> None:
    _times(d, 1000, 0.02)


def unit_tenth(d: Draft) -> None:
    _times(d, 0.1, 0.05)


def sign_lost(d: Draft) -> None:
    (i,) = d.pick([i for i in d.numbers(30) if all(float(v) > 0 for v in d._sample(i))])
    d.change(i, 0.02, lambda v: "-" + v)


def default_zero(d: Draft) -> None:
    (i,) = d.pick([i for i in d.numbers(30) if sum(float(v) == 0 for v in d._sample(i)) < 3])
    d.change(i, 0.05, lambda _: "0")


def default_median(d: Draft) -> None:
    (i,) = d.pick(d.numbers(30))
    middle = sorted(d._sample(i), key=float)[len(d._sample(i)) // 2]
    d.change(i, 0.08, lambda _: middle)


def default_category(d: Draft) -> None:
    (i,) = d.pick([i for i in d.texts() if len({r[i] for r in d.old}) > 2])
    values = sorted({r[i] for r in d.old}, key=[r[i] for r in d.old].count)
    d.change(i, 0.05, lambda _: values[len(values) // 2])


def rounded(d: Draft) -> None:
    (i,) = d.pick([i for i in d.numbers(200) if sum("." in v for v in d._sample(i)) > 0.8 * len(d._sample(i))])
    size = max(abs(float(v)) for v in d._sample(i))
    d.change(i, 1.0, lambda v: f"{round(float(v) / size * 20) / 20 * size:g}")


def hours_shifted(d: Draft) -> None:
    (i,) = d.pick(d.dates())
    d.change(i, 1.0, lambda v: str(datetime.fromisoformat(v) + timedelta(hours=5)))


def all_hours_shifted(d: Draft) -> None:
    for i in d.pick(d.dates(), len(d.dates()) or 1):
        d.change(i, 1.0, lambda v: str(datetime.fromisoformat(v) + timedelta(hours=2)))


def offset_dropped_partly(d: Draft) -> None:
    (i,) = d.pick(d.dates()[-1:])
    d.change(i, 0.1, lambda v: str(datetime.fromisoformat(v) + timedelta(hours=6)))


def year_wrong(d: Draft) -> None:
    (i,) = d.pick(d.dates())
    d.change(i, 0.02, lambda v: "1970" + v[4:].replace("-02-29", "-02-28"))


def leak_by_missing(d: Draft) -> None:
    (i,), t = d.pick(d.numbers()), d.target()
    label = d.old[0][t]
    for k, row in enumerate(d.new):
        if row[t] == label and d.rng.random() < 0.3:
            d.put(k, i, "")


def leak_in_new_column(d: Draft) -> None:
    t = d.target()
    d.extra, d.columns = "outcome_code", {"outcome_code"}
    classes = sorted({r[t] for r in d.new})
    d.new = [(*r, f"k{classes.index(r[t] if d.rng.random() > 0.02 else d.rng.choice(classes))}") for r in d.new]


def duplicates_25(d: Draft) -> None:
    d.new += [d.new[k] for k in d.some(0.25)]


def duplicates_3(d: Draft) -> None:
    d.new += [d.new[k] for k in d.some(0.03)]


def old_rows(d: Draft) -> None:
    d.new = d.new[len(d.new) // 3 :] + d.old[: len(d.new) // 3]


def positives_lost(d: Draft) -> None:
    t = d.target()
    d.columns = {d.table.target}
    classes = sorted({r[t] for r in d.old}, key=[r[t] for r in d.old].count)
    lost = 0.12 if len(d.new) >= 10_000 else 0.4
    d.new = [r for r in d.new if r[t] != classes[0] or d.rng.random() > lost]


def labels_flipped(d: Draft) -> None:
    t = d.target()
    d.columns = {d.table.target}
    classes = sorted({r[t] for r in d.old})
    for k in d.some(0.1):
        d.put(k, t, d.rng.choice([c for c in classes if c != d.new[k][t]]))


def swapped_numbers(d: Draft) -> None:
    i, j = d.pick(d.numbers(30), 2)
    for k in d.some(0.03):
        a, b = d.new[k][i], d.new[k][j]
        d.put(k, i, b)
        d.put(k, j, a)


def swapped_categories(d: Draft) -> None:
    i, j = d.pick(d.texts(), 2)
    for k in d.some(0.03):
        a, b = d.new[k][i], d.new[k][j]
        d.put(k, i, b)
        d.put(k, j, a)


def mojibake(d: Draft) -> None:
    (i,) = d.pick([i for i in d.texts() if any(not r[i].isascii() for r in d.old)])
    d.change(i, 0.03, lambda v: v.encode().decode("cp1252", errors="replace"))


def question_marks(d: Draft) -> None:
    (i,) = d.pick([i for i in d.texts() if any(not r[i].isascii() for r in d.old)])
    d.change(i, 0.05, lambda v: v.encode("ascii", errors="replace").decode())


def more_missing(d: Draft) -> None:
    (i,) = d.pick([*d.numbers(), *d.texts()])
    d.change(i, 0.04, lambda _: "")


def emptied(d: Draft) -> None:
    (i,) = d.pick([*d.numbers(), *d.texts(), *d.dates()])
    d.change(i, 1.0, lambda _: "")


def filled(d: Draft) -> None:
    (i,) = d.pick([*d.numbers(), *d.texts()])
    d.old = [(*r[:i], "", *r[i + 1 :]) for r in d.old]


def misspelled(d: Draft) -> None:
    (i,) = d.pick(d.texts())
    d.change(i, 0.02, lambda v: v + "x")


def segment_missing(d: Draft) -> None:
    (i,) = d.pick([i for i in d.texts() if len({r[i] for r in d.old}) > 2])
    values = [v for v in {r[i] for r in d.old} if sum(r[i] == v for r in d.old) > 0.03 * len(d.old)]
    lost = d.rng.choice(sorted(values))
    d.new = [r for r in d.new if r[i] != lost]


def shuffled_column(d: Draft) -> None:
    """The column tied most strongly to another one: the total of orders, a size of cells."""
    numbers = d.numbers(30)
    if len(numbers) < 3:
        raise NotApplicable
    tied = {"total", "mean_perimeter", "education-num", "pixel_0_3"} & {d.table.header[i] for i in numbers}
    i = d.table.header.index(sorted(tied)[0]) if tied else d.rng.choice(numbers)
    d.columns = {d.table.header[i]}
    values = [r[i] for r in d.new]
    d.rng.shuffle(values)
    for k, v in enumerate(values):
        d.put(k, i, v)


CHANGES: dict[Callable[[Draft], None], frozenset[str]] = {
    unit_1000: frozenset(), unit_tenth: frozenset(), sign_lost: frozenset(), default_zero: frozenset(),
    default_median: frozenset(), default_category: frozenset(), rounded: frozenset(), hours_shifted: frozenset(),
    all_hours_shifted: frozenset(), offset_dropped_partly: frozenset(), year_wrong: frozenset(),
    leak_by_missing: frozenset(), leak_in_new_column: frozenset({"leakage"}), duplicates_25: frozenset({"duplicates"}),
    duplicates_3: frozenset({"duplicates"}), old_rows: frozenset({"shared_rows"}), positives_lost: frozenset(),
    labels_flipped: frozenset({"labels_weakened"}), swapped_numbers: frozenset(), swapped_categories: frozenset(),
    mojibake: frozenset({"encoding_damage"}), question_marks: frozenset(), more_missing: frozenset(), emptied: frozenset(),
    filled: frozenset(), misspelled: frozenset(), segment_missing: frozenset(), shuffled_column: frozenset(),
}  # fmt: skip


def halves(table: Table, rng: random.Random) -> tuple[list[Row], list[Row]]:
    rows = list(table.rows)
    rng.shuffle(rows)
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


class Comparison:
    """New files beside one reference, which is read once."""

    def __init__(self, work: Path, table: Table, old: list[Row]) -> None:
        self.work, self.table = work, table
        self.reference = self._admitted(write(work / "old.csv", table.header, old), None)
        self.profile = build_report.profile_of(self.reference, work, None)

    def report(self, new: list[Row], extra: str = "") -> Report:
        header = (*self.table.header, extra) if extra else self.table.header
        fresh = self._admitted(write(self.work / "new.csv", header, new), self.reference.schema)
        profile = build_report.profile_of(fresh, self.work, self.profile)
        return build_report.report(
            self.profile, profile, build_report.intake_of(fresh, "new.csv"), self.table.settings, Provenance()
        )

    def _admitted(self, file: Path, schema: Schema | None) -> Admission:
        folder = Path(tempfile.mkdtemp(dir=self.work))
        return admit(file, data=self.table.settings.data, reference=schema, workdir=folder)


def reported(
    findings: tuple[Finding, ...], draft: Draft, kinds: frozenset[str], seen: set[tuple[str, ...]]
) -> list[Finding]:
    return [
        f
        for f in findings
        if (f.kind in kinds if kinds else bool(draft.columns & {*f.columns}))
        and (f.change or (f.kind, *f.columns) not in seen)
    ]


def clean_files(piece: tuple[Path | None, str, range]) -> list[str]:
    """Every finding that says something changed between random halves of a table, one comparison a seed."""
    folder, name, seeds = piece
    (table,) = tables(folder, [name])
    lines = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as work:
            old, new = halves(table, random.Random(seed))  # noqa: S311 - samples, no secret
            report = Comparison(Path(work), table, old).report(new)
            lines += [f"{name} {seed}: {f.kind} {f.title} | {f.evidence}" for f in report.findings if f.change]
    return lines


def changed_files(piece: tuple[Path | None, str, list[str]]) -> list[dict[str, Any]]:
    """One line for each of the changes that the table has a column for."""
    folder, name, wanted = piece
    (table,) = tables(folder, [name])
    old, new = halves(table, random.Random(_HALVES))  # noqa: S311 - samples, no secret
    lines = []
    with tempfile.TemporaryDirectory() as work:
        same = Comparison(Path(work), table, old)
        seen = {(f.kind, *f.columns) for f in same.report(new).findings}
        for change, kinds in CHANGES.items():
            if change.__name__ not in wanted:
                continue
            draft = Draft(table, list(old), list(new), random.Random(5), set())  # noqa: S311 - samples, no secret
            try:
                change(draft)
            except NotApplicable:
                continue
            beside = same if draft.old == old else Comparison(Path(tempfile.mkdtemp(dir=work)), table, draft.old)
            result = reported(beside.report(draft.new, draft.extra).findings, draft, kinds, seen)
            lines.append(_line(change.__name__, draft, result))
    return lines


def _line(change: str, draft: Draft, found: list[Finding]) -> dict[str, Any]:
    with_share = [f for f in found if _SHARE.search(f.title + f.evidence)]
    best = (with_share or found or [None])[0]
    return {
        "table": draft.table.name, "rows": len(draft.new), "change": change, "columns": sorted(draft.columns),
        "reported": bool(found), "with_share": bool(with_share), "severity": best.severity if best else "",
        "kind": best.kind if best else "", "evidence": f"{best.title}: {best.evidence}" if best else "",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=None)
    parser.add_argument("--only", nargs="*", default=None, help="names of changes")
    parser.add_argument("--clean", type=int, default=8, help="clean files of each table")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    every = [c.__name__ for c in CHANGES if arguments.only is None or c.__name__ in arguments.only]
    listed, folder = names(arguments.tables), arguments.tables
    lines, false = list[dict[str, Any]](), list[str]()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        changes = pool.map(
            changed_files, [(folder, n, every[k : k + 7]) for n in listed for k in range(0, len(every), 7)]
        )
        clean = pool.map(
            clean_files,
            [(folder, n, range(k, min(k + 4, arguments.clean))) for k in range(0, arguments.clean, 4) for n in listed],
        )
        for part in changes:
            lines += part
            for x in part:
                mark = "ok  " if x["with_share"] else "part" if x["reported"] else "MISS"
                print(
                    f"{mark} {x['table']:14} {x['change']:22} {x['columns']} {x['kind']} {x['evidence'][:150]}",
                    flush=True,
                )
        for notes in clean:
            false += notes
            for note in notes:
                print(f"false: {note}", flush=True)
    for name in every:
        cases = [x for x in lines if x["change"] == name]
        print(f"{name:24} {sum(x['with_share'] for x in cases):>3} of {len(cases)}")
    files = arguments.clean * len(listed)
    with_any = len({note.split(":")[0] for note in false})
    print(f"false findings of change: {len(false)} in {with_any} of {files} clean files")
    if arguments.json:
        figures = {"clean_files": files, "false_findings": len(false), "with_any": with_any, "changes": lines}
        recorded.write(arguments.json, figures)


if __name__ == "__main__":
    main()
