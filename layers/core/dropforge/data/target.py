"""Can the target be learned? Checked before anything is kept."""

from __future__ import annotations

from typing import Any

from dropforge.data.engine import name
from dropforge.data.schema import Schema
from dropforge.errors import RejectedUpload

MAX_CLASSES = 100


def check(connection: Any, schema: Schema, table: str) -> None:
    """Raises RejectedUpload for a target with fewer than two or more than MAX_CLASSES classes in the table of accepted rows."""
    column = name(schema.target)
    rows = connection.execute(
        f"SELECT CAST({column} AS VARCHAR), count(*) FROM {table} "
        f"WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT {MAX_CLASSES + 1}"
    ).fetchall()
    if len(rows) < 2:
        only = f"only the class {rows[0][0]!r}" if rows else "no value"
        raise RejectedUpload(
            f"the target {schema.target!r} has {only} in this file: nothing can be learned or compared",
            code="one_class_target",
            fix="upload rows of every class, or correct data.target",
        )
    if len(rows) > MAX_CLASSES:
        raise RejectedUpload(
            f"the target {schema.target!r} has more than {MAX_CLASSES} classes",
            code="too_many_classes",
            fix="is it a number or an identifier? Dropforge classifies: choose another target, or group its values",
        )
