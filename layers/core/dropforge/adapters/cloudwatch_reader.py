"""Lines of CloudWatch log groups."""

from __future__ import annotations

from typing import Any

from dropforge.adapters.aws import translated
from dropforge.errors import NotFound
from dropforge.ports import LogLine

_PAGES = 10  # of 10,000 lines or 1 MB each: a question of a person must be answered within seconds


class CloudWatchLogs:
    """dropforge.ports.Logs."""

    def __init__(self, client: Any) -> None:
        self._logs = client

    def read(self, group: str, since: int, pattern: str, limit: int) -> list[LogLine]:
        arguments: dict[str, Any] = {"logGroupName": group, "startTime": since, "filterPattern": pattern}
        found: list[LogLine] = []
        for _ in range(_PAGES):
            try:
                with translated(f"log group {group}"):
                    page = self._logs.filter_log_events(**arguments)
            except NotFound:
                return []
            found += [LogLine(int(e["timestamp"]), str(e["message"])) for e in page["events"]]
            if len(found) >= limit or not page.get("nextToken"):
                break
            arguments["nextToken"] = page["nextToken"]
        return found[:limit]
