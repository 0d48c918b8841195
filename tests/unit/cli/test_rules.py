"""Rules tried on a file and taken over from other tools, with no cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dropforge.config.settings import load
from dropforge.ingest.ingest_file import admit
from dropforge_cli import import_rules
from dropforge_cli.main import app

SETTINGS = """\
project: demo
data:
  target: y
  columns: {age: {min: 0}}
  rules: [{name: order, expect: ends >= starts}, {name: old, expect: age < 90, action: block}]
models: [{name: m, class: a.b:C}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """100 good rows, two that violate a rule, and the settings beside them."""
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    rows = [f"{i % 80},2024-01-01,2024-01-0{1 + i % 9},{i % 2}" for i in range(100)]
    path = tmp_path / "my.csv"
    bad = ["-1,2024-01-01,2024-01-02,1", "5,2024-01-03,2024-01-02,0"]
    path.write_text("\n".join(["age,starts,ends,y", *rows, *bad]) + "\n")
    return path


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["rules", *arguments])


def test_a_file_is_held_to_the_rules_without_a_cloud(file: Path) -> None:
    """Counts of every rule, the lines that violate one, all of them in a file; exit code 0 while an upload would be used."""
    out = file.with_name("bad.csv")
    result = _run("test", str(file), "--settings", str(file.with_name("settings.yaml")), "--out", str(out), "--json")
    output = json.loads(result.stdout)
    assert (result.exit_code, output["rows_used"], output["rows_quarantined"]) == (0, 100, 2)
    assert {r["name"]: r["violations"] for r in output["rules"]} == {"age min: 0": 1, "order": 1, "old": 0}
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == ["line", "102", "103"]


@pytest.mark.parametrize(
    ("row", "reason"), [("95,2024-01-01,2024-01-02,1", "blocked"), ("-5,2024-01-01,2024-01-02,1", "rejected")]
)
def test_a_file_that_an_upload_would_not_use_ends_with_exit_code_1(file: Path, row: str, reason: str) -> None:
    """Too many rows set aside, or a rule that blocks; all violations are counted all the same."""
    file.write_text(file.read_text() + f"{row}\n" * 9)
    result = _run("test", str(file), "--settings", str(file.with_name("settings.yaml")))
    assert result.exit_code == 1
    assert f"would be {reason}" in result.stderr


SUITE = {
    "expectation_suite_name": "s",
    "expectations": [
        {"expectation_type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", "min_value": 0, "max_value": 120}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", "min_value": 18, "mostly": 0.9}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": ["Bern", "O'Fallon"]}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "zip", "regex": "^[0-9]{4}$"}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "code", "regex": "(a+)+"}},
        {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "zip", "value": 4}},
        {
            "type": "expect_column_pair_values_a_to_be_greater_than_b",
            "kwargs": {"column_A": "ends", "column_B": "starts", "or_equal": True},
        },
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "age", "min_value": 1}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "x", "row_condition": "y > 1"}},
    ],
}
PANDERA = """\
schema_type: dataframe
columns:
  id: {dtype: int64, nullable: false, unique: true, checks: null}
  age:
    dtype: float64
    nullable: true
    checks:
      - {value: 0, options: {check_name: greater_than_or_equal_to}}
      - {min_value: 1, max_value: 9, options: {check_name: in_range}}
  city:
    dtype: object
    nullable: true
    checks: {isin: [Bern, Oslo], str_startswith: B, my_own: 3}
  zip: {dtype: string, nullable: true, checks: {str_matches: "[0-9]{4}$", str_length: {min_value: 4, max_value: 4}}}
unique: [id, age]
"""


def test_a_great_expectations_suite_is_taken_over_as_far_as_it_maps(tmp_path: Path) -> None:
    """What is printed is accepted as settings; what has no equal is named."""
    (tmp_path / "suite.json").write_text(json.dumps(SUITE))
    result = _run("import", str(tmp_path / "suite.json"))
    block = yaml.safe_load(result.stdout)["data"]
    assert block["columns"] == {
        "id": {"not_null": True, "unique": True},
        "age": {"min": 0, "max": 120},
        "city": {"values": ["Bern", "O'Fallon"]},
        "zip": {"pattern": "[0-9]{4}"},
    }
    assert [(r["expect"], r.get("tolerance")) for r in block["rules"]] == [
        ('"age" >= 18', 0.1),
        ('length("zip") = 4', None),
        ('"ends" >= "starts"', None),
    ]
    _accepted(block)
    for name in ("column_mean", "'(a+)+'", "row_condition"):
        assert name in result.stderr


def test_a_pandera_schema_is_taken_over_as_far_as_it_maps(tmp_path: Path) -> None:
    """Older files list checks by name, newer ones as a list with options."""
    (tmp_path / "schema.yaml").write_text(PANDERA)
    taken = import_rules.read(tmp_path / "schema.yaml")
    block = yaml.safe_load(import_rules.as_yaml(taken))["data"]
    assert block["columns"] == {
        "id": {"type": "integer", "not_null": True, "unique": True},
        "age": {"type": "number", "min": 1, "max": 9},
        "city": {"values": ["Bern", "Oslo"]},
        "zip": {"pattern": "[0-9]{4}"},
    }
    assert [r["expect"] for r in block["rules"]] == [
        "starts_with(\"city\", 'B')",
        'length("zip") >= 4',
        'length("zip") <= 4',
    ]
    _accepted(block)
    assert any("my_own" in remark for remark in taken.left_out)
    assert any("unique over id, age" in remark for remark in taken.left_out)


def _accepted(block: dict[str, Any]) -> None:
    data = {"target": "y", **block}
    load(json.dumps({"project": "demo", "data": data, "models": [{"name": "m", "class": "a.b:C"}]}))


@pytest.mark.parametrize("body", ["[1, 2]", "{", "a: b", '{"expectations": 3}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, body: str) -> None:
    """With what to export instead."""
    (tmp_path / "x.json").write_text(body)
    result = _run("import", str(tmp_path / "x.json"))
    assert result.exit_code != 0
    assert getattr(result.exception, "code", "") == "no_rules"


_SUITES = Path(__file__).parent / "suites"  # as Pandera and Great Expectations themselves wrote them


def _imported(name: str) -> tuple[import_rules.ImportedRules, Any]:
    taken = import_rules.read(_SUITES / name)
    block = import_rules.as_yaml(taken).replace("data:", "data:\n  target: label", 1)
    models = "models: [{name: forest, class: 'a.b:C'}]\n"
    return taken, load(f"project: demo\n{block}{models}")


def test_every_check_that_pandera_wrote_is_taken_or_named(tmp_path: Path) -> None:
    """Its newer files name checks beside the type, leave out their defaults, and write an own check as nothing."""
    taken, parsed = _imported("pandera-0.35.yaml")
    assert taken.columns["age"] == {"type": "integer", "not_null": True, "min": 0, "max": 120}
    assert "not_null" not in taken.columns["pay"]
    assert "note" not in taken.columns
    assert taken.columns["code"] == {"not_null": True, "unique": True, "pattern": r"[A-Z]{2}\d{3}"}
    assert [w.partition(":")[0] for w in taken.left_out] == [
        "own", "contains", "the schema's index", "the schema is strict", "unique over age, city together"
    ]  # fmt: skip
    good = {
        "age": 7, "pay": 2.5, "city": "Bern", "note": "xy", "when": "2024-01-01", "flag": "true", "eq": 3, "ne": 4,
        "notin": "b", "gt": 2, "lt": 1.5, "own": 1, "cat": "p", "i8": 2, "contains": "abb", "ends": "oz", "warn": 0, "num": 1,
    }  # fmt: skip
    rows = [{**good, "code": f"AB{i:03d}", "label": ("no", "yes")[i % 2]} for i in range(100)]
    bad = ["pay", "when", "notin", "ends", "eq"]
    for i, (column, value) in enumerate(zip(bad, [0, "2019-12-31", "a", "o", 5], strict=True)):
        rows[10 * i][column] = value
    file = tmp_path / "u.csv"
    file.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)]) + "\n")
    result = admit(file, data=parsed.data, reference=None, workdir=tmp_path)
    assert [(r.line, r.column) for r in result.first_rejects] == [(2 + 10 * i, c) for i, c in enumerate(bad)]
    assert {r.name: r.violations for r in result.rules if r.action == "warn"} == {"warn warn": 95}


def test_every_expectation_that_great_expectations_wrote_is_taken_or_named() -> None:
    """With its severities: a warning warns. Nothing of the suite is dropped in silence."""
    taken, parsed = _imported("great_expectations-1.24.json")
    rules = {r.name: (r.expect, r.action, r.tolerance) for r in parsed.data.rules}
    assert rules["mostly pay"] == ('"pay" > 0.0', "warn", 0.05)
    assert rules["warn sev"] == ('"sev" >= 1.0', "warn", 0)
    assert rules["city not in set"] == ("\"city\" NOT IN ('x')", "quarantine", 0)
    assert rules["range of when"][0] == "\"when\" >= '2020-01-01'"
    assert taken.columns["city"] == {"values": ["Bern", "Oslo"]}
    written = json.loads((_SUITES / "great_expectations-1.24.json").read_text())["expectations"]
    mapped = {"age between", "city in_set", "code match_regex", "age not_null", "id unique"}
    assert len(written) == len(mapped) + len(rules) - 2 + len(taken.left_out)  # a length and a range are two rules each
