"""Calls and problems told from log lines."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

from dropforge.operations.activity import activity
from dropforge.ports import LogLine, LogLines

NOW = 1_800_000_000.0


class _Logs:
    """Log groups in memory; a pattern is a text in quotes, as CloudWatch has it."""

    def __init__(self, lines: dict[str, list[tuple[float, Any]]]) -> None:
        self._lines = lines

    def read(self, group: str, since: int, pattern: str, limit: int) -> LogLines:
        lines = [
            LogLine(int((NOW - ago) * 1000), line if isinstance(line, str) else json.dumps(line))
            for ago, line in self._lines.get(group, ())
        ]
        matches = sorted((t for t in lines if t.at >= since and pattern.strip('"') in t.text), key=lambda t: t.at)
        return LogLines(matches[-limit:], complete=len(matches) <= limit)


def _call(status: int, milliseconds: float, path: str = "/predict", **more: Any) -> dict[str, Any]:
    document = {"level": "INFO", "message": "answered", "method": "POST", "path": path, "resource": path}
    return {**document, "status": status, "milliseconds": milliseconds, **more}


def test_calls_are_counted_by_time_and_route() -> None:
    """Twelve spans; refused and failed apart; median and 95th percentile by nearest rank."""
    calls = [(60.0 * i + 30, _call(200, float(i + 1))) for i in range(20)]
    response = (5.0, _call(422, 1.0, "/set_model", code="alias_unknown", why="no such alias", correlation_id="r1"))
    lines = {"/g/predict": [*calls, (1.0, "START RequestId answered")], "/g/control": [response]}
    output = activity(_Logs(lines), "/g/", 60, NOW)
    assert [s["requests"] for s in output["traffic"]] == [0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 6]
    assert output["traffic"][-1]["refused"] == 1
    predict = output["routes"][0]
    assert (predict["route"], predict["requests"], predict["median_ms"], predict["p95_ms"]) == (
        "POST /predict",
        20,
        10,
        19,
    )
    assert output["problems"][0] | {"at": ""} == {
        "at": "", "part": "control", "what": "POST /set_model answered 422", "code": "alias_unknown",
        "message": "alias_unknown", "id": "r1",
    }  # fmt: skip
    assert output["complete"]


def test_problems_of_every_part_are_told_newest_first() -> None:
    """Error lines of the parts behind the API, and failed calls, in one order of time."""
    boom = {"level": "ERROR", "message": "boom", "correlation_id": "u1"}
    info = {"level": "INFO", "message": "no ERROR here"}
    lines = {"/g/training": [(9.0, boom), (8.0, info)], "/g/predict": [(3.0, _call(500, 2.0))]}
    output = activity(_Logs(lines), "/g/", 15, NOW)
    assert [(p["part"], p["id"]) for p in output["problems"]] == [("predict", ""), ("training", "u1")]


def test_of_many_problems_the_newest_are_shown() -> None:
    """A part with more error lines than are shown is told with its newest ones, whatever the others say."""
    errors = [(3000.0 - n, {"level": "ERROR", "message": f"error {n}"}) for n in range(600)]
    shown = activity(_Logs({"/g/training": errors}), "/g/", 60, NOW)
    assert [p["what"] for p in shown["problems"]] == [f"error {n}" for n in range(599, 579, -1)]
    assert not shown["complete"]


def test_lines_are_held_without_what_nobody_reads() -> None:
    """Thousands of lines of which each says much more than is counted: their memory is not what the function then keeps."""
    more = {f"field_{k}": f"{k} {'x' * 100}" for k in range(20)}
    every = [LogLine(int(NOW * 1000) - i, json.dumps(_call(200, 1.0, **more))) for i in range(2000)]

    class _Prepared:
        def read(self, group: str, *_: Any) -> LogLines:
            return LogLines(every if group == "/g/predict" else [], complete=True)

    tracemalloc.start()
    try:
        activity(_Prepared(), "/g/", 5, NOW)
        (_, most) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < sum(len(line.text) for line in every)
