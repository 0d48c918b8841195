"""One look at every cell of a file: what is missing, what parses as what. Each distinct text is judged once.

A column of a million cells has often a hundred texts, so cells are first counted by column and text: one column after the
other where that is possible, else all of them in one pass over the rows. A column whose texts hardly repeat is looked at
cell by cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dropforge.data import cells
from dropforge.data.engine import name, quote
from dropforge.data.schema import Kind

TOGETHER = 60  # columns counted in one pass: grouping_id has 63 bits
SAMPLE = 8192
_REPEATS = 0.9  # a larger share of distinct texts in the sample: counting them first would not pay
_JUDGED: tuple[Kind, ...] = ("integer", "number", "boolean", "datetime")


@dataclass(frozen=True, slots=True)
class Look:
    """What one column's cells are, as numbers of cells. `probes`: see cells.probes; `fails`: by kind it could have.

    `values`: SQL of the distinct texts that are not missing, empty when they were not counted.
    """

    cells: int

    missing: dict[str, int]
    spaces: int
    infinite: int
    probes: dict[str, int]
    fails: dict[Kind, int]
    values: str = ""


def look(
    db: Any,
    relation: str,
    sample: str,
    columns: Sequence[str],
    markers: Callable[[str], tuple[str, ...]],
    *,
    decimal_comma: bool,
    columnar: bool,
) -> dict[str, Look]:
    """By column, in any order.

    `sample`: the first rows, cheaply had. `columnar`: a column can be read without the others. `markers`: texts that mean
    missing in a column, besides the empty one and nan.
    """
    found: dict[str, Look] = {}
    ordered = sorted(columns, key=markers)  # columns with the same markers can be judged by the same statement
    for marked, group in groupby(ordered, key=markers):
        for batch in _batches(list(group)):
            repeated = _repeated(db, sample, batch)
            counted = f"counted_{len(found)}"
            db.execute(f"CREATE OR REPLACE TEMP TABLE {counted} AS {_counted(relation, batch, repeated, columnar)}")
            found |= _batch(db, counted, batch, marked, repeated, decimal_comma=decimal_comma)
    return found


def _batches(columns: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(columns), TOGETHER):
        yield columns[start : start + TOGETHER]


def _batch(
    db: Any, counted: str, columns: list[str], markers: tuple[str, ...], repeated: list[int], *, decimal_comma: bool
) -> dict[str, Look]:
    asked: dict[tuple[str, str], str] = {
        **{("missing", m): f"t0 = {quote(m)}" for m in markers if m},
        ("missing", cells.EMPTY): "r0 IS NULL OR t0 = ''",
        ("missing", cells.NAN): "length(t0) = 3 AND lower(t0) = 'nan'",
        ("note", "spaces"): "r0 <> t0",
        ("note", "infinite"): cells.is_infinite(0),
        **{("probe", k): sql for k, sql in cells.probes(0).items()},
        **{("fails", k): cells.fails(0, k) for k in _JUDGED},
    }
    rows = cells.layered(
        counted,
        ["raw"],
        {"raw": markers},
        {"raw": True},
        decimal_comma=decimal_comma,
        keep=("g", "c"),
    )
    sums = ", ".join(f"sum(CASE WHEN {sql} THEN c ELSE 0 END)" for sql in asked.values())
    found = db.execute(f"SELECT g, sum(c), approx_count_distinct(v0), {sums} FROM {rows} GROUP BY g").fetchall()
    looks = {}
    for g, rows_seen, distinct, *counts in found:
        by: dict[str, dict[str, int]] = {"missing": {}, "note": {}, "probe": {}, "fails": {}}
        for (kind, label), count in zip(asked, counts, strict=True):
            by[kind][label] = int(count or 0)
        looks[columns[int(g)]] = Look(
            cells=int(rows_seen),
            missing={k: n for k, n in by["missing"].items() if n},
            spaces=by["note"]["spaces"],
            infinite=by["note"]["infinite"],
            probes={**by["probe"], "distinct_values": int(distinct)},
            fails={k: by["fails"][str(k)] for k in _JUDGED},
            values=f"SELECT DISTINCT v0 FROM {rows} WHERE g = {g} AND v0 IS NOT NULL" if g in repeated else "",
        )
    nothing = Look(0, {}, 0, 0, dict.fromkeys([*cells.probes(0), "distinct_values"], 0), dict.fromkeys(_JUDGED, 0))
    return {c: looks.get(c, nothing) for c in columns}  # without a row there is no group


def _counted(relation: str, columns: list[str], repeated: list[int], columnar: bool) -> str:
    """SQL of rows (g: number of the column, raw: text, c: cells)."""
    parts = [
        f"SELECT {i} AS g, {name(c)} AS raw, 1 AS c FROM {relation}" for i, c in enumerate(columns) if i not in repeated
    ]
    if columnar:
        parts += [
            f"SELECT {i} AS g, {name(columns[i])} AS raw, count(*) AS c FROM {relation} GROUP BY 2" for i in repeated
        ]
    elif repeated:
        listed = ", ".join(name(columns[i]) for i in repeated)
        sets = ", ".join(f"({name(columns[i])})" for i in repeated)
        # grouping_id has a bit for each column, the first one highest, and 0 where a column is the one grouped by.
        full = 2 ** len(repeated) - 1
        which = " ".join(f"WHEN {full - 2 ** (len(repeated) - 1 - k)} THEN {i}" for k, i in enumerate(repeated))
        parts.append(
            f"SELECT CASE grouping_id({listed}) {which} END AS g, coalesce({listed}) AS raw, count(*) AS c "
            f"FROM {relation} GROUP BY GROUPING SETS ({sets})"
        )
    return " UNION ALL ".join(parts)


def _repeated(db: Any, sample: str, columns: list[str]) -> list[int]:
    """Numbers of the columns whose texts repeat, judged by the first rows."""
    asked = ", ".join(f"approx_count_distinct({name(c)})" for c in columns)
    row = db.execute(f"SELECT count(*), {asked} FROM (SELECT * FROM {sample} LIMIT {SAMPLE})").fetchall()[0]
    return [i for i, distinct in enumerate(row[1:]) if distinct <= _REPEATS * row[0]]
