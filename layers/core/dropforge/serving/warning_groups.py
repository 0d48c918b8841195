"""Warnings of a request, one for each kind and column: a thousand rows with eighty missing values are eighty lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

MOST_GROUPS: Final = 1000
_SHOWN: Final = 200  # characters of a message or of a column's name, which a caller may make as long as a request


def grouped(warnings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first warning of each code and field with `rows`, the number of rows it holds for; `row` is the first of them.

    At most MOST_GROUPS, in the order in which they came; those beyond are counted in one last entry, `more_warnings`.
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    left_out = 0
    for warning in warnings:
        group = groups.get((warning["code"], warning["field"]))
        if group is not None:
            group["rows"] += 1
        elif len(groups) < MOST_GROUPS:
            group = {**warning, "field": _short(warning["field"]), "message": _short(warning["message"])}
            groups[warning["code"], warning["field"]] = group | ({"rows": 1} if "row" in warning else {})
        else:
            left_out += 1
    listed = list(groups.values())
    if left_out:
        listed.append({"code": "more_warnings", "field": "", "message": f"{left_out:,} more warnings of other columns"})
    return listed


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
