"""Colours of pages that are read together: the analysis report, its pictures and the model card, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LIGHT: Final = {
    "bg": "#fbfbfa", "card": "#fff", "ink": "#1d2126", "soft": "#616a75", "line": "#e3e5e8", "ref": "#8b96a5", "new": "#2459c4",
    "on": "#fff", "pass": "#1d7f4e", "warn": "#a86400", "block": "#b3261e", "reference": "#2459c4",
}  # fmt: skip
DARK: Final = {
    "bg": "#14171b", "card": "#1c2026", "ink": "#e8eaed", "soft": "#9aa4b0", "line": "#2e343c", "ref": "#7d8896", "new": "#7da8ff",
    "on": "#10131a", "pass": "#58c58c", "warn": "#e0a145", "block": "#f2837b", "reference": "#7da8ff",
}  # fmt: skip


def css(light: Mapping[str, str] = LIGHT, dark: Mapping[str, str] = DARK) -> str:
    """Custom properties of a page, `var(--name)`; on paper the light ones."""
    own, other = (";".join(f"--{name}:{colour}" for name, colour in colours.items()) for colours in (light, dark))
    return f":root{{color-scheme:light dark;{own}}}@media screen and (prefers-color-scheme:dark){{:root{{{other}}}}}"
