"""Gives memory that a finished job no longer uses back to the operating system."""

from __future__ import annotations

import gc

from dropforge import process_memory


def release() -> None:
    """Collect cycles, then return free pages."""
    gc.collect()
    process_memory.trim()
