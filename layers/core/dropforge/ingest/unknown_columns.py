"""Columns that the reference lacks: left out of the data set, but not before it was counted what they say of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dropforge.ingest.duckdb_connection import quote

_COLUMNS: Final = 20  # looked at
_TOGETHER: Final = 10  # counted in one statement: each takes longer to plan than a small table takes to count
_ROWS: Final = 200_000  # the first of the file
_VALUES: Final = 12  # of a column of texts, besides the rest; of the target
_BINS: Final = 6  # of a column of numbers
_MANY: Final = 50  # different numbers from which they are binned


@dataclass(frozen=True, slots=True)
class ExtraCounts:
    """Rows by value of the column (first: missing) and class of the target (first: missing); row by row, `width` classes."""

    name: str
    counts: tuple[int, ...]
    width: int


def counts(
    db: Any, relation: str, columns: Mapping[str, str], target: str, markers: Sequence[str]
) -> tuple[ExtraCounts, ...]:
    """Joint counts of each of the first columns with the target. `relation`: rows as they were read, cells as text or typed;
    `columns`: by name their fields in it; `target`: its field.

    Numbers of many values fall into bins of equal share; of texts the most frequent are counted, the others together.
    """
    first = list(columns.items())[:_COLUMNS]
    groups = [first[start : start + _TOGETHER] for start in range(0, len(first), _TOGETHER)]
    return tuple(counted for group in groups for counted in _of_columns(db, relation, dict(group), target, markers))


def _of_columns(
    db: Any, relation: str, columns: Mapping[str, str], target: str, markers: Sequence[str]
) -> list[ExtraCounts]:
    missing = f"IN ('', {', '.join(map(quote, markers))})" if markers else "= ''"
    # A column may be the target itself: its field is read once for each name here.
    read = [f"trim(CAST({f} AS VARCHAR)) AS r{k}" for k, f in enumerate([*columns.values(), target])]
    listed = ", ".join(f"CASE WHEN r{k} {missing} THEN NULL ELSE r{k} END" for k in range(len(columns)))
    label = f"r{len(columns)}"
    counted = db.execute(
        f"WITH cells AS MATERIALIZED (SELECT unnest(range({len(columns)})) AS g, unnest([{listed}]) AS v, "
        f"CASE WHEN {label} {missing} THEN NULL ELSE {label} END AS t "
        f"FROM (SELECT {', '.join(read)} FROM {relation} LIMIT {_ROWS})), "
        "numbers AS (SELECT g, count(v) AS n, count(TRY_CAST(v AS DOUBLE)) AS d, count(DISTINCT v) AS k FROM cells GROUP BY g), "
        f"bins AS (SELECT *, ntile({_BINS}) OVER (PARTITION BY g, v IS NULL ORDER BY TRY_CAST(v AS DOUBLE)) AS bin FROM cells), "
        f"common AS (SELECT g, v, row_number() OVER (PARTITION BY g ORDER BY count(*) DESC, v) AS r FROM cells "
        f"WHERE v IS NOT NULL GROUP BY g, v QUALIFY r <= {_VALUES}), "
        f"classes AS (SELECT t, row_number() OVER (ORDER BY count(*) DESC, t) AS r FROM cells "
        f"WHERE g = 0 AND t IS NOT NULL GROUP BY t QUALIFY r <= {_VALUES}) "
        f"SELECT g, CASE WHEN v IS NULL THEN 0 WHEN d = n AND k > {_MANY} THEN bin ELSE coalesce(common.r, {_VALUES + 1}) END, "
        f"CASE WHEN t IS NULL THEN 0 ELSE coalesce(classes.r, {_VALUES + 1}) END, count(*) "
        "FROM bins JOIN numbers USING (g) LEFT JOIN common USING (g, v) LEFT JOIN classes USING (t) GROUP BY ALL"
    ).fetchall()
    width = _VALUES + 2
    tables = [[0] * (width * width) for _ in columns]
    for place, value, label_place, n in counted:
        tables[int(place)][int(value) * width + int(label_place)] = int(n)
    return [ExtraCounts(column, tuple(table), width) for column, table in zip(columns, tables, strict=True)]
