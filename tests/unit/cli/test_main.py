"""What every command has in common: where data and errors go, exit codes, and that a user's text is only text."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from dropforge_cli import commands, main

from ...command_server import CommandServer

DROPFORGE = Path(sys.executable).parent / "dropforge"
HOSTILE = "[bold]a[/bold][/red]\x1b.csv"
Run = Callable[..., subprocess.CompletedProcess[str]]


def _environment(cwd: Path, **env: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(cwd), **env}


@pytest.fixture
def run(commands: CommandServer, tmp_path: Path) -> Run:
    """Runs a command in the test's folder, with an environment of its own."""
    return lambda *arguments, **env: commands.run(tmp_path, [*arguments], _environment(tmp_path, **env))


def test_an_error_is_told_in_words_with_its_fix(tmp_path: Path) -> None:
    """Of the program as it is installed: on stderr, exit code 2, nothing on stdout, no traceback."""
    done = subprocess.run(
        [DROPFORGE, "uploads"], cwd=tmp_path, capture_output=True, text=True, check=False, env=_environment(tmp_path)
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "\nfix: " in done.stderr
    assert "dropforge init" in done.stderr
    assert "Traceback" not in done.stderr


def test_up_outside_a_project_starts_nothing_and_says_so(run: Run) -> None:
    """The error is the first line: nothing claims to start before it is known what."""
    done = run("up")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_an_error_is_json_when_asked(run: Run) -> None:
    """One document on stdout with code, message and fix."""
    result = json.loads(run("status", "--json").stdout)
    assert (result["code"], set(result)) == ("no_project", {"code", "message", "fix"})


@pytest.mark.parametrize(
    "colour",
    [
        {"NO_COLOR": "1", "FORCE_COLOR": "1"},
        pytest.param({}, marks=pytest.mark.campaign),
        pytest.param({"FORCE_COLOR": "1"}, marks=pytest.mark.campaign),
    ],
)
def test_square_brackets_are_text(run: Run, tmp_path: Path, colour: dict[str, str]) -> None:
    """A file's name and a cell are shown as they are, with colours or without."""
    file = tmp_path / HOSTILE.replace("\x1b", "").replace("/", "_")
    file.write_text("[red]x,y\n" + "".join(f"{i % 7},{'[/]' if i % 2 else '[b]'}\n" for i in range(60)))
    done = run("init", file.name, "--dir", "p", **colour)
    assert done.returncode == 0, done.stderr
    assert "[red]x" in done.stdout
    assert "[/]" in done.stderr
    assert "[bold]a[_bold]" in done.stderr
    wrong = run("init", file.name, "--dir", "q", "--target", "[/nope]", **colour)
    assert wrong.returncode == 2
    assert "'[/nope]'" in wrong.stderr
    if "NO_COLOR" in colour:
        assert "\x1b[3" not in done.stderr + done.stdout


def test_tables_are_plain_lines_in_a_pipe(run: Run, tmp_path: Path) -> None:
    """Tab-separated, header first, one line a row."""
    file = tmp_path / "t.csv"
    file.write_text("x,y\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(60)))
    lines = run("init", "t.csv").stdout.splitlines()
    assert lines[0].split("\t") == ["column", "read as", "use", "missing", "reason"]
    assert {len(line.split("\t")) for line in lines} == {5}


def test_help_is_a_tour(run: Run) -> None:
    """First what to type for one's own table, then the commands in the order they are needed; completion is offered."""
    text = run("--help").stdout
    wanted = [
        "dropforge init my.csv",
        "dropforge up",
        "--serve",
        "Start here",
        "Local cloud",
        "Data",
        "Models",
        "Operations",
    ]
    places = [text.index(w) for w in wanted]
    assert places == sorted(places)
    assert "--install-completion" in text
    assert "Exit codes" in text


def test_settings_outside_a_project_and_wrong_ones(run: Run, tmp_path: Path) -> None:
    """What is missing, or which line is wrong."""
    assert "dropforge init" in run("settings", "check").stderr
    (tmp_path / "settings.yaml").write_text(
        "project: p\ndata: {target: y, tarnish: 1}\nmodels: [{name: m, class: a:B}]\n"
    )
    done = run("settings", "check")
    assert done.returncode == 2
    assert "settings.yaml:2" in done.stderr


def test_a_cloud_that_does_not_answer_is_worth_another_try(run: Run, tmp_path: Path) -> None:
    """Exit code 3, and the next command, when the outputs name a system that is gone."""
    (tmp_path / "settings.yaml").write_text("project: p\n")
    (tmp_path / ".dropforge").mkdir()
    closed = "http://127.0.0.1:9"
    outputs = dict.fromkeys(
        ("ArtifactBucket", "StateMachineArn", "TrainingQueueUrl", "ApiKey", "AccessKeyId", "SecretAccessKey"), "x"
    )
    (tmp_path / ".dropforge" / "outputs.json").write_text(
        json.dumps(
            {
                **outputs,
                "DataBucket": "b",
                "ApiUrl": closed,
                "MlflowUrl": closed,
                "EndpointUrl": closed,
                "Region": "us-east-1",
            }
        )
    )
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    for command in (["uploads"], ["upload", "f.csv"]):
        done = run(*command)
        assert done.returncode == 3, done.stderr
        assert "dropforge" in done.stderr.partition("fix:")[2]


def _registered(application: typer.Typer) -> list[str]:
    group: Any = typer.main.get_command(application)
    return list(group.commands)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(commands.__path__)])
def test_each_command_is_found_in_its_module(module: str) -> None:
    """A command line imports the module that COMMANDS names for its command: what the module registers, no more and no less."""
    alone = typer.Typer()
    alone.callback()(main.root)
    importlib.import_module(f"dropforge_cli.commands.{module}").register(alone)
    assert set(main.COMMANDS[module]) == set(_registered(alone))


def test_a_command_line_imports_its_own_command_alone() -> None:
    """Modules of other commands take longer than many a command."""
    code = "import sys; from dropforge_cli.main import application; application('cost'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {m for m in done.stdout.split() if m.startswith("dropforge_cli.commands.")}
    assert loaded == {"dropforge_cli.commands.cost"}


def test_help_and_slips_of_the_pen_know_every_command(run: Run) -> None:
    """Without a command, or with one that does not exist, all are listed or searched for the nearest."""
    every = [name for names in main.COMMANDS.values() for name in names]
    assert len(every) == len(set(every))
    assert set(_registered(main.application())) == set(_registered(main.application("analyse"))) == set(every)
    slip = run("analyse", "a.csv", "b.csv")
    assert slip.returncode == 2
    assert "analyze" in slip.stderr
