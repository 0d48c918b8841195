"""The `processing:` list of settings.yaml as steps by column, checked against the data's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dropforge.config.preprocessing_settings import ProcessingStep
from dropforge.datasets.table_schema import Column
from dropforge.errors import SettingsError

_TEXTS = {"category", "text"}


@dataclass(frozen=True)
class Steps:
    """What is done to one column, in this order: cast, merge, rare (categories) or clip, log (numbers)."""

    cast: str = ""  # "category" or "number": against the column's kind
    merge: tuple[tuple[str, str], ...] = ()
    rare_under: int = 0
    rare_into: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False


NO_STEPS = Steps()


def dropped(processing: Sequence[ProcessingStep]) -> set[str]:
    return {c for step in processing for c in step.drop or ()}


def markers(processing: Sequence[ProcessingStep], column: str) -> tuple[str, ...]:
    """Texts that mean missing in this column, besides those of `data`."""
    return tuple(
        m for step in processing if step.missing and step.missing.column == column for m in step.missing.markers
    )


def by_column(processing: Sequence[ProcessingStep], columns: Sequence[Column]) -> dict[str, Steps]:
    """Raises SettingsError for a column the data lack, and for a step that does not fit the column's kind."""
    kinds = {c.name: c.kind for c in columns}
    matches: dict[str, Steps] = {}
    numbers: dict[str, bool] = {}
    for step in processing:  # casts first: they decide what the other steps may be
        if step.cast:
            kind = _kind(step.cast.column, kinds, "cast")
            to_number = step.cast.to == "number"
            if to_number != (kind in _TEXTS):
                raise SettingsError(
                    f"processing: cast: column {step.cast.column!r} is {kind} already",
                    code="processing",
                    fix="remove the step",
                )
            matches[step.cast.column] = Steps(cast=step.cast.to)
            numbers[step.cast.column] = to_number
    for step in processing:
        for name in ("merge", "rare", "clip", "log"):
            given: Any = getattr(step, name)
            if given is None:
                continue
            kind = _kind(given.column, kinds, name)
            number = numbers.get(given.column, kind not in _TEXTS)
            if number != (name in {"clip", "log"}):
                raise SettingsError(
                    f"processing: {name}: column {given.column!r} is {'a number' if number else 'a category'}",
                    code="processing",
                    fix="merge and rare are for categories, clip and log for numbers; `cast` changes what a column is",
                )
            matches[given.column] = _with(matches.get(given.column, NO_STEPS), name, given)
    return matches


def _kind(column: str, kinds: dict[str, Any], step: str) -> str:
    if column not in kinds:
        raise SettingsError(
            f"processing: {step}: no column named {column!r}",
            code="processing",
            fix=f"columns the models see are {', '.join(kinds)}",
        )
    return str(kinds[column])


def _with(steps: Steps, name: str, given: Any) -> Steps:
    match name:
        case "merge":
            return replace(steps, merge=(*steps.merge, *((v, given.into) for v in given.values)))
        case "rare":
            return replace(steps, rare_under=given.under, rare_into=given.into)
        case "clip":
            return replace(steps, low=given.low, high=given.high)
        case _:
            return replace(steps, log=True)
