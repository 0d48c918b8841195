"""Rules on rows as values: what a person expects of every row, and whether a row is so.

A rule is an expression over the row's columns, parsed from SQL where data are admitted (ingest/rule_parser.py) and written
into the bundle, so that /predict holds requests to what the model's data were held to. The functions here evaluate it without
DuckDB; ingest/rule_sql.py makes SQL of the same expression, and a property test holds the two equal. Standard library only.

An expression is a list: an operator and its arguments, which are expressions or literals.

    ["column", name, type] · ["number", 1.5] · ["text", "x"] · ["boolean", true] · ["moment", microseconds]
    ["and" | "or", e, …] · ["not", e] · ["is null", e] · ["=" | "<>" | "<" | "<=" | ">" | ">=" | "distinct", e, e]
    ["in", e, literal, …] · ["+" | "-" | "*" | "/" | "%", e, e] · ["negate", e] · ["case", condition, e, …, else or null]
    ["call", function, e, …]

Types are number (double precision), text, boolean and moment (microseconds since 1970-01-01 UTC). Missing values spread as SQL's
NULL does; a result that is no finite number is missing. A row violates a rule when the expression is false; missing is no violation.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from dropforge import safe_patterns, value_formats

Action = Literal["quarantine", "warn", "block"]
Type = Literal["number", "text", "boolean", "moment"]
Expression = Sequence[Any]
Row = Mapping[str, Any]
Evaluator = Callable[[Row], Any]

# Functions of a rule: types of the arguments, type of the result. any: the type of the first argument.
FUNCTIONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "abs": (("number",), "number"),
    "floor": (("number",), "number"),
    "ceil": (("number",), "number"),
    "length": (("text",), "number"),
    "lower": (("text",), "text"),
    "upper": (("text",), "text"),
    "starts_with": (("text", "text"), "boolean"),
    "ends_with": (("text", "text"), "boolean"),
    "contains": (("text", "text"), "boolean"),
    "regexp_full_match": (("text", "text"), "boolean"),
    "coalesce": (("any", "any"), "any"),
    "year": (("moment",), "number"),
    "month": (("moment",), "number"),
    "day": (("moment",), "number"),
    "hour": (("moment",), "number"),
    "date_diff": (("text", "moment", "moment"), "number"),
}
SPANS: Final = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TO_LOWER, _TO_UPPER = str.maketrans(_UPPER, _UPPER.lower()), str.maketrans(_UPPER.lower(), _UPPER)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RuleColumn:
    """How a value that was sent becomes a rule's value. `type`: of the four types of expressions."""

    type: str
    missing_markers: tuple[str, ...] = ()
    number_format: str = value_formats.PLAIN


@dataclass(frozen=True, slots=True)
class RowRule:
    """What is expected of a row. `expect`: the expression as it was written; `code` groups its violations."""

    name: str
    action: str
    expect: str
    expression: Expression
    columns: dict[str, RuleColumn] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RowRule:
        """A rule of a bundle's manifest."""
        columns = {
            n: RuleColumn(c["type"], tuple(c["missing_markers"]), c["number_format"])
            for n, c in value["columns"].items()
        }
        return cls(value["name"], value["action"], value["expect"], value["expression"], columns)


def columns_of(expression: Expression) -> Iterator[tuple[str, str]]:
    """(name, type) of every column in it, repeats included."""
    if expression[0] == "column":
        yield str(expression[1]), str(expression[2])
        return
    for part in expression[1:]:
        if isinstance(part, list | tuple):
            yield from columns_of(part)


def value_of(column: RuleColumn, sent: Any) -> Any:  # noqa: PLR0911 - one line a type of JSON
    """A rule's value of what a request sends; None when missing or not of the type, which the predictor refuses by itself."""
    if sent is None or sent != sent:  # noqa: PLR0124 - NaN
        return None
    if isinstance(sent, str):
        return _from_text(column, sent.strip(value_formats.BLANKS), comma=isinstance(sent, value_formats.LocalText))
    if not isinstance(sent, bool | int | float):
        return None
    if not isinstance(sent, bool) and _shortest(sent) in column.missing_markers:
        return None
    if column.type == "text":
        return ("true" if sent else "false") if isinstance(sent, bool) else _shortest(sent)
    if column.type == "boolean":
        return bool(sent) if sent in {0, 1} else None
    try:
        number = float(sent)
    except OverflowError:
        return None
    return number if column.type == "number" and math.isfinite(number) else None


def _from_text(column: RuleColumn, text: str, *, comma: bool) -> Any:
    if not text or text in column.missing_markers or text.lower() == "nan":
        return None
    if column.type == "text":
        return text
    if column.type == "boolean":
        return value_formats.boolean(text)
    if column.type == "moment":
        return value_formats.moment(text)
    number = value_formats.number(text, value_formats.format_of(text, column.number_format, comma=comma))
    return number if number is not None and math.isfinite(number) else None


def _shortest(number: float) -> str:
    """7.0 is the 7 of a file of integers."""
    return (
        str(int(number)) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else str(number)
    )


class RuleSet:
    """The rules of one model, ready for records."""

    def __init__(self, rules: Sequence[RowRule]) -> None:
        self._rules = [(rule, evaluator(rule.expression)) for rule in rules]
        self._columns = {name: column for rule in rules for name, column in rule.columns.items()}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def violations(self, records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, RowRule]]:
        """(place of the record, rule) of every rule that a record violates."""
        for place, record in enumerate(records):
            row = {name: value_of(column, record.get(name)) for name, column in self._columns.items()}
            for rule, evaluate in self._rules:
                if evaluate(row) is False:
                    yield place, rule


def evaluator(expression: Expression) -> Evaluator:  # noqa: PLR0911, PLR0912, C901 - one line an operator
    """A function from a row, by column its value or None, to the expression's value or None."""
    kind, arguments = expression[0], expression[1:]
    match kind:
        case "column":
            return operator.itemgetter(arguments[0])
        case "number" | "text" | "boolean" | "moment":
            literal = float(arguments[0]) if kind == "number" else arguments[0]
            return lambda _row: literal
        case "case":
            return _case([evaluator(a) if a is not None else _nothing for a in arguments])
        case "call" if arguments[0] == "coalesce":
            return _coalesce([evaluator(a) for a in arguments[1:]])
        case "call":
            return _spread(_function(arguments[0], arguments[1:]), [evaluator(a) for a in arguments[1:]])
    parts = [evaluator(a) for a in arguments]
    match kind:
        case "and" | "or":
            return _junction(parts, decisive=kind == "or")
        case "is null":
            return lambda row: parts[0](row) is None
        case "distinct":
            return lambda row: parts[0](row) != parts[1](row)
        case "not":
            return _spread(operator.not_, parts)
        case "in":
            return _spread(lambda first, *others: first in others, parts)
        case "negate":
            return _spread(operator.neg, parts)
        case "+" | "-" | "*" | "/" | "%":
            return _spread(_arithmetic(kind), parts)
        case _:
            return _spread(_COMPARISONS[kind], parts)


def _nothing(_row: Row) -> None:
    return None


def _spread(function: Callable[..., Any], parts: Sequence[Evaluator]) -> Evaluator:
    """None as soon as an argument is missing."""

    def evaluate(row: Row) -> Any:
        values = []
        for part in parts:
            value = part(row)
            if value is None:
                return None
            values.append(value)
        return function(*values)

    return evaluate


def _junction(parts: Sequence[Evaluator], *, decisive: bool) -> Evaluator:
    """SQL's AND and OR: one `decisive` part decides, else a missing one makes the whole missing."""

    def evaluate(row: Row) -> bool | None:
        missing = False
        for part in parts:
            value: bool | None = part(row)
            if value is decisive:
                return decisive
            missing = missing or value is None
        return None if missing else not decisive

    return evaluate


def _case(parts: Sequence[Evaluator]) -> Evaluator:
    branches = list(zip(parts[:-1:2], parts[1:-1:2], strict=True))
    otherwise = parts[-1]

    def evaluate(row: Row) -> Any:
        for condition, value in branches:
            if condition(row) is True:
                return value(row)
        return otherwise(row)

    return evaluate


def _coalesce(parts: Sequence[Evaluator]) -> Evaluator:
    return lambda row: next((v for part in parts if (v := part(row)) is not None), None)


def _arithmetic(kind: str) -> Callable[[float, float], float | None]:
    def calculate(first: float, second: float) -> float | None:
        if kind in {"/", "%"} and second == 0:
            return None
        try:
            result = _CALCULATIONS[kind](first, second)
        except OverflowError:
            return None
        return result if math.isfinite(result) else None

    return calculate


_CALCULATIONS: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
}


def _function(name: str, arguments: Sequence[Expression]) -> Callable[..., Any]:  # noqa: PLR0911 - one line a function
    match name:
        case "abs":
            return abs
        case "floor" | "ceil":
            exact = math.floor if name == "floor" else math.ceil
            return lambda number: float(exact(number))
        case "length":
            return lambda text: float(len(text))
        case "lower" | "upper":
            table = _TO_LOWER if name == "lower" else _TO_UPPER
            return lambda text: text.translate(table)
        case "starts_with":
            return str.startswith
        case "ends_with":
            return str.endswith
        case "contains":
            return lambda text, part: part in text
        case "regexp_full_match":
            return lambda text, pattern: safe_patterns.is_full_match(pattern, text)
        case "date_diff":
            span = SPANS[arguments[0][1]]
            return lambda _span, first, second: float(second // span - first // span)
        case _:
            return lambda moment: _calendar(moment, name)


@lru_cache(maxsize=1024)
def _calendar(microseconds: int, part: str) -> float | None:
    try:
        return float(getattr(_EPOCH + timedelta(microseconds=microseconds), part))
    except OverflowError:  # a zone moved it beyond the years 1 to 9999
        return None
