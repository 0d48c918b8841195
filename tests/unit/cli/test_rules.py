"""Rules tried on a file and taken over from other tools, with no cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dropforge.config.settings import load
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
    told = json.loads(result.stdout)
    assert (result.exit_code, told["rows_used"], told["rows_quarantined"]) == (0, 100, 2)
    assert {r["name"]: r["violations"] for r in told["rules"]} == {"age min: 0": 1, "order": 1, "old": 0}
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == ["line", "102", "103"]


@pytest.mark.parametrize(
    ("row", "why"), [("95,2024-01-01,2024-01-02,1", "blocked"), ("-5,2024-01-01,2024-01-02,1", "rejected")]
)
def test_a_file_that_an_upload_would_not_use_ends_with_exit_code_1(file: Path, row: str, why: str) -> None:
    """Too many rows set aside, or a rule that blocks; all violations are counted all the same."""
    file.write_text(file.read_text() + f"{row}\n" * 9)
    result = _run("test", str(file), "--settings", str(file.with_name("settings.yaml")))
    assert result.exit_code == 1
    assert f"would be {why}" in result.stderr


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
    assert any("my_own" in said for said in taken.left_out)
    assert any("unique over id, age" in said for said in taken.left_out)


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
