"""An upper bound for the log lines in the memory of the emulator.

MiniStack keeps every line for ever, in a stream of its own for each call of a function, and applies no retention. At thirty
calls a second that is 300 MB an hour.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

STREAMS = 10_000  # the newest of a group, about 30 MB: twice as many calls as GET /activity reads
LINES = 20_000  # the newest of a stream; a training worker writes into one as long as it lives
_EVERY_SECONDS = 10


def start_trimming() -> threading.Thread:
    """Trim the log groups of this process's MiniStack from time to time, in a daemon thread."""

    def run() -> None:
        while not stopped.wait(_EVERY_SECONDS):
            from ministack.services import (
                cloudwatch_logs as service,
            )  # late: MiniStack loads a service when it is asked

            with service._log_events_lock:
                trim(list(service._log_groups._data.values()))

    stopped = threading.Event()
    thread = threading.Thread(target=run, name="trim-logs", daemon=True)
    thread.start()
    return thread


def trim(groups: Iterable[dict[str, Any]], streams: int = STREAMS, lines: int = LINES) -> None:
    """Leave the newest `streams` of each of MiniStack's log groups, and the newest `lines` of each stream."""
    for group in groups:
        current: dict[str, dict[str, Any]] = group["streams"]
        if len(current) > streams:
            oldest_first = sorted(current, key=lambda name: current[name]["lastEventTimestamp"] or 0)
            for name in oldest_first[: len(current) - streams]:
                current.pop(name, None)
        for stream in list(current.values()):
            if len(stream["events"]) > lines:
                del stream["events"][:-lines]
