"""Figures in the documentation come from result files, each with the day it was measured."""

from __future__ import annotations

import importlib.util
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def _publish() -> Any:
    spec = importlib.util.spec_from_file_location("publish", ROOT / "benchmarks" / "publish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[Path, str] = _publish().pages()


@pytest.mark.parametrize("file", PAGES, ids=lambda f: f.name)
def test_published_figures_are_those_of_the_result_files(file: Path) -> None:
    """`make bench-publish` would change nothing."""
    assert file.read_text(encoding="utf-8") == PAGES[file], "run: make bench-publish"


@pytest.mark.parametrize("file", RESULTS, ids=lambda f: f.name)
def test_a_result_file_says_when_and_on_what_it_was_measured(file: Path) -> None:
    """The day is inside the file: a checkout's file times say nothing."""
    document = json.loads(file.read_text(encoding="utf-8"))
    assert date.fromisoformat(document["measured_on"]) <= date.today()  # noqa: DTZ011 - a calendar day, no instant
    assert document["python"]
    assert document["cores"] > 0
