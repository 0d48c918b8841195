"""`dropforge analyze`: two files and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dropforge.errors import InvalidRequest
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
