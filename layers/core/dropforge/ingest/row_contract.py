"""What settings expect of a file's rows: `data.columns` and `data.rules`, as SQL conditions under which a row violates them.

A rule on one column is judged once for each distinct text of the column (column_scan), one on a row over the typed rows. Both
become expressions for bundles as well, so that a request is held to what the model's data were held to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dropforge import value_formats
from dropforge.config.missing_markers import missing_texts
from dropforge.config.settings import ColumnOverride, DataSettings, RowRuleSettings
from dropforge.datasets.table_schema import Column, Kind, Schema
from dropforge.errors import RejectedUpload, SettingsError
from dropforge.inference.row_rules import Expression, RowRule, RuleColumn, columns_of
from dropforge.ingest import cell_parsing, rule_parser, rule_sql
from dropforge.ingest.column_scan import ColumnScan
from dropforge.ingest.duckdb_connection import name, quote

_TEXTS: frozenset[Kind] = frozenset({"category", "text"})


@dataclass(frozen=True, slots=True)
class RuleResult:
    """How a file's rows of the right form fared under one rule."""

    name: str
    expect: str
    action: str
    columns: tuple[str, ...]
    rows: int
    violations: int
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """A rule of `data.rules`. `code` is what its quarantined rows are counted under."""

    settings: RowRuleSettings
    expression: Expression

    @property
    def code(self) -> str:
        """What its quarantined rows are counted under."""
        return f"rule: {self.settings.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the expression reads, each once."""
        return tuple(dict.fromkeys(c for c, _ in columns_of(self.expression)))

    def condition(self, cells: Mapping[str, str]) -> str:
        """SQL that is true for rows that violate it. `cells`: by column SQL of its typed value."""
        typed = {c: rule_sql.typed(cells[c], kind) for c, kind in columns_of(self.expression)}
        return rule_sql.condition(self.expression, typed)


def parse_rules(connection: Any, data: DataSettings, schema: Schema) -> tuple[ParsedRule, ...]:
    """Raises RejectedUpload for a rule that cannot be read or names a column that the table does not have."""
    kinds = {c.name: c.kind for c in schema.columns}
    parsed = []
    for number, rule in enumerate(data.rules):
        try:
            parsed.append(ParsedRule(rule, rule_parser.parse(connection, rule.expect, kinds)))
        except SettingsError as error:
            raise RejectedUpload(
                f"data.rules.{number} ({rule.name}) in settings.yaml: {error.message}",
                code="rule_invalid",
                fix=f"{error.fix}; try it: dropforge rules test FILE; then apply the settings and upload the file again",
            ) from None
    return tuple(parsed)


def column_rule(column: Column, override: ColumnOverride | None) -> cell_parsing.Rule:
    """What `data.columns` says of a column's values; unknown to it: which values repeat."""
    if override is None:
        return cell_parsing.NO_RULE
    numeric, textual = column.numeric, column.kind in _TEXTS
    return cell_parsing.Rule(
        minimum=override.min if numeric else None,
        maximum=override.max if numeric else None,
        allowed=_allowed(column, override.values if override.values is not None else override.categories),
        pattern=override.pattern if textual else None,
        required=override.not_null or override.role == "identifier",
    )


def is_unique(override: ColumnOverride | None) -> bool:
    """Whether no two rows may have the same value."""
    return override is not None and (override.unique or override.role == "identifier")


def unused(column: Column, override: ColumnOverride | None) -> str:
    """Which keys of `data.columns` mean nothing for a column of its kind; empty when all do."""
    if override is None:
        return ""
    keys = [k for k in ("min", "max") if getattr(override, k) is not None and not column.numeric]
    if override.pattern is not None and column.kind not in _TEXTS:
        keys.append("pattern")
    return ", ".join(keys)


def _allowed(column: Column, values: Sequence[str | float | bool] | None) -> tuple[str | float | bool, ...] | None:
    """The values as the column has them. Raises RejectedUpload for one that no cell of its kind can be."""
    if values is None:
        return None
    return tuple(_as_kind(column, v) for v in values)


def _as_kind(column: Column, value: str | float | bool) -> str | float | bool:
    read: str | float | bool | None = None
    if column.kind in _TEXTS:
        whole = isinstance(value, float) and value.is_integer()
        read = str(value).lower() if isinstance(value, bool) else str(int(value)) if whole else str(value)
    elif column.kind == "datetime":
        read = value_formats.moment(str(value))
    elif column.kind == "boolean":
        read = value_formats.boolean(str(int(value) if isinstance(value, bool | float) else value))
    elif not isinstance(value, bool):
        read = value_formats.number(str(value))
    if read is None:
        raise RejectedUpload(
            f"data.columns.{column.name}.values in settings.yaml: {value!r} is no value of a column that is {column.kind}",
            code="rule_invalid",
            fix="correct it, or declare the column's type; then apply the settings and upload the file again",
        )
    return read


def repeated(
    connection: Any, place: int, column: Column, look: ColumnScan, known: Path | None = None
) -> tuple[str, int]:
    """The table of a unique column's values that several rows have (k), and how many rows have one of them.

    `known`: a Parquet file of these values, where the rows are a part of a table; else they are sought here.
    """
    if not look.rows:
        return "", 0
    table = f"repeated_{place}"
    value = cell_parsing.parsed(0, column.kind)
    often = f"k IN (SELECT k FROM {_values(known)})" if known else "n > 1"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {value} AS k, CAST(sum(c) AS BIGINT) AS n FROM {look.rows} "
        f"WHERE g = {look.group} GROUP BY 1 HAVING k IS NOT NULL AND {often}"
    )
    rows = connection.execute(f"SELECT coalesce(sum(n), 0) FROM {table}").fetchone()[0]
    if not rows:
        return "", 0
    _enumerate(connection, table)
    return table, int(rows)


def _enumerate(connection: Any, table: str) -> None:
    """Make the texts of the table's values known as a type, by which they are looked up without a join."""
    connection.execute(f"DROP TYPE IF EXISTS {table}_texts")
    connection.execute(f"CREATE TYPE {table}_texts AS ENUM (SELECT CAST(k AS VARCHAR) FROM {table})")


def _values(file: Path) -> str:
    return f"read_parquet({quote(str(file))})"


def violations(
    connection: Any, columns: Sequence[tuple[Column, ColumnScan, Mapping[str, str]]]
) -> list[dict[str, int]]:
    """For each column its cells under every condition (by code; of place 0 of cell_parsing's layers), in one pass a group."""
    result: list[dict[str, int]] = [{} for _ in columns]
    by_rows: dict[str, list[int]] = {}
    for place, (_, look, conditions) in enumerate(columns):
        if look.rows and conditions:
            by_rows.setdefault(look.rows, []).append(place)
    for rows, places in by_rows.items():
        keys = [(place, code) for place in places for code in columns[place][2]]
        # CASE keeps a condition to the cells of its own column.
        sums = ", ".join(
            f"sum(CASE WHEN g = {columns[p][1].group} THEN CASE WHEN {columns[p][2][code]} THEN c END END)"
            for p, code in keys
        )
        counts = connection.execute(f"SELECT {sums} FROM {rows}").fetchone()
        for (place, code), count in zip(keys, counts, strict=True):
            result[place][code] = int(count or 0)
    return result


def titles(column: Column, rule: cell_parsing.Rule, override: ColumnOverride | None) -> list[tuple[str, str]]:
    """(what is expected, code of a violation) of every rule of `data.columns` on this column."""
    codes = {
        "min": "below_minimum",
        "max": "above_maximum",
        "values": "not_a_category" if column.kind in _TEXTS else "value_not_allowed",
        "pattern": "pattern_mismatch",
        "not_null": "value_missing",
    }
    listed = [(f"{column.name} {title}", codes[title.partition(":")[0]]) for title in _expected(rule)]
    if is_unique(override):
        listed.append((f"{column.name} unique", "value_repeated"))
    return listed


def share(connection: Any, other: Any, tables: Sequence[str], workdir: Path) -> None:
    """Make the tables of repeated values known to another connection, by a file in `workdir`: NumPy is not everywhere."""
    if other is connection:
        return
    for table in tables:
        file = workdir / f"{table}.parquet"
        connection.execute(f"COPY (SELECT k FROM {table}) TO {quote(str(file))} (FORMAT parquet)")
        other.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT k FROM {_values(file)}")
        file.unlink()
        _enumerate(other, table)


def count(connection: Any, relation: str, rules: Sequence[ParsedRule], schema: Schema) -> list[int]:
    """Violations of each rule in a typed relation."""
    if not rules:
        return []
    cells = {c.name: name(c.name) for c in schema.columns}
    counts = ", ".join(f"count(*) FILTER ({rule.condition(cells)})" for rule in rules)
    return [int(n) for n in connection.execute(f"SELECT {counts} FROM {relation}").fetchone()]


# --- for bundles -------------------------------------------------------------------------------------------------------
def for_bundles(data: DataSettings, schema: Schema, rules: Sequence[ParsedRule]) -> tuple[dict[str, Any], ...]:
    """Every rule as a bundle keeps it (RowRule). Whether a value is unique cannot be told of a request."""
    listed = []
    for column in schema.columns:
        listed += _column_rules(column, data.columns.get(column.name))
    listed += [(r.settings.name, r.settings.action, r.settings.expect, r.expression) for r in rules]
    return tuple(
        asdict(RowRule(title, action, expect, expression, _readers(data, schema, expression)))
        for title, action, expect, expression in listed
    )


def _readers(data: DataSettings, schema: Schema, expression: Expression) -> dict[str, RuleColumn]:
    return {
        column: RuleColumn(kind, missing_texts(data, column), schema.column(column).number_format)
        for column, kind in columns_of(expression)
    }


def _column_rules(column: Column, override: ColumnOverride | None) -> list[tuple[str, str, str, Expression]]:
    cell: Expression = ["column", column.name, rule_parser.TYPES[column.kind]]
    rule = column_rule(column, override)
    return [
        (f"{column.name} {title}"[:200], "quarantine", f"data.columns.{column.name}: {title}"[:400], expression)
        for title, expression in _expected(rule, cell).items()
    ]


def _expected(rule: cell_parsing.Rule, cell: Expression = ("column", "", "text")) -> dict[str, Expression]:
    """What the rule expects of a cell, by its title."""
    expected: dict[str, Expression] = {}
    if rule.minimum is not None:
        expected[f"min: {rule.minimum:g}"] = [">=", cell, ["number", rule.minimum]]
    if rule.maximum is not None:
        expected[f"max: {rule.maximum:g}"] = ["<=", cell, ["number", rule.maximum]]
    if rule.allowed:
        shown = ", ".join(str(v) for v in rule.allowed[:5]) + (", …" if len(rule.allowed) > 5 else "")
        expected[f"values: {shown}"] = ["in", cell, *([cell[2], v] for v in rule.allowed)]
    if rule.pattern is not None:
        expected[f"pattern: {rule.pattern}"] = ["call", "regexp_full_match", cell, ["text", rule.pattern]]
    if rule.required:
        expected["not_null"] = ["not", ["is null", cell]]
    return expected
