"""Can the target be learned? Checked before anything is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropforge.datasets.table_schema import Schema
from dropforge.errors import RejectedUpload
from dropforge.ingest.duckdb_connection import name

MAX_CLASSES = 100
_MOST_COUNTED = 100_000  # of distinct labels: a target with so many is no class label


def counts(connection: Any, labels: str) -> dict[str, int]:
    """Rows of each class, the most frequent first. `labels`: SQL of (class, rows)."""
    if not labels:
        return {}
    table = connection.execute(f"SELECT * FROM ({labels}) AS l(a, n) ORDER BY n DESC, a LIMIT {_MOST_COUNTED}")
    return {str(label): int(rows) for label, rows in table.fetchall()}


def lone_classes(classes: Mapping[str, int], known: tuple[str, ...], share: float) -> tuple[str, ...]:
    """Classes of one row that the reference does not have: typing errors, most likely, and nothing that can be learned.

    None when they are more than `share` of the rows: then the target is no class label, or the table is tiny.
    """
    lone = tuple(c for c, rows in classes.items() if rows == 1 and c not in known)
    most = max(1, share * sum(classes.values()))
    return lone if len(lone) <= most and len(classes) - len(lone) > 1 else ()


FEWEST_NUMBERS = 20  # rows with a number below which a regression cannot be fitted and judged


def numbers(connection: Any, schema: Schema, table: str) -> tuple[int, int]:
    """Rows of the accepted table with a number in a regression's target, and how many different ones there are."""
    column = name(schema.target)
    if not schema.column(schema.target).numeric:
        return 0, 0
    rows = connection.execute(f"SELECT count({column}), count(DISTINCT {column}) FROM {table}").fetchone()
    return int(rows[0]), int(rows[1])


def untrained_numbers(rows: int, distinct: int, target: str) -> str:
    """As `untrained`, for a regression."""
    if not rows:
        return f"no row has a number in the target {target!r}"
    return "" if distinct > 1 else f"the target {target!r} is the same in every row"


def check_numbers(schema: Schema, rows: int, distinct: int) -> None:
    """Raises RejectedUpload for a first file from which no number can be learned."""
    if not schema.column(schema.target).numeric:
        raise RejectedUpload(
            f"the target {schema.target!r} holds texts, and data.task is regression",
            code="target_not_numeric",
            fix="choose a column of numbers as data.target, or set data.task: classification",
        )
    if rows < FEWEST_NUMBERS or distinct < 2:
        raise RejectedUpload(
            f"the target {schema.target!r} has {rows} numbers, {distinct} of them different: nothing can be learned",
            code="too_few_numbers",
            fix=f"upload at least {FEWEST_NUMBERS} rows in which it varies, or correct data.target",
        )


def untrained(classes: Mapping[str, int], target: str) -> str:
    """Why a file that is compared with a reference is stored without a training of its own; empty when it is trained on."""
    if len(classes) > 1:
        return ""
    if not classes:
        return f"no row has a value in the target {target!r}"
    return f"every row has the class {next(iter(classes))!r}"


def check(schema: Schema, classes: Mapping[str, int], *, first: bool) -> None:
    """Raises RejectedUpload for a target with more than MAX_CLASSES classes, and in the first file with fewer than two."""
    if len(classes) < 2 and first:
        only = f"only the class {next(iter(classes))!r}" if classes else "no value"
        raise RejectedUpload(
            f"the target {schema.target!r} has {only} in this file: nothing can be learned",
            code="one_class_target",
            fix="upload rows of every class first, or correct data.target",
        )
    if len(classes) > MAX_CLASSES:
        raise RejectedUpload(
            f"the target {schema.target!r} has more than {MAX_CLASSES} classes",
            code="too_many_classes",
            fix="a number to estimate? set data.task: regression; an identifier? choose another target; else group its values",
        )
