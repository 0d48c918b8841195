"""mkdocs.yml: every page of the documentation has its place in the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = sorted(p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md"))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)


def test_every_page_stands_in_the_navigation_once() -> None:
    """A new page is added there, or nobody finds it; one that is gone is taken out."""
    assert sorted(_leaves(SITE["nav"])) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_there(page: str) -> None:
    """Files of the documentation and of the repository, from where the page lies; anchors are checked by make docs-site."""
    source = ROOT / "docs" / page
    text = re.sub(r"```.*?```", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    assert [link for link in links if not (source.parent / link).exists()] == []
