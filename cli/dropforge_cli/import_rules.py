"""Rules of other tools as data.columns and data.rules: Great Expectations suites (JSON) and Pandera schemas (YAML).

Read from the files' own forms, without either tool. What has no equal is listed, never dropped in silence.
Forms: Great Expectations 0.15 to 1.x (`expectations` with `expectation_type` or `type`), Pandera's `to_yaml` (schema_type, columns,
checks).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from dropforge import safe_patterns
from dropforge.errors import InvalidRequest
from dropforge_cli.settings_writer import text

_LARGEST: Final = 10_000_000  # bytes
_PANDERA_KEYS: Final = {  # of a column; every other key is a check
    *("dtype", "nullable", "unique", "required", "regex", "coerce", "checks", "parsers", "title", "description"),
    *("default", "metadata", "report_duplicates", "drop_invalid_rows", "name"),
}
_TYPES: Final = {"int": "integer", "float": "number", "bool": "boolean", "datetime": "datetime"}


@dataclass(slots=True)
class ImportedRules:
    """`columns` and `rules` as settings.yaml has them; `left_out`: sentences about what has no equal."""

    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def of(self, column: str) -> dict[str, Any]:
        """The rules of this column, to be added to."""
        return self.columns.setdefault(column, {})


def read(file: Path) -> ImportedRules:
    """Raises InvalidRequest for a file that is neither."""
    if file.stat().st_size > _LARGEST:
        raise InvalidRequest(f"{file.name} has more than {_LARGEST:,} bytes", code="no_rules", fix="export one suite")
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8-sig"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file.name}: {error}", code="no_rules", fix="give JSON or YAML in UTF-8") from None
    if isinstance(value, Mapping) and isinstance(value.get("expectations"), list):
        return _great_expectations(value["expectations"])
    if isinstance(value, Mapping) and isinstance(value.get("columns"), Mapping):
        return _pandera(value)
    raise InvalidRequest(
        f"{file.name} is neither a Great Expectations suite nor a Pandera schema",
        code="no_rules",
        fix="export the suite as JSON (an object with `expectations`), or schema.to_yaml() of Pandera",
    )


def as_yaml(imported: ImportedRules) -> str:
    """A `data:` block to paste."""
    lines = ["data:", "  columns:" if imported.columns else "  columns: {}"]
    lines += [f"    {text(c)}: {_flow(keys)}" for c, keys in imported.columns.items() if keys]
    if imported.rules:
        lines += ["  rules:", *(f"    - {_flow(rule)}" for rule in imported.rules)]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    return text(value) if isinstance(value, str) else json.dumps(value)


def _pattern(imported: ImportedRules, column: str, pattern: str, *, whole: bool, what: str) -> None:
    """A pattern of Python's re; a search becomes a match of the whole text."""
    starts, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    inner = pattern[int(starts) : len(pattern) - int(ends)]
    inner = f"({inner})" if "|" in inner else inner
    if not whole:
        inner = f"{'' if starts else '.*'}{inner}{'' if ends else '.*'}"
    try:
        safe_patterns.check(inner)
    except ValueError as error:
        imported.left_out.append(f"{column}: {what} {pattern!r}: {error}")
        return
    imported.of(column)["pattern"] = inner


# --- Great Expectations ------------------------------------------------------------------------------------------------
def _great_expectations(expectations: list[Any]) -> ImportedRules:
    imported = ImportedRules()
    for expectation in expectations:
        if not isinstance(expectation, Mapping):
            continue
        kind = str(expectation.get("expectation_type") or expectation.get("type") or "")
        arguments = expectation.get("kwargs") or {}
        if expectation.get("severity") in {"warning", "info"}:
            arguments = {"mostly": 1.0, **arguments, "severity": expectation["severity"]}
        _expectation(imported, kind, arguments)
    return imported


def _expectation(imported: ImportedRules, kind: str, a: Mapping[str, Any]) -> None:  # noqa: C901, PLR0912 - one case an expectation
    column, what = str(a.get("column", "")), f"{a.get('column', '')} {kind.removeprefix('expect_')}".strip()
    if a.get("row_condition") or a.get("condition_parser"):
        imported.left_out.append(f"{what}: it has a row_condition; write it as a rule with CASE or OR")
        return
    if float(a.get("mostly") or 1.0) < 1.0 or a.get("severity"):
        _mostly(imported, kind, column, a, what)
        return
    match kind:
        case "expect_column_values_to_not_be_null":
            imported.of(column)["not_null"] = True
        case "expect_column_values_to_be_unique":
            imported.of(column)["unique"] = True
        case "expect_column_values_to_be_in_set":
            imported.of(column)["values"] = list(a.get("value_set") or [])
        case "expect_column_values_to_not_be_in_set":
            for expect in _excluded(column, a):
                imported.rules.append({"name": _free(imported, f"{column} not in set"), "expect": expect})
        case "expect_column_values_to_be_between":
            _between(imported, column, a, what)
        case "expect_column_values_to_match_regex":
            _pattern(imported, column, str(a.get("regex", "")), whole=False, what="regex")
        case "expect_column_value_lengths_to_be_between" | "expect_column_value_lengths_to_equal":
            for condition in _lengths(column, a):
                imported.rules.append({"name": _free(imported, f"length of {column}"), "expect": condition})
        case (
            "expect_column_pair_values_a_to_be_greater_than_b_to_be_greater_than_b"
            | "expect_column_pair_values_a_to_be_greater_than_b"
        ):
            sign = ">=" if a.get("or_equal") else ">"
            first, second = str(a.get("column_A", "")), str(a.get("column_B", ""))
            expect = f"{_name(first)} {sign} {_name(second)}"
            imported.rules.append(
                {"name": _free(imported, f"{first} {'from' if sign == '>=' else 'above'} {second}"), "expect": expect}
            )
        case "expect_column_pair_values_to_be_equal":
            first, second = str(a.get("column_A", "")), str(a.get("column_B", ""))
            imported.rules.append(
                {"name": _free(imported, f"{first} equals {second}"), "expect": f"{_name(first)} = {_name(second)}"}
            )
        case "expect_column_to_exist":
            imported.left_out.append(f"{what}: a missing column is a finding (column_removed) without a rule")
        case _:
            imported.left_out.append(f"{what}: no equal; a condition on one row can be a rule, one on the table cannot")


def _mostly(imported: ImportedRules, kind: str, column: str, a: Mapping[str, Any], what: str) -> None:
    """A share of rows that need not comply, or no more than a warning: a rule that warns beyond it."""
    conditions = {
        "expect_column_values_to_not_be_null": lambda: [f"{_name(column)} IS NOT NULL"],
        "expect_column_values_to_be_in_set": lambda: [
            f"{_name(column)} IN ({', '.join(_literal(v) for v in a.get('value_set') or [])})"
        ],
        "expect_column_values_to_not_be_in_set": lambda: list(_excluded(column, a)),
        "expect_column_values_to_be_between": lambda: list(_range(_name(column), a)),
        "expect_column_value_lengths_to_be_between": lambda: list(_lengths(column, a)),
    }
    limits = conditions.get(kind, list)()
    if not limits:
        how = f"severity {a['severity']}" if a.get("severity") else f"mostly {a['mostly']}"
        imported.left_out.append(f"{what}: with {how}; no equal")
    for expect in limits:
        tolerance = round(1 - float(a["mostly"]), 6)
        name = _free(imported, f"{'mostly' if tolerance else 'warn'} {column}")
        imported.rules.append({"name": name, "expect": expect, "action": "warn", "tolerance": tolerance})


def _between(imported: ImportedRules, column: str, a: Mapping[str, Any], what: str) -> None:
    low, high = a.get("min_value"), a.get("max_value")
    plain = all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in (low, high))
    if not plain or a.get("strict_min") or a.get("strict_max"):
        limits = list(_range(_name(column), a))
        for expect in limits:
            imported.rules.append({"name": _free(imported, f"range of {column}"), "expect": expect})
        if not limits:
            imported.left_out.append(f"{what}: it has no limit")
        return
    imported.of(column).update({k: v for k, v in (("min", low), ("max", high)) if v is not None})


def _range(cell: str, a: Mapping[str, Any]) -> Iterator[str]:
    low, high = a.get("min_value"), a.get("max_value")
    if low is not None:
        yield f"{cell} {'>' if a.get('strict_min') else '>='} {_literal(low)}"
    if high is not None:
        yield f"{cell} {'<' if a.get('strict_max') else '<='} {_literal(high)}"


def _excluded(column: str, a: Mapping[str, Any]) -> Iterator[str]:
    if listed := a.get("value_set"):
        yield f"{_name(column)} NOT IN ({', '.join(_literal(v) for v in listed)})"


def _lengths(column: str, a: Mapping[str, Any]) -> Iterator[str]:
    if a.get("value") is not None:
        yield f"length({_name(column)}) = {_literal(a['value'])}"
    yield from _range(f"length({_name(column)})", a)


# --- Pandera -----------------------------------------------------------------------------------------------------------
def _pandera(schema: Mapping[str, Any]) -> ImportedRules:
    imported = ImportedRules()
    for column, described in schema["columns"].items():
        if isinstance(described, Mapping):
            _pandera_column(imported, str(column), described)
    for key in ("checks", "index", "dtype"):
        if schema.get(key):
            imported.left_out.append(f"the schema's {key}: no equal")
    if schema.get("strict"):
        imported.left_out.append("the schema is strict: an unknown column is a finding (column_added) without a rule")
    unique = schema.get("unique") or []
    if len(unique) == 1:
        imported.of(str(unique[0]))["unique"] = True
    elif unique:
        imported.left_out.append(
            f"unique over {', '.join(map(str, unique))} together: no equal; of one column: unique: true"
        )
    return imported


def _pandera_column(imported: ImportedRules, column: str, described: Mapping[str, Any]) -> None:
    keys = imported.of(column)
    dtype = str(described.get("dtype") or "")
    kind = next((k for prefix, k in _TYPES.items() if dtype.lower().startswith(prefix)), "")
    if kind:
        keys["type"] = kind
    # Files leave out what is Pandera's default: a column has a value in every row, and must be there.
    if not described.get("nullable", False):
        if described.get("required", True):
            keys["not_null"] = True
        else:
            imported.left_out.append(f"{column}: a value in every row where the column is there at all; no equal")
    if described.get("unique"):
        keys["unique"] = True
    if described.get("regex"):
        imported.left_out.append(f"{column}: its name is a pattern of names; no equal")
    if "checks" in described and described["checks"] is None:
        imported.left_out.append(f"{column}: a check of your own, which Pandera did not write into the file")
    checks = described.get("checks") or {k: v for k, v in described.items() if k not in _PANDERA_KEYS}
    listed = checks.items() if isinstance(checks, Mapping) else (_named(c) for c in checks if isinstance(c, Mapping))
    for name, argument in listed:
        if isinstance(argument, Mapping) and argument.get("raise_warning"):
            _pandera_warning(imported, column, str(name), {k: v for k, v in argument.items() if k != "raise_warning"})
        else:
            _pandera_check(imported, column, str(name), argument)
    if not keys:
        del imported.columns[column]


def _named(check: Mapping[str, Any]) -> tuple[str, Any]:
    """Newer files: a list of {value or named arguments, options: {check_name}}."""
    options = check.get("options") or {}
    rest = {k: v for k, v in check.items() if k != "options"}
    return str(options.get("check_name", "")), rest.get("value", rest) if set(rest) == {"value"} else rest


_SIGNS = {
    "greater_than": ">",
    "gt": ">",
    "less_than": "<",
    "lt": "<",
    "equal_to": "=",
    "not_equal_to": "<>",
    "greater_than_or_equal_to": ">=",
    "less_than_or_equal_to": "<=",
}


def _pandera_check(imported: ImportedRules, column: str, name: str, argument: Any) -> None:
    keys = imported.of(column)
    value = argument.get("value", argument) if isinstance(argument, Mapping) and "value" in argument else argument
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match name:
        case "greater_than_or_equal_to" | "ge" if number:
            keys["min"] = value
        case "less_than_or_equal_to" | "le" if number:
            keys["max"] = value
        case _ if name in _SIGNS:
            expect = f"{_name(column)} {_SIGNS[name]} {_literal(value)}"
            imported.rules.append({"name": _free(imported, f"{column} {name.replace('_', ' ')}"), "expect": expect})
        case "in_range" if isinstance(argument, Mapping):
            limits = {
                "min_value": argument.get("min_value"),
                "max_value": argument.get("max_value"),
                "strict_min": argument.get("include_min") is False,
                "strict_max": argument.get("include_max") is False,
            }
            _between(imported, column, limits, f"{column} in_range")
        case "isin":
            keys["values"] = list(value.get("allowed_values") or []) if isinstance(value, Mapping) else list(value)
        case "str_matches" | "str_contains":
            pattern = str(value.get("pattern", "")) if isinstance(value, Mapping) else str(value)
            starts = pattern if name == "str_contains" else f"^{pattern.removeprefix('^')}"
            _pattern(imported, column, starts, whole=False, what=name)
        case "str_startswith" | "str_endswith":
            part = str(next(iter(value.values()), "")) if isinstance(value, Mapping) else str(value)
            function = "starts_with" if name == "str_startswith" else "ends_with"
            imported.rules.append(
                {
                    "name": _free(imported, f"{column} {function}"),
                    "expect": f"{function}({_name(column)}, {_literal(part)})",
                }
            )
        case "str_length" if isinstance(argument, Mapping):
            for expect in _lengths(column, argument):
                imported.rules.append({"name": _free(imported, f"length of {column}"), "expect": expect})
        case "notin":
            listed = value.get("forbidden_values") if isinstance(value, Mapping) else value
            for expect in _excluded(column, {"value_set": listed}):
                imported.rules.append({"name": _free(imported, f"{column} not in set"), "expect": expect})
        case _:
            imported.left_out.append(f"{column}: the check {name}: no equal")


def _pandera_warning(imported: ImportedRules, column: str, name: str, argument: Mapping[str, Any]) -> None:
    """A check that warns: rules that warn, where it has such."""
    only = next(iter(argument.values())) if len(argument) == 1 else argument
    tried = ImportedRules()
    _pandera_check(tried, column, name, only)
    limits = tried.columns.get(column, {})
    conditions = [r["expect"] for r in tried.rules]
    conditions += _range(_name(column), {"min_value": limits.get("min"), "max_value": limits.get("max")})
    if not conditions:
        imported.left_out.append(f"{column}: the check {name} that warns: no equal")
    for expect in conditions:
        imported.rules.append({"name": _free(imported, f"warn {column}"), "expect": expect, "action": "warn"})


# --- SQL ---------------------------------------------------------------------------------------------------------------
def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value!r}" if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


def _free(imported: ImportedRules, wanted: str) -> str:
    """A rule's name that no other has, of the letters that names may have."""
    name = "".join(c if c.isalnum() or c in " _.-" else "_" for c in wanted).strip(" _.-")[:50] or "rule"
    name = name if name[0].isascii() and name[0].isalnum() else f"r {name}"
    names = {r["name"] for r in imported.rules}
    number, free = 2, name
    while free in names:
        free, number = f"{name} {number}", number + 1
    return free
