"""Every command that a page of the documentation names exists, with the options it is named with, and has a help text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from dropforge_cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GENERATED = {"cli.md"}  # docs/reference/cli.md is written from the commands themselves
CODE = re.compile(r"```[a-z]*\n(.*?)```|(?:^|\n)((?: {4}[^\n]*\n)+)|`([^`\n]+)`", re.DOTALL)
COMMAND: Any = typer.main.get_command(app)


def _calls(page: Path) -> list[list[str]]:
    """The words after `dropforge` in code of the page, up to the end of the command; targets of make, paths and comments left out."""
    calls = []
    for blocks in CODE.findall(page.read_text(encoding="utf-8")):
        for line in "".join(blocks).splitlines():
            matches = re.finditer(r"(?:^|[\s$(])(?:\.venv/bin/)?dropforge ((?:[a-z-][^|;&#)`]*)?)", line)
            calls.extend(match.group(1).split() for match in matches)
    return [c for c in calls if c and re.fullmatch(r"-{0,2}[a-z][a-z-]*", c[0])]


def _resolved(words: list[str]) -> tuple[list[str], Any, list[str]]:
    """The command's names, the command, and the words after them."""
    command, names = COMMAND, list[str]()
    while len(names) < len(words) and words[len(names)] in getattr(command, "commands", {}):
        names.append(words[len(names)])
        command = command.commands[names[-1]]
    return names, command, words[len(names) :]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in GENERATED], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_the_page_exist(page: Path) -> None:
    """No page names a command or an option that was renamed or removed."""
    wrong = []
    for words in _calls(page):
        names, command, rest = _resolved(words)
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h", "--version"}
        unknown = [
            w for w in (r.split("=")[0] for r in rest) if re.fullmatch(r"--[a-z][a-z-]*", w) and w not in options
        ]
        if (not names and not words[0].startswith("-")) or unknown:
            wrong.append(f"dropforge {' '.join(words)}")
    assert not wrong


def _documented() -> list[tuple[str, ...]]:
    return sorted({tuple(_resolved(words)[0]) for page in PAGES for words in _calls(page)})


@pytest.mark.parametrize("names", _documented(), ids=" ".join)
def test_every_documented_command_helps(names: tuple[str, ...]) -> None:
    """`--help` of each exits with 0 and shows how to call it."""
    done = CliRunner().invoke(app, [*names, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output
