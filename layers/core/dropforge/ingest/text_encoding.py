"""Texts that were decoded with a wrong encoding ("ZÃ¼rich", "Z�rich"): found by decoding them back."""

from __future__ import annotations

import re
from typing import Final

_LOST: Final = "\N{REPLACEMENT CHARACTER}"
_RUN = re.compile(r"[^\x00-\x7f]{2,}")


def _single_bytes() -> dict[str, int]:
    """Windows-1252, and where it has no character the byte itself, as lenient readers have it."""
    table = {chr(b): b for b in range(0x80, 0x100)}
    for b in range(0x80, 0xA0):
        try:
            table[bytes([b]).decode("cp1252")] = b
        except UnicodeDecodeError:
            continue
    return table


_BYTES: Final = _single_bytes()


def is_damaged(text: str) -> bool:
    """The text holds a replacement character, or a run of characters that is UTF-8 read as a single-byte encoding.

    Such a run is valid UTF-8 when its characters are taken back to bytes, which text in any language hardly ever is.
    """
    if text.isascii():
        return False
    return _LOST in text or any(_decodes(run) for run in _RUN.findall(text))


def repaired(text: str) -> str:
    """The text as it was before it was decoded wrongly, where that can be known."""
    return _RUN.sub(lambda m: _decoded(m[0]) or m[0], text)


def suspicious_sql(column: str) -> str:
    """SQL condition that holds of every damaged text, and of few others."""
    return f"regexp_matches({column}, '[\\x{{C2}}-\\x{{F4}}][^\\x00-\\x7F]|\\x{{FFFD}}')"


def _decodes(run: str) -> bool:
    return bool(_decoded(run))


def _decoded(run: str) -> str:
    known = [_BYTES.get(c) for c in run]
    if None in known:
        return ""
    try:
        return bytes(b for b in known if b is not None).decode("utf-8")
    except UnicodeDecodeError:
        return ""
