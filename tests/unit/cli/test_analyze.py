"""`dropforge analyze`: two files and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dropforge.errors import InvalidRequest
from dropforge_cli.commands.analyze import sparkline
from dropforge_cli.main import app

ROWS = [f"{n},{'red' if n % 3 else 'blue'},{'yes' if n % 2 else 'no'}" for n in range(400)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside every project, with two files of one table."""
    monkeypatch.chdir(tmp_path)
    for name in ("reference.csv", "new.csv"):
        (tmp_path / name).write_text("\n".join(["amount,colour,answer", *ROWS]) + "\n")
    return tmp_path


def test_outside_a_project_the_settings_are_inferred(files: Path) -> None:
    """The report is written, and the target that was inferred is said."""
    result = CliRunner().invoke(app, ["analyze", "reference.csv", "new.csv"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "target answer" in result.stderr
    assert "<html" in (files / "report.html").read_text()


def test_a_target_may_be_given(files: Path) -> None:
    """--target decides, with no settings file."""
    result = CliRunner().invoke(
        app, ["analyze", "reference.csv", "new.csv", "--target", "colour"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "target colour" in result.stderr


def test_a_settings_file_and_a_target_contradict_each_other(files: Path) -> None:
    """Which of the two holds is not guessed."""
    (files / "s.yaml").write_text("project: x\n")
    with pytest.raises(InvalidRequest, match="contradict"):
        CliRunner().invoke(
            app,
            ["analyze", "reference.csv", "new.csv", "--settings", "s.yaml", "--target", "colour"],
            catch_exceptions=False,
        )


def test_a_verdict_may_fail_a_pipeline(files: Path) -> None:
    """--fail-on warn: 1 for a drifted file, 0 for the same one; without it the verdict is no error."""
    for name, more in (("reference.csv", 0), ("new.csv", 0), ("drifted.csv", 30)):
        rows = (f"{n * 7 % 100 + more},{row.split(',', 1)[1]}" for n, row in enumerate(ROWS))
        (files / name).write_text("\n".join(["amount,colour,answer", *rows]) + "\n")
    runner, arguments = CliRunner(), ["analyze", "reference.csv", "drifted.csv", "--target", "answer"]
    assert runner.invoke(app, arguments).exit_code == 0
    result = runner.invoke(app, [*arguments, "--fail-on", "warn"])
    assert result.exit_code == 1
    assert runner.invoke(app, [*arguments, "--fail-on", "block"]).exit_code == 0
    arguments[2] = "new.csv"
    assert runner.invoke(app, [*arguments, "--fail-on", "warn"]).exit_code == 0
    assert re.search(r"^  amount +[ ▁▂▃▄▅▆▇█]+ → [ ▁▂▃▄▅▆▇█]+  drift", result.stdout, re.MULTILINE)
    assert "400 used, 0 quarantined" in result.stdout


def test_large_files_are_compared_by_shards(files: Path) -> None:
    """Beyond `data.limits.shard_bytes` the report is the one of the whole files, a small file beside a large one included."""
    (files / "new.csv").write_text("\n".join(["amount,colour,answer", *ROWS[:90], "x,red,yes"]) + "\n")
    documents = []
    for limits in ("", ", limits: {shard_bytes: 2000}"):
        (files / "s.yaml").write_text(
            f"project: demo\ndata: {{target: answer{limits}}}\nmodels: [{{name: m, class: a.b:C}}]\n"
        )
        result = CliRunner().invoke(
            app, ["analyze", "reference.csv", "new.csv", "--settings", "s.yaml", "--json"], catch_exceptions=False
        )
        documents.append({k: v for k, v in json.loads(result.stdout).items() if k != "provenance"})
    assert [k for k in documents[0] if documents[0][k] != documents[1][k]] == []
    assert documents[0]["shared_with_reference"] == 1.0


def test_a_project_of_another_table_is_not_asked(files: Path) -> None:
    """Its target is no column of the reference file: settings are inferred, and that is said."""
    (files / "settings.yaml").write_text(
        "project: other\ndata:\n  target: income\nmodels: [{name: m, class: dropforge_training.models.xgboost:XGBoost}]\n"
    )
    result = CliRunner().invoke(app, ["analyze", "reference.csv", "new.csv"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "the project's settings are for another table" in result.stderr
    assert "target answer" in result.stderr


def test_a_sparkline_shows_every_share_above_zero() -> None:
    assert sparkline((0.0, 0.001, 0.5, 1.0), 1.0) == " ▁▄█"
