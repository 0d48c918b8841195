"""The `processing:` list of settings.yaml as steps by column, checked against the data's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dropforge.config.column_steps import ColumnStep
from dropforge.config.preprocessing_settings import COLUMN_STEPS, NUMBER_STEPS, ProcessingStep
from dropforge.datasets.table_schema import Column
from dropforge.errors import SettingsError
from dropforge.inference.number_steps import NumberStep

_TEXTS = {"category", "text"}


@dataclass(frozen=True)
class Steps:
    """What is done to one column, in this order: cast, then merge, learned and rare (categories) or the steps of numbers."""

    cast: str = ""  # "category" or "number": against the column's kind
    merge: tuple[tuple[str, str], ...] = ()
    rare_under: int = 0
    rare_into: str = ""
    numbers: tuple[tuple[str, NumberStep], ...] = ()  # by name and not yet fitted, in the order in which they run
    learned: tuple[ColumnStep, ...] = ()  # that rename categories by their training rows, not yet fitted


NO_STEPS = Steps()


def dropped(processing: Sequence[ProcessingStep]) -> set[str]:
    """Columns that models do not see."""
    return {c for step in processing if step.column_step and step.column_step.drops() for c in step.columns}


def markers(processing: Sequence[ProcessingStep], column: str) -> tuple[str, ...]:
    """Texts that mean missing in this column, besides those of `data`."""
    of_column = (step.column_step for step in processing if step.column_step and column in step.columns)
    return tuple(text for step in of_column for text in step.missing_texts())


def by_column(processing: Sequence[ProcessingStep], columns: Sequence[Column]) -> dict[str, Steps]:
    """Raises SettingsError for a column the data lack, and for a step that does not fit the column's kind."""
    kinds = {c.name: c.kind for c in columns}
    matches: dict[str, Steps] = {}
    numbers: dict[str, bool] = {}
    categories = [name for name, step in COLUMN_STEPS.items() if step.CATEGORIES]
    for step in processing:  # casts first: they decide what the other steps may be
        to = step.column_step.cast_to() if step.column_step else ""
        if to:
            (column,) = step.columns
            kind = _kind(column, kinds, step.name)
            if (to == "number") != (kind in _TEXTS):
                raise SettingsError(
                    f"processing: {step.name}: column {column!r} is {kind} already",
                    code="processing",
                    fix="remove the step",
                )
            matches[column] = Steps(cast=to)
            numbers[column] = to == "number"
    for step in processing:
        if step.column_step is not None and not step.column_step.CATEGORIES:
            continue
        name, (column,) = step.name, step.columns
        kind = _kind(column, kinds, name)
        number = numbers.get(column, kind not in _TEXTS)
        if number != (step.number_step is not None) or (kind == "datetime" and number):
            is_a = "a date" if kind == "datetime" else "a number" if number else "a category"
            raise SettingsError(
                f"processing: {name}: column {column!r} is {is_a}",
                code="processing",
                fix=f"{_listed(categories)} are for categories, {', '.join(NUMBER_STEPS)} for numbers; `cast` changes a column's type",
            )
        matches[column] = _with(matches.get(column, NO_STEPS), step)
    return matches


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _kind(column: str, kinds: dict[str, Any], step: str) -> str:
    if column not in kinds:
        raise SettingsError(
            f"processing: {step}: no column named {column!r}",
            code="processing",
            fix=f"columns the models see are {', '.join(kinds)}",
        )
    return str(kinds[column])


def _with(steps: Steps, step: ProcessingStep) -> Steps:
    """With one more step; of two that pool rare categories, or of two steps of numbers of one name, the last one counts."""
    own, number_step = step.column_step, step.number_step
    if own is not None:
        under, into = own.pools()
        learned = type(own).learns is not ColumnStep.learns
        return replace(
            steps,
            merge=(*steps.merge, *own.merges().items()),
            rare_under=under or steps.rare_under,
            rare_into=into if under else steps.rare_into,
            learned=(*steps.learned, own) if learned else steps.learned,
        )
    assert number_step is not None  # noqa: S101 - a step is one of the two
    several = {**dict(steps.numbers), step.name: number_step}
    return replace(steps, numbers=tuple(sorted(several.items(), key=lambda item: item[1].ORDER)))
