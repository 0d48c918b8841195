"""Rules a person writes: parsed, evaluated over files and over single rows alike, violations quarantined or counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dropforge import safe_patterns, value_formats
from dropforge.config.settings import load
from dropforge.datasets.table_schema import Kind, Schema
from dropforge.errors import RejectedUpload, SettingsError
from dropforge.inference.row_rules import RowRule, RuleSet, evaluator
from dropforge.ingest import quarantine, rule_parser, rule_sql
from dropforge.ingest.ingest_file import ReadingOptions, admit
from dropforge_local.memory import MemoryStore

from ...conftest import repeats

KINDS: dict[str, Kind] = {
    "a": "number",
    "b": "integer",
    "s": "category",
    "A text": "text",
    "d": "datetime",
    "e": "datetime",
    "f": "boolean",
}
CONDITIONS = [
    "e >= d",
    "a > b",
    "a <> b OR s = 'x'",
    "NOT (a >= 1 AND b < 2)",
    "a BETWEEN -1 AND b",
    "a NOT BETWEEN 0 AND 2",
    "s IN ('x', 'Zürich', '')",
    "b NOT IN (1, 2.5)",
    "s IS NULL OR f",
    "f IS NOT NULL AND NOT f",
    "f = (a > 0)",
    "a / b > 1",
    "a % b = 1",
    "-a * b + 3 - a / (b - 1) >= 2",
    "abs(a) + floor(b / 2) - ceil(a) < 4",
    "length(s) < 3",
    "lower(s) = 'x'",
    'upper("A text") <> s',
    "starts_with(s, 'Z') OR ends_with(s, 'x') OR contains(\"a TEXT\", 'ü')",
    "regexp_full_match(s, '[A-Za-z]{1,3}|Z.*')",
    "regexp_full_match(\"A text\", '\\d+-?\\w*')",
    "coalesce(a, b, 0) > 0",
    "coalesce(s, \"A text\") = 'x'",
    "CASE WHEN a > 1 THEN b WHEN f THEN 5 ELSE NULL END > 2",
    "CASE WHEN s = 'x' THEN a > 0 ELSE true END",
    "date_diff('day', d, e) <= 2",
    "date_diff('hour', e, d) > -30 AND date_diff('minute', d, e) <> 0",
    "d > '2024-02-29' AND e <= DATE '2024-12-31'",
    "d = TIMESTAMP '2024-03-01 12:00:00'",
    "year(d) = 2024 AND month(e) < 7 AND day(d) <> 31 AND hour(e) < 20",
    "a IS DISTINCT FROM b",
    's IS NOT DISTINCT FROM "A text"',
    "s > 'Y' AND \"A text\" <= s",
]
_NUMBERS = st.none() | st.integers(-3, 3).map(float) | st.floats(-1e38, 1e38, allow_nan=False) | st.just(-0.0)
_TEXTS = (
    st.none() | st.sampled_from(["x", "X", "Zürich", "zz", "12-a", "ü", "𝒳x", "a\nb"]) | st.text("xZü1-", max_size=4)
)
_MOMENTS = st.none() | st.sampled_from(
    ["2024-02-29", "2024-03-01 12:00:00", "2024-03-01T23:59:59.999999", "1969-12-31 23:00", "0001-01-01", "9999-12-31"]
).map(value_formats.moment)
_ROWS = st.fixed_dictionaries(
    {
        "a": _NUMBERS,
        "b": st.none() | st.integers(-3, 3).map(float),
        "s": _TEXTS,
        "A text": _TEXTS,
        "d": _MOMENTS,
        "e": _MOMENTS,
        "f": st.none() | st.booleans(),
    }
)
_SQL_TYPES = {"number": "DOUBLE", "text": "VARCHAR", "boolean": "BOOLEAN", "moment": "TIMESTAMP"}


@pytest.fixture(scope="module")
def db() -> Any:
    return duckdb.connect()


# --- one meaning -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("condition", CONDITIONS)
def test_sql_and_python_give_one_value(db: Any, condition: str) -> None:
    """True, false or missing, for every row."""
    expression = json.loads(json.dumps(rule_parser.parse(db, condition, KINDS)))  # as a bundle keeps it
    cells = {
        c: f"CAST(v[{k}] AS {_SQL_TYPES[rule_parser.TYPES[kind]]})"
        if rule_parser.TYPES[kind] != "moment"
        else f"make_timestamp(CAST(v[{k}] AS BIGINT))"
        for k, (c, kind) in enumerate(KINDS.items(), 1)
    }
    sql = f"SELECT {rule_sql.sql(expression, cells)} FROM (SELECT ? AS v)"
    evaluate = evaluator(expression)

    @hypothesis_settings(max_examples=30, deadline=None)
    @given(_ROWS)
    def holds(row: dict[str, Any]) -> None:
        values = [row[c] for c in KINDS]
        texts = [None if v is None else repr(v) if isinstance(v, float) else str(v) for v in values]
        assert db.execute(sql, [texts]).fetchone()[0] == evaluate(row)

    holds()


@pytest.mark.parametrize(
    "text",
    [
        "(SELECT 1) = 1",
        "EXISTS (FROM t)",
        "a IN (SELECT 1)",
        "read_csv('x') > 1",
        "getenv('HOME') = 'x'",
        "now() > d",
        "random() > 0.5",
        "count(*) > 1",
        "sum(a) OVER () > 1",
        "a > 1) FROM t WHERE (b > 1",
        "a = 1), (b = 2",
        "a; DROP TABLE t",
        "$1 = 2",
        "? = 2",
        "t.a = 1",
        "columns(*) > 1",
        "zz > 1",
        "a = 'x'",
        "s = 1",
        "d - e > 3",
        "d > 'soon'",
        "a",
        "",
        "a = NULL",
        "a > 1e400",
        "s LIKE 'x%'",
        "CAST(a AS INTEGER) = 1",
        "a COLLATE nocase > 1",
        "regexp_full_match(s, '(a+)+')",
        'regexp_full_match(s, "A text")',
        "date_diff('fortnight', d, e) > 1",
        "x -> 3",
        "a[1] = 1",
        "length(s, s) = 1",
        "list_contains([1], a)",
        "NOT " * 60 + "f",
        "a > 1 OR " * 300 + "a > 1",
    ],
)
def test_what_is_no_condition_on_the_row_is_refused(db: Any, text: str) -> None:
    """With a message that quotes it and a way to write it; nothing of it is run."""
    with pytest.raises(SettingsError) as caught:
        rule_parser.parse(db, text, KINDS)
    assert caught.value.code == "rule_invalid"
    assert "docs/how-to/rules.md" in str(caught.value.fix)


# --- patterns --------------------------------------------------------------------------------------------------------------
@hypothesis_settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            "[A-Z]{2}-\\d{4}",
            "\\w+@\\w+\\.[a-z]{2,3}",
            ".*x.*",
            "(ab|a)b?",
            "[^0-9]+",
            "\\D*",
            "a|b|",
            "(\\d{1,3}\\.){3}\\d{1,3}",
            "é?",
            "\\.",
        ]
    ),
    st.text("ab@.x1éA-Z٣\n 9", max_size=12) | st.sampled_from(["AB-1234", "a@b.de", "1.2.3.4", "x" * 1001]),
)
def test_a_pattern_matches_alike_everywhere(pattern: str, text: str) -> None:
    """Python's engine, DuckDB's, and what makes it safe for a text of any length."""
    safe_patterns.check(pattern)
    sql = f"SELECT {rule_sql.matches('t', pattern)} FROM (SELECT ? AS t)"
    assert duckdb.execute(sql, [text]).fetchall()[0][0] == safe_patterns.is_full_match(pattern, text)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a|a)*b",
        "(.*)*x",
        "a*a*a*b",
        "(a?){30}",
        "(?i)x",
        "^x$",
        "(?=x)",
        "(x)\\1",
        "\\bx",
        "[",
        "\\s",
        "x{,3}",
        "[[:alpha:]]",
        "a++",
        "(?>a)",
        "x{2000}",
        "\\Z",
    ],
)
def test_a_pattern_that_could_be_slow_or_ambiguous_is_refused(pattern: str) -> None:
    """When the settings are read, with what to write instead."""
    with pytest.raises(SettingsError) as caught:
        load(json.dumps(_settings(columns={"city": {"pattern": pattern}})))
    assert "data.columns.city.pattern" in str(caught.value)


def _settings(**data: Any) -> dict[str, Any]:
    return {"project": "demo", "data": {"target": "label", **data}, "models": [{"name": "m", "class": "a.b:C"}]}


# --- files -----------------------------------------------------------------------------------------------------------------
def test_rows_that_violate_a_rule_are_quarantined(admitted: Any, lines: list[str], reference: Schema) -> None:
    """With line, rule and values; every other row is used, in the first file and in later ones."""
    rules = [{"name": "adults join late", "expect": "age >= 18 OR joined < '2024-01-01'"}]
    body = [*lines, "17,Oslo,true,2024-01-01,yes", "17,Oslo,true,2023-12-31,yes", ",Oslo,true,2024-01-01,yes"]
    for known in (None, reference):
        admission = admitted(body, known, rules=rules)
        assert (admission.rows_in, admission.rows_used) == (203, 202)
        reject = admission.first_rejects[0]
        assert (reject.line, reject.code, reject.column) == (202, "rule: adults join late", "age, joined")
        assert "age >= 18" in reject.reason
        assert "'17'" in reject.reason
        assert [(r.rows, r.violations) for r in admission.rules] == [(203, 1)]


def test_a_corrected_row_is_held_to_the_rules_again(admitted: Any, lines: list[str], tmp_path: Path) -> None:
    """Correct and resubmit: the row passes once it is right, and is quarantined again while it is not."""
    rules = [{"name": "adult", "expect": "age >= 18"}]
    first = admitted([*lines, "7,Oslo,true,2024-01-01,yes"], rules=rules)
    store = MemoryStore()
    quarantine.write(store, "data", "u1", first)
    aside = quarantine.read(store, "data", "u1")
    for text, used in (("70,Oslo,true,2024-01-01,yes", 1), ("8,Oslo,true,2024-01-01,yes", 0)):
        body = quarantine.corrected(aside, {202: text})
        file = tmp_path / f"{used}.csv"
        file.write_bytes(body + b"50,Oslo,true,2024-01-01,no\n")
        data = load(json.dumps(_settings(rules=rules))).data
        again = admit(file, data=data, reference=first.schema, workdir=tmp_path, options=ReadingOptions(partial=True))
        assert again.rows_used == 1 + used


@pytest.mark.parametrize(
    ("rule", "cell", "code"),
    [
        ({"not_null": True}, "", "value_missing"),
        ({"not_null": True}, "?", "value_missing"),
        ({"pattern": "[A-Z][a-z]+"}, "oslo", "pattern_mismatch"),
        ({"values": ["Bern", "Oslo", "Rome"]}, "Paris", "not_a_category"),
        ({"categories": ["Bern", "Oslo", "Rome"]}, "Paris", "not_a_category"),
    ],
)
def test_a_rule_on_a_column_quarantines_its_rows(
    admitted: Any, lines: list[str], rule: dict[str, Any], cell: str, code: str
) -> None:
    """And its pass rate counts them."""
    admission = admitted([*lines, f"30,{cell},true,2024-01-01,yes"], columns={"city": rule})
    assert [(r.line, r.column, r.code) for r in admission.first_rejects] == [(202, "city", code)]
    assert [(r.name.split(" ")[0], r.rows, r.violations) for r in admission.rules] == [("city", 201, 1)]


@pytest.mark.parametrize(
    ("values", "bad"), [([1, 2.5], "3"), (["1", "2.5"], "3"), ([1.0, 2.5], "2")], ids=["numbers", "texts", "other"]
)
def test_values_are_of_the_columns_kind(admitted: Any, lines: list[str], values: list[Any], bad: str) -> None:
    """Numbers are compared as numbers, however they are written."""
    body = [f"{lines[0]},pay", *(f"{row},{('1', '2.50')[i % 2]}" for i, row in enumerate(lines[1:]))]
    admission = admitted([*body, f"30,Oslo,true,2024-01-01,yes,{bad}"], columns={"pay": {"values": values}})
    assert [(r.line, r.code) for r in admission.first_rejects] == [(202, "value_not_allowed")]
    with pytest.raises(RejectedUpload) as caught:
        admitted(body, columns={"pay": {"values": ["cheap"]}})
    assert caught.value.code == "rule_invalid"


def test_values_that_shall_be_unique_are_all_quarantined(admitted: Any, lines: list[str]) -> None:
    """Which of them is right nobody knows; 7 and 7.0 are one number. An identifier is no feature."""
    body = [f"id,{lines[0]}", *(f"{i},{row}" for i, row in enumerate(lines[1:]))]
    body += ["7.0,30,Oslo,true,2024-01-01,yes", ",30,Oslo,true,2024-01-01,yes"]
    admission = admitted(body, columns={"id": {"role": "identifier"}})
    assert [(r.line, r.code) for r in admission.first_rejects] == [
        (9, "value_repeated"),
        (202, "value_repeated"),
        (203, "value_missing"),
    ]
    data = load(json.dumps(_settings(columns={"id": {"role": "identifier"}, "city": {"role": "sensitive"}}))).data
    assert (data.ignore, data.sensitive) == (("id",), ("city",))


def test_rules_that_only_watch_let_every_row_in(admitted: Any, lines: list[str]) -> None:
    """warn and block count violations; what they do is the report's verdict."""
    rules = [
        {"name": "w", "expect": "age > 30", "action": "warn", "tolerance": 0.5},
        {"name": "b", "expect": "city <> 'Oslo'", "action": "block"},
    ]
    admission = admitted(lines, rules=rules)
    ages = [int(row.split(",")[0]) for row in lines[1:]]
    assert admission.rows_used == 200
    assert [r.violations for r in admission.rules] == [sum(a <= 30 for a in ages), sum(",Oslo," in r for r in lines)]


def test_a_rule_that_cannot_be_read_rejects_the_file_with_its_key(admitted: Any, lines: list[str]) -> None:
    """Nothing is accepted under a rule that was not evaluated."""
    with pytest.raises(RejectedUpload) as caught:
        admitted(lines, rules=[{"name": "typo", "expect": "agee > 3"}])
    assert caught.value.code == "rule_invalid"
    assert "data.rules.0 (typo)" in caught.value.message
    assert "'agee'" in caught.value.message


def test_a_required_column_that_is_absent_rejects_the_file(admitted: Any, lines: list[str], reference: Schema) -> None:
    """Every row would violate the rule."""
    without = [",".join(c for i, c in enumerate(row.split(",")) if i != 1) for row in lines]
    with pytest.raises(RejectedUpload) as caught:
        admitted(without, reference, columns={"city": {"not_null": True}})
    assert caught.value.code == "column_required"


@pytest.mark.parametrize(
    "data",
    [
        {"columns": {"age": {"min": 3, "max": 2}}},
        {"columns": {"city": {"values": ["a"], "categories": ["a"]}}},
        {"rules": [{"name": "x", "expect": "a > 1"}, {"name": "x", "expect": "a > 2"}]},
        {"rules": [{"name": "x", "expect": "a > 1", "tolerance": 0.1}]},
        {"rules": [{"name": "x", "expect": ""}]},
        {"rules": [{"name": "", "expect": "a > 1"}]},
    ],
)
def test_a_rule_that_means_nothing_is_a_mistake_of_the_settings(data: dict[str, Any]) -> None:
    """Told with its key when they are read."""
    with pytest.raises(SettingsError):
        load(json.dumps(_settings(**data)))


# --- files and requests ----------------------------------------------------------------------------------------------------
_CELLS = st.sampled_from(["", "?", "nan", "5", "5.0", "-1", "99", " 42 ", "1e3", "007x", "abc", "ABC", "x" * 1001])


@pytest.mark.repeated
@hypothesis_settings(max_examples=repeats(8, 25), deadline=None)
@given(
    st.lists(
        st.tuples(_CELLS, st.sampled_from(["2024-01-01", "2023-05-05 10:00 PM", "", "2024-12-31T10:00:00+02:00"])),
        min_size=1,
        max_size=8,
    )
)
def test_a_request_violates_what_its_row_in_a_file_would(tmp_path_factory: Any, cells: list[tuple[str, str]]) -> None:
    """By the rules as a bundle keeps them: of a column of texts, one of dates, and of the row."""
    data = load(
        json.dumps(
            _settings(
                missing_markers=["?"],
                columns={
                    "s": {
                        "type": "category",
                        "not_null": True,
                        "pattern": "[A-Za-z0-9.]+",
                        "values": ["5", "abc", "42", "5.0", "1e3"],
                    },
                    "when": {"type": "datetime", "not_null": True},
                },
                rules=[{"name": "late", "expect": "\"when\" >= '2024-01-01' OR s = 'abc'"}],
                limits={"max_quarantined_share": 1.0},
            )
        )
    ).data
    folder = tmp_path_factory.mktemp("rules")
    fine = [f"5,2024-05-0{1 + i % 9},{i % 2}" for i in range(20)]
    body = ["s,when,label", *fine, *(f"{s},{when},{i % 2}" for i, (s, when) in enumerate(cells))]
    (folder / "f.csv").write_text("\n".join(body) + "\n")
    admission = admit(folder / "f.csv", data=data, reference=None, workdir=folder)
    aside = {r.line - 22 for r in admission.first_rejects}
    rules = RuleSet([RowRule.from_json(json.loads(json.dumps(r))) for r in admission.bundle_rules])
    records = [{"s": s, "when": when} for s, when in cells]
    assert {place for place, _ in rules.violations(records)} == aside
