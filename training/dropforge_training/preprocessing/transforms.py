"""The `processing:` list of settings.yaml as steps by column, checked against the data's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dropforge.config.preprocessing_settings import NUMBER_STEPS, ProcessingStep
from dropforge.datasets.table_schema import Column
from dropforge.errors import SettingsError
from dropforge.inference.number_steps import NumberStep

_TEXTS = {"category", "text"}


@dataclass(frozen=True)
class Steps:
    """What is done to one column, in this order: cast, then merge and rare (categories) or the steps of numbers."""

    cast: str = ""  # "category" or "number": against the column's kind
    merge: tuple[tuple[str, str], ...] = ()
    rare_under: int = 0
    rare_into: str = ""
    numbers: tuple[tuple[str, NumberStep], ...] = ()  # by name and not yet fitted, in the order in which they run


NO_STEPS = Steps()


def dropped(processing: Sequence[ProcessingStep]) -> set[str]:
    """Columns that the steps `drop` name."""
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
        if step.number_step is None and step.name not in {"merge", "rare"}:
            continue
        name, (column,) = step.name, step.columns
        kind = _kind(column, kinds, name)
        number = numbers.get(column, kind not in _TEXTS)
        if number != (step.number_step is not None) or (kind == "datetime" and number):
            is_a = "a date" if kind == "datetime" else "a number" if number else "a category"
            raise SettingsError(
                f"processing: {name}: column {column!r} is {is_a}",
                code="processing",
                fix=f"merge and rare are for categories, {', '.join(NUMBER_STEPS)} for numbers; `cast` changes what a column is",
            )
        matches[column] = _with(matches.get(column, NO_STEPS), step)
    return matches


def _kind(column: str, kinds: dict[str, Any], step: str) -> str:
    if column not in kinds:
        raise SettingsError(
            f"processing: {step}: no column named {column!r}",
            code="processing",
            fix=f"columns the models see are {', '.join(kinds)}",
        )
    return str(kinds[column])


def _with(steps: Steps, step: ProcessingStep) -> Steps:
    """With one more step; of two of the same name the last one counts, except for `merge`."""
    if step.merge is not None:
        return replace(steps, merge=(*steps.merge, *((v, step.merge.into) for v in step.merge.values)))
    if step.rare is not None:
        return replace(steps, rare_under=step.rare.under, rare_into=step.rare.into)
    number_step = step.number_step
    assert number_step is not None  # noqa: S101 - by_column passes no other
    several = {**dict(steps.numbers), step.name: number_step}
    return replace(steps, numbers=tuple(sorted(several.items(), key=lambda item: item[1].ORDER)))
