"""The error for a source that cannot be read, whatever library says so."""

from __future__ import annotations

from dropforge.config.settings import SourceSettings
from dropforge.errors import InvalidRequest

_LONGEST = 300  # characters of a reason


def unreadable(source: SourceSettings, error: BaseException | str, fix: str) -> InvalidRequest:
    """With the first line of the reason, or the error's type where it has no words. A source with an address is named by it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    place = f"{source.uri} cannot be read: " if source.uri else ""
    return InvalidRequest(f"sources.{source.name}: {place}{lines[0][:_LONGEST]}", code="source_unreadable", fix=fix)
