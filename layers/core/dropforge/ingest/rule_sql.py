"""SQL of a rule's expression: the same value as inference/row_rules.py gives, held by a property test.

Nothing a user wrote stands in it but literals: names are looked up, operators and functions are written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropforge import safe_patterns
from dropforge.inference.row_rules import SPANS, Expression
from dropforge.ingest.duckdb_connection import is_any_of, quote

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FIRST, _LAST = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"  # a zone may move a moment beyond
_PLAIN_FUNCTIONS = {"abs", "floor", "ceil", "starts_with", "ends_with", "contains", "coalesce"}


def condition(expression: Expression, columns: Mapping[str, str]) -> str:
    """SQL that is true for rows that violate the rule, false for all others. `columns`: SQL of each column's value, of its type."""
    return f"coalesce(NOT ({sql(expression, columns)}), false)"


def typed(column: str, rule_type: str) -> str:
    """A column of a typed relation (a snapshot's) as a rule's value."""
    match rule_type:
        case "number":
            return f"CAST({column} AS DOUBLE)"
        case "text":
            return f"CAST({column} AS VARCHAR)"
        case _:
            return column


def sql(expression: Expression, columns: Mapping[str, str]) -> str:  # noqa: PLR0911, PLR0912, C901 - one line an operator
    """The expression's value as SQL; NULL when it is missing."""
    kind, arguments = expression[0], expression[1:]
    match kind:
        case "column":
            return columns[arguments[0]]
        case "number":
            return f"{float(arguments[0])!r}::DOUBLE"
        case "text":
            return quote(arguments[0])
        case "boolean":
            return "true" if arguments[0] else "false"
        case "moment":
            return f"make_timestamp({int(arguments[0])})"
        case "call":
            return _call(arguments[0], arguments[1:], columns)
        case "case":
            return _case(arguments, columns)
    parts = [f"({sql(a, columns)})" for a in arguments]
    match kind:
        case "and" | "or":
            return f" {kind.upper()} ".join(parts)
        case "not":
            return f"NOT {parts[0]}"
        case "is null":
            return f"{parts[0]} IS NULL"
        case "distinct":
            return f"{parts[0]} IS DISTINCT FROM {parts[1]}"
        case "in":
            return is_any_of(parts[0], parts[1:])
        case "negate":
            return f"-{parts[0]}"
        case "/" | "%":
            return _finite(f"{parts[0]} {kind} nullif({parts[1]}, 0.0::DOUBLE)")
        case "+" | "-" | "*":
            return _finite(f"{parts[0]} {kind} {parts[1]}")
        case _:
            return f"{parts[0]} {kind} {parts[1]}"


def _finite(number: str) -> str:
    # A lambda's parameter stands for the number: written twice, a chain of n operators would be 2^n texts long.
    return f"list_transform([{number}], lambda x: CASE WHEN isfinite(x) THEN x END)[1]"


def _case(arguments: Sequence[Any], columns: Mapping[str, str]) -> str:
    branches = " ".join(
        f"WHEN {sql(c, columns)} THEN {sql(v, columns)}"
        for c, v in zip(arguments[:-1:2], arguments[1:-1:2], strict=True)
    )
    otherwise = "NULL" if arguments[-1] is None else sql(arguments[-1], columns)
    return f"CASE {branches} ELSE {otherwise} END"


def _call(name: str, arguments: Sequence[Expression], columns: Mapping[str, str]) -> str:  # noqa: PLR0911 - one line a function
    parts = [sql(a, columns) for a in arguments]
    match name:
        case "length":
            return f"CAST(length({parts[0]}) AS DOUBLE)"
        case "lower":
            return f"translate({parts[0]}, '{_UPPER}', '{_UPPER.lower()}')"
        case "upper":
            return f"translate({parts[0]}, '{_UPPER.lower()}', '{_UPPER}')"
        case "regexp_full_match":
            return matches(parts[0], arguments[1][1])
        case "date_diff":
            span = SPANS[arguments[0][1]]
            first, second = (f"floor(epoch_us({p}) / {span}.0)" for p in parts[1:])
            return f"CAST({second} - {first} AS DOUBLE)"
        case "year" | "month" | "day" | "hour":
            part = f"CASE WHEN m BETWEEN {_FIRST} AND {_LAST} THEN CAST({name}(m) AS DOUBLE) END"
            return f"list_transform([{parts[0]}], lambda m: {part})[1]"
        case _:
            assert name in _PLAIN_FUNCTIONS  # noqa: S101 - the parser lets no other through
            return f"{name}({', '.join(parts)})"


def matches(text: str, pattern: str) -> str:
    """Whether the whole text matches, as safe_patterns.is_full_match has it."""
    return (
        f"CASE WHEN length({text}) <= {safe_patterns.LONGEST} THEN regexp_full_match({text}, {quote(pattern)}) "
        f"WHEN {text} IS NOT NULL THEN false END"
    )
