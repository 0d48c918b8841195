"""Rules that a table's own values suggest, with the fraction of rows that each would quarantine: to be switched on by a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dropforge.datasets.table_schema import Kind
from dropforge.ingest.duckdb_connection import quote
from dropforge_cli.settings_writer import text

MOST: Final = 40
_KEEPS: Final = 0.99  # a rule that would quarantine more rows than the rest is no rule of this table
_FEW: Final = 12  # values that are worth listing
_FEWEST: Final = 50  # rows of the table, below which nothing is a rule


@dataclass(frozen=True, slots=True)
class Column:
    """What is known of one; `value`: SQL of its cell in the layered rows, of its kind, NULL when missing."""

    name: str
    kind: Kind
    use: str
    distinct: int
    missing: int
    low: float | None
    common: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """`line`: as settings.yaml has it, below data.columns (a key) or data.rules (a list item); `set_aside`: fraction of rows."""

    column: str
    line: str
    set_aside: float


def propose(db: Any, rows: str, columns: Sequence[Column], count: int) -> tuple[Proposal, ...]:
    """At most MOST, those on columns first. `rows`: SQL of the layered rows, `count` of them."""
    if count < _FEWEST:
        return ()
    listed = [p for c in columns if c.use != "target" for p in _of_column(db, rows, c, count)]
    dates = [c for c in columns if c.kind == "datetime" and c.use != "target"][:8]
    return tuple([*listed, *_orders(db, rows, dates, count)][:MOST])


def _of_column(db: Any, rows: str, c: Column, count: int) -> list[Proposal]:
    keys = []
    aside = 0.0
    if c.distinct == count and not c.missing and c.use == "ignored":
        return [Proposal(c.name, f"{text(c.name)}: {{role: identifier}}", 0.0)]
    if not c.missing:
        keys.append("not_null: true")
    if c.kind in {"integer", "number"} and c.low is not None and c.low >= 0:
        keys.append("min: 0")
    if c.kind == "category" and 2 <= c.distinct <= min(_FEW, len(c.common)):
        keys.append(f"values: [{', '.join(text(v) for v in sorted(c.common))}]")
    elif c.kind in {"category", "text"} and (pattern := _shape(c.common)):
        matched = db.execute(
            f"SELECT count(*) FILTER (regexp_full_match({c.value}, {quote(pattern)})), count({c.value}) FROM {rows}"
        ).fetchone()
        aside = (int(matched[1]) - int(matched[0])) / count
        if 1 - aside >= _KEEPS:
            keys.append(f"pattern: {text(pattern)}")
        else:
            aside = 0.0
    return [Proposal(c.name, f"{text(c.name)}: {{{', '.join(keys)}}}", aside)] if keys else []


def _shape(values: Sequence[str]) -> str:
    """The one form of the most frequent texts, such as [A-Z]{2}-[0-9]{4}; empty when they have several, or no digit."""
    alike: dict[str, list[str]] = {}
    for value in values[:200]:
        form = re.sub(r"[0-9]+", "0", re.sub(r"[A-Z]+", "A", re.sub(r"[a-z]+", "a", value)))
        alike.setdefault(form, []).append(value)
    shape, same = max(alike.items(), key=lambda item: len(item[1]), default=("", []))
    if len(values) < _FEW or len(same) < 0.9 * min(len(values), 200):
        return ""
    if "0" not in shape or not shape.isascii() or len(shape) > 20:
        return ""
    groups = [re.findall(r"[A-Z]+|[a-z]+|[0-9]+|[^A-Za-z0-9]", v) for v in same]
    parts = []
    for run in zip(*groups, strict=True):
        lengths = [len(r) for r in run]
        kind = (
            "[A-Z]"
            if run[0][0].isupper()
            else "[a-z]"
            if run[0][0].islower()
            else "[0-9]"
            if run[0][0].isdigit()
            else ""
        )
        low, high = min(lengths), max(lengths)
        parts.append(
            f"{kind}{{{low}}}" if kind and low == high else f"{kind}{{{low},{high}}}" if kind else re.escape(run[0])
        )
    return "".join(parts)


def _orders(db: Any, rows: str, dates: Sequence[Column], count: int) -> list[Proposal]:
    """Which date never comes before which."""
    pairs = [(a, b) for k, a in enumerate(dates) for b in dates[k + 1 :]]
    if not pairs:
        return []
    counts = ", ".join(
        f"count(*) FILTER ({b.value} < {a.value}), count(*) FILTER ({a.value} < {b.value})" for a, b in pairs
    )
    row = db.execute(f"SELECT {counts} FROM {rows}").fetchone()
    proposals = []
    for (a, b), before, after in zip(pairs, row[::2], row[1::2], strict=True):
        first, last, wrong, right = (a, b, before, after) if before <= after else (b, a, after, before)
        if wrong <= (1 - _KEEPS) * count < right:
            expect = f'"{last.name}" >= "{first.name}"'.replace("\n", " ")
            name = (
                re.sub(r"[^A-Za-z0-9 _.-]", "_", f"{last.name} from {first.name}")[:50].strip(" _.-")
                or "order of dates"
            )
            line = f"{{name: {text(name)}, expect: {text(expect)}}}"
            proposals.append(Proposal("", line, int(wrong) / count))
    return proposals
