"""The SQL text of a rule to an expression (inference/row_rules.py): DuckDB parses it, a list of what is allowed decides.

DuckDB's parser is the one that reads the same text elsewhere, and it is there already. Only its tree is looked at; the text is
never run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dropforge import safe_patterns, value_formats
from dropforge.datasets.table_schema import Kind
from dropforge.errors import SettingsError
from dropforge.inference.row_rules import FUNCTIONS, SPANS, Expression

LONGEST: Final = 2000  # characters of an expression
_DEEPEST: Final = 40
_BEFORE = "SELECT ("
TYPES: Final[dict[Kind, str]] = {
    "integer": "number",
    "number": "number",
    "category": "text",
    "text": "text",
    "boolean": "boolean",
    "datetime": "moment",
}
_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "distinct",
}
_SAME_NAMES = {
    "ceiling": "ceil",
    "len": "length",
    "prefix": "starts_with",
    "suffix": "ends_with",
    "datediff": "date_diff",
}
_SHOWN_TYPES = {"number": "a number", "text": "text", "boolean": "true or false", "moment": "a date"}
_EXPECTED_KEYS = ("where_clause", "group_expressions", "group_sets", "having", "sample", "qualify", "modifiers")


class _Mistake(Exception):
    """`place`: characters before it in the rule's text; -1 where it has none."""

    def __init__(self, message: str, place: int = -1) -> None:
        super().__init__(message)
        self.place = place


def parse(connection: Any, text: str, kinds: Mapping[str, Kind]) -> Expression:
    """The expression, which is a condition. `kinds`: of the columns it may name.

    Raises SettingsError, which says what is not accepted, where, and what to write instead.
    """
    try:
        expression, result = _Reader(kinds).read(_tree(connection, text), 0)
        if result != "boolean":
            raise _Mistake(f"the rule is {_SHOWN_TYPES[result]}, not a condition that is true or false")
    except _Mistake as error:
        where = f" (at {text[error.place : error.place + 30]!r})" if 0 <= error.place < len(text) else ""
        raise SettingsError(
            f"{text!r}: {error}{where}",
            code="rule_invalid",
            fix="write a condition on the row's columns, such as ends >= starts or status IN ('open', 'done'); "
            'names with spaces and words of SQL such as "order" in double quotes, texts in single quotes; '
            "docs/how-to/rules.md lists what is accepted",
        ) from None
    return expression


def _tree(connection: Any, text: str) -> Mapping[str, Any]:
    """DuckDB's tree of the one expression."""
    if len(text) > LONGEST:
        raise _Mistake(f"more than {LONGEST:,} characters")
    # A comment could hide the bracket that closes.
    raw = connection.execute("SELECT json_serialize_sql(?)", [f"{_BEFORE}{text}\n)"]).fetchone()[0]
    tree = json.loads(raw)
    if tree.get("error"):
        place = int(tree.get("position") or -1)
        raise _Mistake(str(tree.get("error_message", "cannot be read")), place - len(_BEFORE) if place >= 0 else -1)
    node = tree["statements"][0]["node"]
    plain = node.get("type") == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY"
    if len(tree["statements"]) != 1 or not plain or any(node.get(k) for k in _EXPECTED_KEYS):
        raise _Mistake("more than one condition")
    if len(node["select_list"]) != 1:
        raise _Mistake("more than one condition; join them with AND")
    selected: Mapping[str, Any] = node["select_list"][0]
    return selected


class _Reader:
    """From DuckDB's nodes to expressions with their types."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds

    def read(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        if depth > _DEEPEST:
            raise _Mistake(f"more than {_DEEPEST} levels of brackets")
        readers = {
            "COLUMN_REF": self._column,
            "CONSTANT": self._constant,
            "COMPARISON": self._comparison,
            "CONJUNCTION": self._conjunction,
            "OPERATOR": self._operator,
            "BETWEEN": self._between,
            "FUNCTION": self._function,
            "CASE": self._case,
            "CAST": self._cast,
        }
        reader = readers.get(str(node["class"]))
        if reader is None:
            raise _Mistake(f"{str(node['class']).lower().replace('_', ' ')} is not accepted", _place(node))
        return reader(node, depth + 1)

    def _column(self, node: Mapping[str, Any], _depth: int) -> tuple[Expression, str]:
        names = node["column_names"]
        if len(names) != 1:
            raise _Mistake(f"{'.'.join(names)} has a point: write a name with one in double quotes", _place(node))
        name = str(names[0])
        column = next((c for c in (name, *self._kinds) if c in self._kinds and c.lower() == name.lower()), None)
        if column is None:
            shown = ", ".join(list(self._kinds)[:12])
            raise _Mistake(f"there is no column {name!r}; columns are {shown}", _place(node))
        kind = TYPES[self._kinds[column]]
        return ["column", column, kind], kind

    def _constant(self, node: Mapping[str, Any], _depth: int) -> tuple[Expression, str]:
        literal = node["literal"]
        kind, text = str(literal["kind"]), literal.get("text")
        if kind == "STRING":
            return ["text", str(text)], "text"
        if kind == "BOOLEAN":
            return ["boolean", str(text).lower() == "true"], "boolean"
        if kind in {"INTEGER", "NUMERIC"}:
            number = float(str(text))
            if math.isfinite(number):
                return ["number", number], "number"
        raise _Mistake("write IS NULL instead" if _is_null(node) else f"{text} is no number", _place(node))

    def _comparison(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        name = str(node["type"])
        if name == "COMPARE_NOT_DISTINCT_FROM":
            return ["not", self._compared("distinct", node["left"], node["right"], depth)], "boolean"
        return self._compared(_COMPARISONS[name], node["left"], node["right"], depth), "boolean"

    def _compared(self, name: str, left: Mapping[str, Any], right: Mapping[str, Any], depth: int) -> Expression:
        (first, kind), (second, other) = self.read(left, depth), self.read(right, depth)
        first, second = self._alike(first, kind, second, other, left)
        return [name, first, second]

    def _alike(
        self, first: Expression, kind: str, second: Expression, other: str, node: Mapping[str, Any]
    ) -> tuple[Expression, Expression]:
        """Both of one type: a text beside a date is read as one."""
        if kind == other:
            return first, second
        if kind == "moment" and second[0] == "text":
            return first, self._moment(second[1], node)
        if other == "moment" and first[0] == "text":
            return self._moment(first[1], node), second
        message = f"{_SHOWN_TYPES[kind]} is compared with {_SHOWN_TYPES[other]}"
        numbers = {kind, other} == {"number", "text"}
        raise _Mistake(message + ("; a category is text: write '1', not 1" if numbers else ""), _place(node))

    def _moment(self, text: str, node: Mapping[str, Any]) -> Expression:
        moment = value_formats.moment(text)
        if moment is None:
            raise _Mistake(f"{text!r} is no date; write 2024-12-31", _place(node))
        return ["moment", moment]

    def _conjunction(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        parts = [self._condition(c, depth) for c in node["children"]]
        return ["and" if node["type"] == "CONJUNCTION_AND" else "or", *parts], "boolean"

    def _condition(self, node: Mapping[str, Any], depth: int) -> Expression:
        expression, kind = self.read(node, depth)
        if kind != "boolean":
            raise _Mistake(f"{_SHOWN_TYPES[kind]} stands where a condition is needed", _place(node))
        return expression

    def _operator(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        name, children = str(node["type"]), node["children"]
        match name:
            case "OPERATOR_NOT":
                return ["not", self._condition(children[0], depth)], "boolean"
            case "OPERATOR_IS_NULL":
                return ["is null", self.read(children[0], depth)[0]], "boolean"
            case "OPERATOR_IS_NOT_NULL":
                return ["not", ["is null", self.read(children[0], depth)[0]]], "boolean"
            case "COMPARE_IN" | "COMPARE_NOT_IN":
                listed = self._listed(children, depth)
                return (listed if name == "COMPARE_IN" else ["not", listed]), "boolean"
            case "OPERATOR_COALESCE":
                return self._call("coalesce", children, node, depth)
        raise _Mistake(f"{name.removeprefix('OPERATOR_').lower().replace('_', ' ')} is not accepted", _place(node))

    def _listed(self, children: Sequence[Mapping[str, Any]], depth: int) -> Expression:
        first, kind = self.read(children[0], depth)
        listed = []
        for child in children[1:]:
            value, other = self.read(child, depth)
            if value[0] not in {"number", "text", "boolean", "moment"}:
                raise _Mistake("IN takes plain values only", _place(child))
            listed.append(self._alike(first, kind, value, other, child)[1])
        return ["in", first, *listed]

    def _between(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        low = self._compared(">=", node["input"], node["lower"], depth)
        return ["and", low, self._compared("<=", node["input"], node["upper"], depth)], "boolean"

    def _case(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        parts: list[Any] = []
        kinds: list[str] = []
        for check in node["case_checks"]:
            value, kind = self.read(check["then_expr"], depth)
            parts += [self._condition(check["when_expr"], depth), value]
            kinds.append(kind)
        otherwise = node["else_expr"]
        if _is_null(otherwise):
            parts.append(None)
        else:
            value, kind = self.read(otherwise, depth)
            parts.append(value)
            kinds.append(kind)
        if len(set(kinds)) > 1:
            raise _Mistake("CASE gives values of several types", _place(node))
        return ["case", *parts], kinds[0]

    def _cast(self, node: Mapping[str, Any], _depth: int) -> tuple[Expression, str]:
        child, wanted = node["child"], str(node["type_expr"].get("type_name", "")).upper()
        if child["class"] == "CONSTANT" and child["literal"]["kind"] == "STRING" and wanted in {"DATE", "TIMESTAMP"}:
            return self._moment(str(child["literal"]["text"]), node), "moment"
        raise _Mistake("casts are not accepted: declare the column's type in data.columns", _place(node))

    def _function(self, node: Mapping[str, Any], depth: int) -> tuple[Expression, str]:
        name = str(node["function_name"]).lower()
        arguments = [a["expression"] for a in node["arguments"]]
        odd = node.get("filter") or node.get("distinct") or node["order_bys"].get("orders") or node.get("schema")
        if odd or any(a["name"] for a in node["arguments"]):
            raise _Mistake(f"{name} is written with more than its arguments", _place(node))
        if name in {"+", "-", "*", "/", "%"}:
            return self._calculated(name, arguments, node, depth)
        return self._call(_SAME_NAMES.get(name, name), arguments, node, depth)

    def _calculated(
        self, name: str, arguments: Sequence[Mapping[str, Any]], node: Mapping[str, Any], depth: int
    ) -> tuple[Expression, str]:
        read = [self.read(a, depth) for a in arguments]
        if any(kind != "number" for _, kind in read):
            dates = {kind for _, kind in read} == {"moment"}
            hint = "; for dates write date_diff('day', starts, ends)" if dates else ""
            raise _Mistake(f"{name} is for numbers{hint}", _place(node))
        if len(read) == 1:
            return (["negate", read[0][0]] if name == "-" else read[0][0]), "number"
        return [name, *(e for e, _ in read)], "number"

    def _call(
        self, name: str, arguments: Sequence[Mapping[str, Any]], node: Mapping[str, Any], depth: int
    ) -> tuple[Expression, str]:
        if name not in FUNCTIONS:
            raise _Mistake(f"the function {name} is not accepted; there are {', '.join(FUNCTIONS)}", _place(node))
        wanted, result = FUNCTIONS[name]
        if len(arguments) != len(wanted) and not (name == "coalesce" and len(arguments) > 1):
            raise _Mistake(f"{name} takes {len(wanted)} argument{'s' if len(wanted) > 1 else ''}", _place(node))
        read = [self.read(a, depth) for a in arguments]
        first = read[0][1]
        expected = [first] * len(read) if name == "coalesce" else wanted
        for k, ((_, kind), needed) in enumerate(zip(read, expected, strict=True), 1):
            if kind != needed:
                raise _Mistake(
                    f"argument {k} of {name} is {_SHOWN_TYPES[kind]}; it takes {_SHOWN_TYPES[needed]}", _place(node)
                )
        self._check_literals(name, [e for e, _ in read], node)
        return ["call", name, *(e for e, _ in read)], first if result == "any" else result

    def _check_literals(self, name: str, read: Sequence[Expression], node: Mapping[str, Any]) -> None:
        if name == "date_diff" and (read[0][0] != "text" or read[0][1] not in SPANS):
            raise _Mistake(f"date_diff takes one of {', '.join(SPANS)}", _place(node))
        if name != "regexp_full_match":
            return
        if read[1][0] != "text":
            raise _Mistake("the pattern must be written out", _place(node))
        try:
            safe_patterns.check(str(read[1][1]))
        except ValueError as error:
            raise _Mistake(str(error), _place(node)) from None


def _is_null(node: Mapping[str, Any]) -> bool:
    return node["class"] == "CONSTANT" and not node["literal"].get("text") and node["literal"]["kind"] != "STRING"


def _place(node: Mapping[str, Any]) -> int:
    """Characters of the rule's text before the node."""
    at = int(node.get("query_location", -1))
    return at - len(_BEFORE) if 0 <= at < 2**31 else -1
