"""A project folder from any table, and what a project folder is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dropforge.config import settings
from dropforge.errors import Conflict, PermanentError
from dropforge_cli import settings_writer
from dropforge_cli.commands import cloud
from dropforge_cli.commands.init import project_name
from dropforge_cli.main import app
from dropforge_cli.target import project_root

ROOT = Path(__file__).parents[3]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file with names and values that YAML would read as something else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DROPFORGE_HOME", raising=False)
    file = tmp_path / "My Table (1).csv"
    rows = [f"{i % 7},{['on', 'off', 'NO'][i % 3]},{'0' if i % 3 else '1'}" for i in range(90)]
    file.write_text("\n".join(["a: b,#switch,yes", *rows]) + "\n")
    return file


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_init_writes_settings_that_hold(table: Path) -> None:
    """Commented, valid, with every name as the file has it; the file is accepted under them."""
    result = json.loads(_run("init", table.name, "--json"))
    created = table.parent / "my-table-1" / "settings.yaml"
    parsed = settings.load(created.read_bytes())
    assert (parsed.project, parsed.data.target, parsed.data.positive_class) == ("my-table-1", "yes", "1")
    assert result["trial"] == {"accepted": True, "rows_used": 90, "rows_quarantined": 0, "notes": []}
    assert "# to be predicted" in created.read_text()
    assert (created.parent / ".gitignore").read_text() == ".dropforge/\n"


def test_init_overwrites_nothing_unasked(table: Path) -> None:
    """A folder that is a project already is left alone."""
    _run("init", table.name)
    with pytest.raises(Conflict, match="exists"):
        _run("init", table.name)
    _run("init", table.name, "--force")


def test_a_folder_with_settings_is_a_project(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs nothing else: code and template come from the checkout, state and name are its own."""
    _run("init", table.name, "--dir", "here")
    folder = table.parent / "here"
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    config = cloud.config_of(cloud.CloudOptions())
    assert (config.root, config.home) == (ROOT, folder / ".dropforge")
    assert (config.project, config.settings_file) == ("here", folder / "settings.yaml")
    (config.home).mkdir()
    config.ports_file.write_text('{"port": 4999, "mlflow_port": 5999}')
    assert (cloud.config_of(cloud.CloudOptions()).port, cloud.config_of(cloud.CloudOptions(port=1)).port) == (4999, 1)


def test_outside_a_project_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    """No settings.yaml above."""
    with pytest.raises(PermanentError) as caught:
        project_root(tmp_path)
    assert "dropforge init" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "project"),
    [("titanic.csv", "titanic"), ("2024 Sales!.csv.gz", "t-2024-sales"), ("ÄÖ.csv", "t-data"), ("x" * 40, "x" * 21)],
)
def test_project_names(name: str, project: str) -> None:
    """What settings.yaml and the template accept."""
    assert project_name(Path(name)) == project


@pytest.mark.parametrize(
    "value", ["yes", "NO", "1", "a: b", "#x", 'say "hi"', "ä", "-", "50000+.", "x y", "null", "\t"]
)
def test_texts_survive_yaml(value: str) -> None:
    """What is written is read back as the same text."""
    import yaml

    assert yaml.safe_load(f"[{settings_writer.text(value)}]") == [value]
