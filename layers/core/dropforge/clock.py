"""The time that is written into documents."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """Current time, ISO 8601 UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
