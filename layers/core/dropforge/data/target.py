"""Can the target be learned? Checked before anything is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropforge.data.schema import Schema
from dropforge.errors import RejectedUpload

MAX_CLASSES = 100
_MOST_COUNTED = 100_000  # of distinct labels: a target with so many is no class label


def counts(connection: Any, labels: str) -> dict[str, int]:
    """Rows of each class, the most frequent first. `labels`: SQL of (class, rows)."""
    if not labels:
        return {}
    found = connection.execute(f"SELECT * FROM ({labels}) AS l(a, n) ORDER BY n DESC, a LIMIT {_MOST_COUNTED}")
    return {str(label): int(rows) for label, rows in found.fetchall()}


def lone_classes(classes: Mapping[str, int], known: tuple[str, ...], share: float) -> tuple[str, ...]:
    """Classes of one row that the reference does not have: typing errors, most likely, and nothing that can be learned.

    None when they are more than `share` of the rows: then the target is no class label, or the table is tiny.
    """
    lone = tuple(c for c, rows in classes.items() if rows == 1 and c not in known)
    most = max(1, share * sum(classes.values()))
    return lone if len(lone) <= most and len(classes) - len(lone) > 1 else ()


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
            fix="is it a number or an identifier? Dropforge classifies: choose another target, or group its values",
        )
