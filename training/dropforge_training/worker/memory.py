"""Gives memory that a finished job no longer uses back to the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def release() -> None:
    """Collect cycles, then have the C library return its free pages; without `malloc_trim` (macOS, musl) only the former.

    glibc retains what is freed between blocks that are still in use, so a worker's resident memory rises from job to job
    although nothing leaks, until a container with a limit is ended for it.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
