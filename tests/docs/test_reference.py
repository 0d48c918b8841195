"""The documentation says what the code does: generated pages are current, nothing is left out, commands exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from dropforge.api.routes import ACCESS
from dropforge_cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
COMMANDS: Any = typer.main.get_command(app)


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load("make_reference")


@pytest.mark.parametrize("page", sorted(reference.pages()))
def test_the_committed_reference_is_current(page: str) -> None:
    """`make docs` would change nothing."""
    assert (ROOT / "docs" / "reference" / page).read_text() == reference.pages()[page], "run: make docs"


def test_the_picture_is_current() -> None:
    """The committed drawing is what its text gives."""
    drawn = _load("pictures/draw_architecture")
    assert drawn.FILE.read_text() == drawn.draw(), "run: make docs"


def test_every_setting_command_and_option_is_described() -> None:
    """A key of settings.yaml has a remark or a description, a command and an option have help."""
    assert reference.undocumented() == []


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS), ids=str)
def test_every_route_is_in_the_reference(method: str, path: str) -> None:
    """With what it needs."""
    text = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert f"| `{method} {path}` | {ACCESS[method, path]} |" in text


def test_every_command_has_json() -> None:
    """Data for programs, from every command but the demo, serve and relay, which are servers, and event, which has nothing else."""
    without = [n for n, c in reference._commands() if "json" not in {p.name for p in c.params}]
    assert without == ["demo", "serve", "relay", "event"]


def _lines(page: Path) -> list[str]:
    """Commands shown in code blocks, fenced or indented, and in backticks."""
    text = page.read_text()
    shown = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        lines = block.splitlines()
        # Of a recording the commands stand behind the prompt; the rest is what was printed.
        shown += [line for line in lines if line.startswith("$ ")] or lines
    shown += re.findall(r"`(dropforge [^`\n]+)`", text)
    return [m.group(0) for line in shown for m in re.finditer(r"(?<![=\w/.-])dropforge [a-z-]+[^#&|;`]*", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_shown_exist(page: Path) -> None:
    """Every `dropforge …` in the documentation names a command and options that there are."""
    if page.name == "cli.md":
        return  # made from the commands
    for line in _lines(page):
        words = shlex.split(line.replace("…", ""), posix=True)[1:]
        if words[0] in {"--help", "--version", "--install-completion"}:
            continue
        command = COMMANDS.commands.get(words[0])
        assert command is not None, line
        if getattr(command, "commands", None) and len(words) > 1:
            command = command.commands.get(words[1])
            assert command is not None, line
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        assert {w.partition("=")[0] for w in words if w.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files of the repository."""
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_tutorial_is_read_as_it_is_run() -> None:
    """Its commands are found, with the exit codes it promises."""
    result = _load("run_tutorial").commands((ROOT / "docs" / "tutorial.md").read_text())
    assert len(result) > 25
    assert [c for c, code in result if code] == ["dropforge upload ../no-age.csv --watch"]


def test_the_way_to_a_first_prediction_is_measured_as_it_is_told() -> None:
    """The benchmark runs the commands that the README shows for a table of one's own, and the last of them predicts."""
    result = _load("../benchmarks/first_prediction").commands((ROOT / "README.md").read_text())
    own = [c.rpartition("&& ")[2] for c in result]
    assert own[1:] == [
        "dropforge init my.csv",
        "dropforge up",
        "dropforge upload ../my.csv --serve",
        "dropforge predict",
    ]


def test_every_picture_is_shown() -> None:
    """A picture that no page shows is not kept."""
    shown = "".join(page.read_text() for page in PAGES)
    assert [
        p.name
        for p in (ROOT / "docs" / "pictures").iterdir()
        if p.is_file() and p.suffix != ".py" and f"/{p.name})" not in shown
    ] == []
