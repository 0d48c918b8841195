"""Lines of CloudWatch log groups, the newest first: FilterLogEvents itself begins with the oldest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dropforge.adapters.aws_client import translated
from dropforge.errors import NotFound
from dropforge.ports import LogLine, LogLines

_PAGE_LINES = 10_000
_PAGES = 24  # requests of one reading, each of _PAGE_LINES lines or 1 MB at most: a person waits for the answer
_PAGES_OF_WINDOW = 4  # a window with more than this is read in smaller ones, from its end
_NARROWER = 8
_SHORTEST_MS = 1000


class CloudWatchLogs:
    """dropforge.ports.Logs."""

    def __init__(self, client: Any, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970; lines later than its value when a reading begins are left to the next one."""
        self._logs = client
        self._clock = clock

    def read(self, group: str, since: int, pattern: str, limit: int) -> LogLines:
        """As the port says. One request where the whole span fits into few pages, which is the usual case.

        A busy group is read in windows from its end towards `since`, so that what is left out is always the oldest.
        """
        end = int(self._clock() * 1000) + 1  # exclusive
        span = max(_SHORTEST_MS, end - since)
        matches: list[LogLine] = []
        pages = _PAGES
        while end > since and len(matches) < limit and pages:
            begin = max(since, end - span)
            try:
                lines, read, whole = self._window(group, begin, end, pattern, min(pages, _PAGES_OF_WINDOW))
            except NotFound:
                return LogLines([], complete=True)
            pages -= read
            if not whole and span > _SHORTEST_MS and pages:
                span = max(_SHORTEST_MS, span // _NARROWER)
                continue
            matches = lines + matches
            if not whole:
                return LogLines(matches[-limit:], complete=False)
            end = begin
        return LogLines(matches[-limit:], complete=end <= since and len(matches) <= limit)

    def _window(self, group: str, begin: int, end: int, pattern: str, pages: int) -> tuple[list[LogLine], int, bool]:
        """Lines of [begin, end) in ms in order of time, the pages it took, and whether these were all of them."""
        arguments: dict[str, Any] = {
            "logGroupName": group,
            "startTime": begin,
            "endTime": end - 1,  # CloudWatch's own end is included
            "filterPattern": pattern,
        }
        matches: list[LogLine] = []
        for page in range(1, pages + 1):
            with translated(f"log group {group}"):
                answer = self._logs.filter_log_events(**arguments)
            matches += [LogLine(int(e["timestamp"]), str(e["message"])) for e in answer["events"]]
            token = answer.get("nextToken")
            if not token:
                whole = len(answer["events"]) < _PAGE_LINES  # a full last page may have been cut
                return sorted(matches, key=lambda line: line.at), page, whole
            arguments["nextToken"] = token
        return sorted(matches, key=lambda line: line.at), pages, False
