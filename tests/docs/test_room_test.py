"""The table of docs/adr/0002-packages.md: thirty changes, and the file that each of them opens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adr" / "0002-packages.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| [^|]+ \| (?:yes|no) \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
PACKAGES = ("layers/core/dropforge", "training/dropforge_training", "cli/dropforge_cli")


def test_the_table_has_thirty_changes() -> None:
    """The list was written before modules moved; no change leaves it."""
    assert len(ROWS) == 30


@pytest.mark.parametrize(("change", "file"), ROWS, ids=[change for change, _ in ROWS])
def test_the_file_of_a_change_exists(change: str, file: str) -> None:
    """One file of this name, in one package; NAME stands for any file of a folder of plug-ins."""
    pattern = file.strip().replace("NAME", "[a-z]*")
    matches = [p for package in PACKAGES for p in (ROOT / package).glob(pattern)]
    assert matches, f"{change}: no file {file}"
    assert len(matches) == 1 or "NAME" in file, matches
