"""Columns that say what is to be predicted: by their values, or by being filled. Whether that is known beforehand, a person knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dropforge.ingest import unknown_columns
from dropforge.metrics import Task

MOST: Final = 200  # columns that are looked at
_FILLED, _DETERMINED = 0.9, 0.98  # of the errors that guessing the most frequent class makes, how many are gone
FEWEST: Final = 20  # rows that are missing, and that are not
_STRAIGHT = 0.995  # correlation with a number to estimate
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Column:
    """`field`: its name in the relation; `value`: SQL of its cell, NULL when missing; `number`: the same as a number, or empty;
    `missing`: how many of its cells are.
    """

    name: str
    field: str
    value: str
    number: str = ""
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Cells:
    """The file in DuckDB. `relation`: cells as text; `rows`: the same in the layers that a column's `value` and `number` are
    written for.
    """

    db: Any
    relation: str
    rows: str


def checks(cells: Cells, columns: Sequence[Column], target: Column, task: Task, markers: Sequence[str]) -> list[str]:
    """Sentences to check."""
    db, relation, rows = cells.db, cells.relation, cells.rows
    with_gaps = [c for c in columns if c.missing >= FEWEST]
    leaks = _filled(db, rows, with_gaps, target) if task == "classification" else []
    named = {name for name, _ in leaks}
    others = [c for c in columns if c.name not in named]
    leaks += (
        _straight(db, rows, others, target)
        if task == "regression"
        else _determined(db, relation, others, target, markers)
    )
    message = [sentence for _, sentence in leaks[:_SHOWN]]
    if len(leaks) > _SHOWN:
        message.append(f"{len(leaks) - _SHOWN} more columns give {target.name} away as much")
    return message


def _question(target: Column) -> str:
    return f"is it known before {target.name} is? If not: data.ignore"


def _explained_share(table: Sequence[Sequence[int]]) -> float:
    """Goodman and Kruskal's lambda of the columns (classes) given the rows: the share of errors that the row saves."""
    classes = [sum(column) for column in zip(*table, strict=True)]
    total = sum(classes)
    errors = total - max(classes, default=0)
    return (sum(max(row) for row in table) - max(classes)) / errors if errors else 0.0


def _filled(db: Any, rows: str, columns: Sequence[Column], target: Column) -> list[tuple[str, str]]:
    if not columns:
        return []
    counts = ", ".join(f"count(*) FILTER ({c.value} IS NULL)" for c in columns)
    table = db.execute(
        f"SELECT {target.value}, count(*), {counts} FROM {rows} WHERE {target.value} IS NOT NULL GROUP BY 1"
    ).fetchall()
    leaks = []
    for place, column in enumerate(columns, 2):
        empty = [int(row[place]) for row in table]
        present = [int(row[1]) - n for row, n in zip(table, empty, strict=True)]
        if min(sum(empty), sum(present)) >= FEWEST and _explained_share([empty, present]) >= _FILLED:
            message = f"whether {column.name} is filled gives {target.name} away: {_question(target)}"
            leaks.append((column.name, message))
    return leaks


def _determined(
    db: Any, relation: str, columns: Sequence[Column], target: Column, markers: Sequence[str]
) -> list[tuple[str, str]]:
    leaks = []
    fields = {c.name: c.field for c in columns}
    names = list(fields)
    for start in range(0, len(names), 20):
        some = {n: fields[n] for n in names[start : start + 20]}
        for result in unknown_columns.counts(db, relation, some, target.field, markers):
            width = result.width
            lines = [result.counts[k * width + 1 : (k + 1) * width] for k in range(width)]
            if _explained_share(lines) >= _DETERMINED:
                message = f"{result.name} gives {target.name} away in nearly every row: {_question(target)}"
                leaks.append((result.name, message))
    return leaks


def _straight(db: Any, rows: str, columns: Sequence[Column], target: Column) -> list[tuple[str, str]]:
    numbers = [c for c in columns if c.number]
    if not numbers or not target.number:
        return []
    sums = ", ".join(f"corr({c.number}, {target.number})" for c in numbers)
    values = db.execute(f"SELECT {sums} FROM {rows}").fetchone()
    return [
        (
            c.name,
            f"{c.name} is nearly {target.name} itself (correlation {r:.4f}): is it known before? If not: data.ignore",
        )
        for c, r in zip(numbers, values, strict=True)
        if r is not None and abs(r) >= _STRAIGHT
    ]
