"""What happened lately: the API's calls by time and route, and the last problems of every part, read from their logs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dropforge.ports import LogLine, Logs

API: Final = ("predict", "control")
PARTS: Final = ("analyze", "training", "conclude")
_BUCKETS = 12
_LINES = 5000  # newest of each part; more is told as incomplete
_ERROR_LINES = 500  # newest that contain the word; not each of them is an error
_PROBLEMS = 20
# Of a line, what is read here: 10,000 lines with everything they say were most of the memory of the function that answers.
_FIELDS: Final = ("level", "message", "method", "resource", "status", "milliseconds", "code", "error", "correlation_id")


def activity(logs: Logs, prefix: str, minutes: int, now: float) -> dict[str, Any]:
    """The last `minutes` before `now` (seconds since 1970).

    `traffic`: twelve spans with requests, refused (4xx) and failed (5xx). `routes`: requests, median and 95th percentile of
    the handler's time in milliseconds. `problems`: the newest, newest first. `complete` is false when a part logged more
    than is read: what is left out is the oldest. Raises PermanentError where the logs may not be read, Unavailable where
    reading them is throttled.
    """
    since = int((now - minutes * 60) * 1000)
    calls, problems, complete = list[dict[str, Any]](), list[dict[str, Any]](), True
    for part in API:
        result = logs.read(f"{prefix}{part}", since, '"answered"', _LINES)
        complete &= result.complete
        calls += [line for line in _parsed(result.lines, part) if line.get("message") == "answered"]
    for part in PARTS:
        result = logs.read(f"{prefix}{part}", since, '"ERROR"', _ERROR_LINES)
        complete &= result.complete
        problems += [_problem(line) for line in _parsed(result.lines, part) if line.get("level") == "ERROR"]
    problems += [_refusal(c) for c in calls if _status(c) >= 400]
    problems.sort(key=lambda p: p["at"], reverse=True)
    return {
        "minutes": minutes,
        "complete": complete,
        "traffic": _traffic(calls, since, minutes),
        "routes": _routes(calls),
        "problems": problems[:_PROBLEMS],
    }


def _parsed(log_lines: Iterable[LogLine], part: str) -> Iterable[dict[str, Any]]:
    for line in log_lines:
        try:
            value = json.loads(line.text)
        except ValueError:
            continue  # a line of the runtime, not of ours
        if isinstance(value, dict):
            yield {**{k: value[k] for k in _FIELDS if k in value}, "part": part, "at": line.at}


def _status(call: Mapping[str, Any]) -> int:
    status = call.get("status")
    return status if isinstance(status, int) else 0


def _traffic(calls: Iterable[Mapping[str, Any]], since: int, minutes: int) -> list[dict[str, Any]]:
    width = minutes * 60_000 / _BUCKETS
    spans = [{"at": _iso(since + i * width), "requests": 0, "refused": 0, "failed": 0} for i in range(_BUCKETS)]
    for call in calls:
        span: dict[str, Any] = spans[max(0, min(_BUCKETS - 1, int((call["at"] - since) / width)))]
        span["requests"] += 1
        span["refused"] += 400 <= _status(call) < 500
        span["failed"] += _status(call) >= 500
    return spans


def _routes(calls: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    by_route: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for call in calls:
        by_route[f"{call.get('method')} {call.get('resource')}"].append(call)
    messages = []
    for route, mine in sorted(by_route.items(), key=lambda r: -len(r[1])):
        times = sorted(float(c["milliseconds"]) for c in mine if isinstance(c.get("milliseconds"), int | float))
        messages.append(
            {
                "route": route,
                "requests": len(mine),
                "refused": sum(400 <= _status(c) < 500 for c in mine),
                "failed": sum(_status(c) >= 500 for c in mine),
                "median_ms": _quantile(times, 0.5),
                "p95_ms": _quantile(times, 0.95),
            }
        )
    return messages


def _quantile(ordered: list[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _problem(line: Mapping[str, Any]) -> dict[str, Any]:
    """Lines have a code or the kind of error, not what it said: that stands in the upload's record."""
    return {
        "at": _iso(line["at"]),
        "part": line["part"],
        "what": str(line.get("message", "")),
        "code": str(line.get("code", "")),
        "message": str(line.get("code") or line.get("error") or line.get("message", "")),
        "id": str(line.get("correlation_id", "")),
    }


def _refusal(call: Mapping[str, Any]) -> dict[str, Any]:
    what = f"{call.get('method')} {call.get('resource')} answered {_status(call)}"
    return {
        **_problem({**call, "message": what}),
        "message": str(call.get("code") or call.get("error") or "see the log"),
    }


def _iso(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
