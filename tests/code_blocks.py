"""Fenced blocks of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str | None = None) -> list[str]:
    """The texts of a page's blocks in order, of one language if it is named."""
    matches = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [text for name, text in matches if language in {None, name}]
