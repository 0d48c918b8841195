"""Columns that the reference lacks: left out of the data set, but not before it was counted what they say of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dropforge.ingest.duckdb_connection import quote

_COLUMNS: Final = 20  # looked at
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
    return tuple(_of_column(db, relation, *c, target, markers) for c in list(columns.items())[:_COLUMNS])


def _of_column(db: Any, relation: str, column: str, field: str, target: str, markers: Sequence[str]) -> ExtraCounts:
    missing = f"IN ('', {', '.join(map(quote, markers))})" if markers else "= ''"
    cells = ", ".join(
        f"CASE WHEN trim(CAST({f} AS VARCHAR)) {missing} THEN NULL ELSE trim(CAST({f} AS VARCHAR)) END AS {alias}"
        for f, alias in ((field, "v"), (target, "t"))
    )
    coded = (
        f"WITH cells AS MATERIALIZED (SELECT {cells} FROM {relation} LIMIT {_ROWS}), "
        "numbers AS (SELECT count(v) AS n, count(TRY_CAST(v AS DOUBLE)) AS d, count(DISTINCT v) AS k FROM cells), "
        f"bins AS (SELECT *, ntile({_BINS}) OVER (PARTITION BY v IS NULL ORDER BY TRY_CAST(v AS DOUBLE)) AS bin FROM cells), "
        f"common AS (SELECT v, row_number() OVER (ORDER BY count(*) DESC, v) AS r FROM cells WHERE v IS NOT NULL GROUP BY v "
        f"QUALIFY r <= {_VALUES}), "
        f"classes AS (SELECT t, row_number() OVER (ORDER BY count(*) DESC, t) AS r FROM cells WHERE t IS NOT NULL GROUP BY t "
        f"QUALIFY r <= {_VALUES}) "
        f"SELECT CASE WHEN bins.v IS NULL THEN 0 WHEN d = n AND k > {_MANY} THEN bin ELSE coalesce(common.r, {_VALUES + 1}) END, "
        f"CASE WHEN bins.t IS NULL THEN 0 ELSE coalesce(classes.r, {_VALUES + 1}) END, count(*) "
        "FROM bins CROSS JOIN numbers LEFT JOIN common USING (v) LEFT JOIN classes USING (t) GROUP BY 1, 2"
    )
    width = _VALUES + 2
    table = [0] * (width * width)
    for value, label, n in db.execute(coded).fetchall():
        table[int(value) * width + int(label)] = int(n)
    return ExtraCounts(column, tuple(table), width)
