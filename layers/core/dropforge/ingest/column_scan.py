"""One scan of every cell of a file: what is missing, what parses as what. Each distinct text is judged once.

A column of a million cells has often a hundred texts, so cells are first counted by column and text: one column after the
other where that is possible, else all of them in one pass over the rows. A column whose texts hardly repeat is scanned
cell by cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from dropforge import value_formats as values
from dropforge.datasets.table_schema import Kind
from dropforge.ingest import cell_parsing as cells
from dropforge.ingest import distinct_texts
from dropforge.ingest.duckdb_connection import quote
from dropforge.value_formats import PLAIN, NumberFormat

TOGETHER = 60  # columns counted in one pass: grouping_id has 63 bits
_TOGETHER_SHORT = 500  # columns of a table of few rows, whose statements take longer to plan than to run
SAMPLE = 8192
_REPEATS = 0.9  # a larger share of distinct texts in the sample: counting them first would not pay
_SIMPLE: Mapping[Kind, str] = {
    "datetime": "simple_dates",
    "integer": "simple_integers",
}  # the probe of cells in a simple form
_UNIT = "unit "  # before a unit: what its cells are counted as
_JUDGED: tuple[Kind, ...] = ("integer", "number", "boolean", "datetime")


@dataclass(frozen=True, slots=True)
class ColumnScan:
    """What one column's cells are, as numbers of cells. `probes`: see cells.probes; `fails`: by kind it could have.

    `number_format`: how its numbers are written. `values`: SQL of the distinct texts that are not missing, empty when they
    were not counted; `counts`: SQL of them with their cells, always.
    """

    cells: int

    missing: dict[str, int]
    spaces: int
    infinite: int
    probes: dict[str, int]
    fails: dict[Kind, int]
    number_format: NumberFormat = PLAIN
    values: str = ""
    counts: str = ""
    rows: str = ""  # SQL of the cells (g, c, r0 … b0) of this column and of the others that were judged with it
    group: int = 0  # the column's g among them
    registers: tuple[int, ...] = ()  # of the estimate of distinct values (distinct_texts), where scans are added up

    def is_clean(self, kind: Kind) -> bool:
        """Whether every cell that is not missing is of the kind, in a form that one cast reads (cell_parsing.parsed, `clean`)."""
        if kind in _SIMPLE:
            return self.probes[_SIMPLE[kind]] == self.probes["n"]
        return not (self.fails.get(kind, 0) or self.infinite)


@dataclass(frozen=True, slots=True)
class Table:
    """What is scanned. `fields`: SQL names of the relation's columns. `sample`: its first rows, cheaply had.

    `columnar`: a column can be read without the others. `separated_by_comma`: what 1,234 may mean depends on it.
    """

    relation: str
    sample: str
    fields: Sequence[str]
    columnar: bool
    separated_by_comma: bool = True


@dataclass(frozen=True, slots=True)
class _Batch:
    """Columns with the same markers, counted into one table."""

    table: str
    columns: list[int]
    markers: tuple[str, ...]
    repeated: list[int]  # places among `columns` whose texts were counted


def scan(
    db: Any,
    table: Table,
    markers: Sequence[tuple[str, ...]],
    known: Mapping[int, NumberFormat],
    *,
    fixed: frozenset[int] = frozenset(),
    label: str = "counted",
) -> list[ColumnScan]:
    """One Look for each column, in the table's order.

    `markers`: texts that mean missing in a column, besides the empty one and nan. `known`: how columns write their numbers
    as far as it is known; those of `fixed` columns are not questioned by what is in the file.
    `label`: prefix of the tables that the SQL of the looks refers to; another one for each call on a connection.
    """
    batches = _counted_batches(db, table, markers, label)
    looks: dict[int, ColumnScan] = {}
    for batch in batches:
        looks |= _judged(db, batch, PLAIN)
    decided = _decided(db, table, batches, looks, known, fixed)
    for batch in batches:
        for number_format in sorted({decided[i] for i in batch.columns} - {PLAIN}):
            again = _judged(db, batch, number_format)
            looks |= {i: again[i] for i in batch.columns if decided[i] == number_format}
    return [looks[i] for i in range(len(table.fields))]


def scan_shard(
    db: Any,
    table: Table,
    markers: Sequence[tuple[str, ...]],
    number_formats: Mapping[int, NumberFormat],
    *,
    points: bool = False,
) -> list[ColumnScan]:
    """As `scan` of a part of a table: nothing is decided. `number_formats`: by column, of those that are not plain.

    `points`: the probes count what decimal points may be, which is of interest where the table has commas (needs_points).
    """
    batches = _counted_batches(db, table, markers, "counted")
    looks: dict[int, ColumnScan] = {}
    for batch in batches:
        for number_format in sorted({number_formats.get(i, PLAIN) for i in batch.columns}):
            judged = _judged(db, batch, number_format, registers=True)
            looks |= {i: judged[i] for i in batch.columns if number_formats.get(i, PLAIN) == number_format}
    if points:
        for i, counts in _points(db, batches, looks).items():
            looks[i] = replace(looks[i], probes={**looks[i].probes, **counts})
    return [looks[i] for i in range(len(table.fields))]


def added(shards: Sequence[Sequence[ColumnScan]], markers: Sequence[tuple[str, ...]]) -> list[ColumnScan]:
    """The scans of a table's columns from those of its shards (scan_shard), as the whole table would give them."""
    return [_added(same, marked) for *same, marked in zip(*shards, markers, strict=True)]


def _added(scans: Sequence[ColumnScan], markers: Sequence[str]) -> ColumnScan:
    registers = distinct_texts.united([s.registers for s in scans])
    probes, missing = Counter[str](), Counter[str]()
    for s in scans:
        probes.update(s.probes)
        missing.update(s.missing)
    return ColumnScan(
        cells=sum(s.cells for s in scans),
        missing={
            label: missing[label] for label in dict.fromkeys([*markers, cells.EMPTY, cells.NAN]) if missing[label]
        },
        spaces=sum(s.spaces for s in scans),
        infinite=sum(s.infinite for s in scans),
        probes={**probes, "distinct_values": distinct_texts.estimate(registers)},
        fails={k: sum(s.fails[k] for s in scans) for k in _JUDGED},
        number_format=scans[0].number_format,
        registers=registers,
    )


def needs_points(scans: Sequence[ColumnScan], known: Mapping[int, NumberFormat]) -> bool:
    """Whether how columns write their numbers is to be decided; else they write them plainly."""
    signs = ("comma", "groups", "either_comma", "decorated")
    return any(scan.probes[s] for scan in scans for s in signs) or bool(set(known.values()) - {PLAIN})


def decide_formats(
    scans: Sequence[ColumnScan],
    known: Mapping[int, NumberFormat],
    fixed: frozenset[int],
    *,
    separated_by_comma: bool,
) -> dict[int, NumberFormat]:
    """How each column writes its numbers: what is fixed, else decided over the whole table, whose points were counted."""
    return _chosen({i: s.probes for i, s in enumerate(scans)}, known, fixed, separated_by_comma=separated_by_comma)


def texts_of(db: Any, scans: Sequence[ColumnScan], most: int) -> list[list[str]]:
    """Of each scan the distinct texts that are not missing, in no order; none of a column that has more than `most`."""
    by_rows: dict[str, list[int]] = {}
    for scan in scans:
        by_rows.setdefault(scan.rows, []).append(scan.group)
    texts: dict[tuple[str, int], list[str]] = {}
    for rows, groups in by_rows.items():
        listed = db.execute(
            f"SELECT g, list(v0) FROM (SELECT DISTINCT g, v0 FROM {rows} WHERE g IN ({', '.join(map(str, groups))}) "
            f"AND v0 IS NOT NULL) GROUP BY g HAVING count(*) <= {most}"
        )
        texts |= {(rows, int(g)): values for g, values in listed.fetchall()}
    return [texts.get((scan.rows, scan.group), []) for scan in scans]


def count_formats(db: Any, table: Table, known: Mapping[int, NumberFormat]) -> dict[int, dict[str, int]]:
    """How often the columns of `known` write numbers how, in one pass over the rows; counts of parts of a table add up."""
    if not known:
        return {}
    places = sorted(known)
    rows = cells.layered(table.relation, [cells.Cells(table.fields[i], numeric=False) for i in places])
    texts = ", ".join(f"{_undecorated(f'v{k}', known[i])} AS x{k}" for k, i in enumerate(places))
    wanted = ("comma", "groups", "either_comma", "either_point", "points")
    select = []
    for k in range(len(places)):
        tests = {**cells.format_probes(f"x{k}"), **cells.point_probes(f"x{k}")}
        select += [f"count(*) FILTER ({tests[w]})" for w in wanted]
    row = db.execute(f"SELECT {', '.join(select)} FROM (SELECT {texts} FROM {rows})").fetchone()
    return {
        i: dict(zip(wanted, row[k * len(wanted) : (k + 1) * len(wanted)], strict=True)) for k, i in enumerate(places)
    }


def chosen_formats(
    counts: Mapping[int, Mapping[str, int]],
    table: Table,
    known: Mapping[int, NumberFormat],
    fixed: frozenset[int] = frozenset(),
) -> dict[int, NumberFormat]:
    """How those columns write their numbers, by what count_formats counted; those of `fixed` are not questioned."""
    return _chosen(counts, known, fixed, separated_by_comma=table.separated_by_comma)


def _undecorated(text: str, number_format: NumberFormat) -> str:
    writing = values.written(number_format)
    return text if writing is None else cells.undecorated(text, writing.unit)


def _chosen(
    counts: Mapping[int, Mapping[str, int]],
    known: Mapping[int, NumberFormat],
    fixed: frozenset[int],
    *,
    separated_by_comma: bool,
) -> dict[int, NumberFormat]:
    commas = {i for i, c in counts.items() if c["comma"]}
    chosen = {}
    for i, c in counts.items():
        before = known.get(i, PLAIN)
        base = values.choose_format(
            c, values.base_of(before), separated_by_comma=separated_by_comma, comma_elsewhere=bool(commas - {i})
        )
        if i in fixed:
            chosen[i] = before
        elif i in known:
            chosen[i] = values.with_base(before, base)
        else:
            chosen[i] = _with_unit(c, base)
    return chosen


def _with_unit(counts: Mapping[str, int], base: NumberFormat) -> NumberFormat:
    """The format of a column that no reference knows: with the unit that its numbers have, where nearly all cells are numbers.

    Two units are no format: the column stays text. Without a unit, brackets and spaces are what codes and telephone numbers
    have too: other numbers, or fractions, must stand beside them.
    """
    units = {k.removeprefix(_UNIT): n for k, n in counts.items() if k.startswith(_UNIT) and n}
    if not counts.get("odd") or len(units) > 1 or counts["readable"] < cells.PARSE_SHARE * counts["n"]:
        return base
    if not units and not (counts["numbers"] or counts["fractions"]):
        return base
    unit, spaces = next(iter(units), ""), counts["spaced"] > 0
    return values.with_unit(unit, base, before=2 * counts["before"] > counts["odd"], spaces=spaces)


def _decided(
    db: Any,
    table: Table,
    batches: Sequence[_Batch],
    looks: Mapping[int, ColumnScan],
    known: Mapping[int, NumberFormat],
    fixed: frozenset[int],
) -> dict[int, NumberFormat]:
    """How each column writes its numbers: what is fixed, else decided over the whole file."""
    if not needs_points(list(looks.values()), known):
        return dict.fromkeys(looks, PLAIN)
    points = _points(db, batches, looks)
    every = {i: {**seen.probes, **points[i]} for i, seen in looks.items()}
    return _chosen(every, known, fixed, separated_by_comma=table.separated_by_comma)


def _points(db: Any, batches: Sequence[_Batch], looks: Mapping[int, ColumnScan]) -> dict[int, dict[str, int]]:
    """By column, from how many cells fulfil cell_parsing.point_probes; where some have a unit, what _decorations counts."""
    tests = cells.point_probes("v0")
    sums = ", ".join(f"sum(CASE WHEN {sql} THEN c ELSE 0 END)" for sql in tests.values())
    points = {i: dict.fromkeys(tests, 0) for batch in batches for i in batch.columns}
    for batch in batches:
        rows = cells.layered(batch.table, [cells.Cells("raw", batch.markers, numeric=False)], keep=("g", "c"))
        for g, *counts in db.execute(f"SELECT g, {sums} FROM {rows} GROUP BY g").fetchall():
            points[batch.columns[int(g)]] = {k: int(n or 0) for k, n in zip(tests, counts, strict=True)}
        decorated = [g for g, i in enumerate(batch.columns) if looks[i].probes["decorated"]]
        for g, found in _decorations(db, batch, decorated).items():
            points[batch.columns[g]] |= found
    return points


def _decorations(db: Any, batch: _Batch, groups: Sequence[int]) -> dict[int, dict[str, int]]:
    """By place in the batch: how many cells have which unit (`unit $`), it before the number, spaces in it; how many are readable
    without it, have a fraction; and the format probes of what is left.
    """
    if not groups:
        return {}
    one = cells.Cells("raw", batch.markers)
    rows = cells.layered(batch.table, [one], keep=("g", "c"))
    parts = (
        f"SELECT g, c, v0, d0, {cells.decoration('v0')} AS p, {cells.undecorated('v0', None)} AS x "
        f"FROM {rows} WHERE g IN ({', '.join(map(str, groups))})"
    )
    tests = {
        "odd": "p.odd",
        "before": "p.before",
        "spaced": "p.spaced",
        "readable": "d0 IS NOT NULL OR p IS NOT NULL",
        "fractions": "p.odd AND regexp_matches(x, '[.,]([0-9]{1,2}|[0-9]{4,})$')",
        **cells.format_probes("x"),
        **cells.point_probes("x"),
    }
    sums = ", ".join(f"sum(CASE WHEN {sql} THEN c ELSE 0 END)" for sql in tests.values())
    found: dict[int, Counter[str]] = {g: Counter() for g in groups}
    for g, unit, cells_of_unit, *counts in db.execute(
        f"SELECT g, coalesce(p.unit, '') AS unit, sum(c), {sums} FROM ({parts}) GROUP BY 1, 2"
    ).fetchall():
        found[int(g)].update({k: int(n or 0) for k, n in zip(tests, counts, strict=True)})
        if unit:
            found[int(g)][f"{_UNIT}{unit}"] += int(cells_of_unit)
    return {g: dict(counted) for g, counted in found.items()}


def _counted_batches(db: Any, table: Table, markers: Sequence[tuple[str, ...]], label: str) -> list[_Batch]:
    ordered = sorted(range(len(table.fields)), key=lambda i: markers[i])
    short = table.columnar and _rows_of_sample(db, table) < SAMPLE
    together = _TOGETHER_SHORT if short else TOGETHER
    batches: list[_Batch] = []
    # Columns with the same markers can be judged by the same statement.
    for marked, group in groupby(ordered, key=lambda i: markers[i]):
        columns = list(group)
        for start in range(0, len(columns), together):
            some = columns[start : start + together]
            name = f"{label}_{len(batches)}"
            if short:
                batch = _counted_at_once(db, table, name, some, marked)
            else:
                batch = _Batch(name, some, marked, _repeated(db, table, some))
                db.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {_counted(table, batch)}")
            batches.append(batch)
    return batches


def _rows_of_sample(db: Any, table: Table) -> int:
    return int(db.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table.sample} LIMIT {SAMPLE})").fetchone()[0])


def _counted_at_once(db: Any, table: Table, name: str, columns: list[int], markers: tuple[str, ...]) -> _Batch:
    """The batch of the columns of a table whose rows are its sample: cells turned into rows, which any number of columns can be."""
    cells = ", ".join(table.fields[i] for i in columns)
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT g, raw, count(*) AS c FROM "
        f"(SELECT unnest(range({len(columns)})) AS g, unnest([{cells}]) AS raw FROM {table.relation}) GROUP BY ALL"
    )
    texts = db.execute(f"SELECT g, count(raw), sum(c) FROM {name} GROUP BY g").fetchall()
    return _Batch(name, columns, markers, sorted(int(g) for g, distinct, rows in texts if distinct <= _REPEATS * rows))


def _judged(db: Any, batch: _Batch, number_format: NumberFormat, *, registers: bool = False) -> dict[int, ColumnScan]:
    """`registers`: distinct values are not estimated, but what their estimate is made of is there."""
    dated, idle = _forms(db, batch)
    tests: dict[tuple[str, str], str] = {
        **{("missing", m): f"t0 = {quote(m)}" for m in batch.markers if m},
        ("missing", cells.EMPTY): "r0 IS NULL OR t0 = ''",
        ("missing", cells.NAN): "length(t0) = 3 AND lower(t0) = 'nan'",
        ("note", "spaces"): "r0 <> t0",
        ("note", "infinite"): cells.is_infinite(0),
        **{("probe", k): sql for k, sql in cells.probes(0).items() if k not in idle},
        **{("fails", k): cells.fails(0, k, dated=True) for k in _JUDGED if dated or k != "datetime"},
    }
    one = cells.Cells("raw", batch.markers, number_format=number_format)
    rows = cells.layered(batch.table, [one], keep=("g", "c"))
    judged = cells.layered(batch.table, [replace(one, dated=dated)], keep=("g", "c"))
    sums = ", ".join(f"sum(CASE WHEN {sql} THEN c ELSE 0 END)" for sql in tests.values())
    distinct_values = f"approx_count_distinct(v0){' EXPORT_STATE' * registers}"
    table = db.execute(f"SELECT g, sum(c), {distinct_values}, {sums} FROM {judged} GROUP BY g").fetchall()
    looks: dict[int, ColumnScan] = {}
    for g, rows_seen, distinct, *counts in table:
        by: dict[str, dict[str, int]] = {"missing": {}, "note": {}, "probe": dict.fromkeys(idle, 0), "fails": {}}
        for (kind, label), count in zip(tests, counts, strict=True):
            by[kind][label] = int(count or 0)
        by["fails"].setdefault("datetime", by["probe"]["n"])
        texts = f"FROM {rows} WHERE g = {g} AND v0 IS NOT NULL"
        looks[batch.columns[int(g)]] = ColumnScan(
            cells=int(rows_seen),
            missing={k: n for k, n in by["missing"].items() if n},
            spaces=by["note"]["spaces"],
            infinite=by["note"]["infinite"],
            probes=by["probe"] if registers else {**by["probe"], "distinct_values": int(distinct)},
            fails={k: by["fails"][str(k)] for k in _JUDGED},
            number_format=number_format,
            values=f"SELECT DISTINCT v0 {texts}" if g in batch.repeated else "",
            counts=f"SELECT v0, CAST(sum(c) AS BIGINT) {texts} GROUP BY 1",
            rows=rows,
            group=int(g),
            registers=tuple(distinct["registers"]) if registers else (),
        )
    nothing = ColumnScan(
        0, {}, 0, 0, dict.fromkeys([*cells.probes(0), "distinct_values"], 0), dict.fromkeys(_JUDGED, 0)
    )
    return {i: looks.get(i, nothing) for i in batch.columns}  # without a row there is no group


def _forms(db: Any, batch: _Batch) -> tuple[bool, frozenset[str]]:
    """Whether any text may be a moment; and the probes that no text can count for, which take most of a statement's planning."""
    rows = cells.layered(batch.table, [cells.Cells("raw", batch.markers, numeric=False)])
    wanted = (cells.may_be_moment("v0"), cells.may_tell_format("v0"), cells.is_decorated("v0"))
    sums = ", ".join(f"coalesce(bool_or({sql}), false)" for sql in wanted)
    dated, formatted, decorated = db.execute(f"SELECT {sums} FROM {rows}").fetchall()[0]
    idle = [
        () if dated else cells.MOMENT_PROBES,
        () if formatted else cells.format_probes("v0"),
        () if decorated else ("decorated",),
    ]
    return dated, frozenset().union(*idle)


def _counted(table: Table, batch: _Batch) -> str:
    """SQL of rows (g: place among the batch's columns, raw: text, c: cells)."""
    fields, relation, repeated = [table.fields[i] for i in batch.columns], table.relation, batch.repeated
    parts = [f"SELECT {k} AS g, {f} AS raw, 1 AS c FROM {relation}" for k, f in enumerate(fields) if k not in repeated]
    if table.columnar:
        parts += [f"SELECT {k} AS g, {fields[k]} AS raw, count(*) AS c FROM {relation} GROUP BY 2" for k in repeated]
    elif repeated:
        listed = ", ".join(fields[k] for k in repeated)
        sets = ", ".join(f"({fields[k]})" for k in repeated)
        # grouping_id has a bit for each column, the first one highest, and 0 where a column is the one grouped by.
        full = 2 ** len(repeated) - 1
        which = " ".join(f"WHEN {full - 2 ** (len(repeated) - 1 - n)} THEN {k}" for n, k in enumerate(repeated))
        parts.append(
            f"SELECT CASE grouping_id({listed}) {which} END AS g, coalesce({listed}) AS raw, count(*) AS c "
            f"FROM {relation} GROUP BY GROUPING SETS ({sets})"
        )
    return " UNION ALL ".join(parts)


def _repeated(db: Any, table: Table, columns: list[int]) -> list[int]:
    """Places of the columns whose texts repeat, judged by the first rows."""
    listed = [table.fields[i] for i in columns]
    distinct_texts = ", ".join(f"approx_count_distinct({f})" for f in listed)
    row = db.execute(
        f"SELECT count(*), {distinct_texts} FROM (SELECT {', '.join(listed)} FROM {table.sample} LIMIT {SAMPLE})"
    ).fetchall()[0]
    return [k for k, distinct in enumerate(row[1:]) if distinct <= _REPEATS * row[0]]
