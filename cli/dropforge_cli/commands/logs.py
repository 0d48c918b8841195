"""logs: one upload across analyze, training and conclude; any service, live."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from dropforge.errors import NotFound, Unavailable
from dropforge_cli.output import err, out
from dropforge_cli.target import Target

SERVICES = ("analyze", "training", "conclude", "control", "predict", "predict_python")
_LEVELS = {"ERROR": "red", "WARNING": "yellow", "INFO": "default", "DEBUG": "dim"}
_LATE_MS = 15_000  # a line may be read so much later than it was written
_KNOWN = {"level", "timestamp", "service", "message", "correlation_id", "stack"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(logs)


def logs(
    correlation_id: Annotated[
        str, typer.Argument(help="upload id or request id; `last` for the newest upload; all when left out")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="follow new lines")] = False,
    service: Annotated[str, typer.Option(help=f"one of {', '.join(SERVICES)}")] = "",
    minutes: Annotated[float, typer.Option(help="how far back")] = 60,
    json: Annotated[bool, typer.Option("--json", help="print the JSON lines as they are")] = False,
) -> None:
    """Show log lines in order of time, from every part, by correlation id."""
    target = Target.find()
    client = target.client("logs")
    if correlation_id == "last":
        listed = target.api("GET", "/uploads").json()["uploads"]
        correlation_id = listed[0]["upload_id"] if listed else ""
    since = int((time.time() - minutes * 60) * 1000)
    groups = [f"{target.outputs['LogGroupPrefix']}{s}" for s in ((service,) if service else SERVICES)]
    shown: dict[str, int] = {}
    while True:
        try:
            matches = [e for group in groups for e in events(client, group, since, correlation_id)]
        except Unavailable as error:
            if not follow:
                raise
            err.print(f"{error.message}; trying again", markup=False)
            matches = []
        for event in sorted(matches, key=lambda e: (e["line"].get("timestamp", ""), e["id"])):
            if event["id"] not in shown:
                _show(event["line"], json=json)
            shown[event["id"]] = event["at"]
        if not follow:
            if not shown:
                err.print("no lines; `dropforge uploads` lists the ids")
            return
        since, shown = _next_reading(since, shown)
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            return


def _next_reading(since: int, shown: dict[str, int]) -> tuple[int, dict[str, int]]:
    """Where to read on, and which of the lines shown will come again. Lines of other machines may arrive some seconds late."""
    since = max(since, max(shown.values(), default=0) - _LATE_MS)
    return since, {i: at for i, at in shown.items() if at >= since}


def events(client: Any, group: str, since: int, correlation_id: str) -> Iterator[dict[str, Any]]:
    """JSON lines of one log group from `since` (ms); only those of the correlation id when one is given.

    None of a group that is not there. Raises PermanentError where reading is denied, Unavailable where it is throttled.
    """
    from dropforge.adapters.aws_client import translated

    arguments: dict[str, Any] = {"logGroupName": group, "startTime": since}
    if correlation_id:
        arguments["filterPattern"] = f'"{correlation_id}"'
    while True:
        try:
            with translated(f"log group {group}"):
                page = client.filter_log_events(**arguments)
        except NotFound:
            return  # nobody has written to it yet
        for event in page["events"]:
            line = parse(event["message"])
            if line is not None and (not correlation_id or line.get("correlation_id") == correlation_id):
                at = int(event["timestamp"])
                yield {"id": event.get("eventId") or f"{group}{at}{event['message']}", "at": at, "line": line}
        if not page.get("nextToken"):
            return
        arguments["nextToken"] = page["nextToken"]


def parse(message: str) -> dict[str, Any] | None:
    """The JSON object of a log line; None for the platform's own START, END and REPORT lines."""
    try:
        value = jsonlib.loads(message)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "message" in value else None


def _show(line: dict[str, Any], *, json: bool) -> None:
    if json:
        out.print(jsonlib.dumps(line, ensure_ascii=False), markup=False)
        return
    extra = " ".join(f"{k}={v}" for k, v in line.items() if k not in _KNOWN)
    level = str(line.get("level", "INFO"))
    clock, who = str(line.get("timestamp", ""))[11:23], str(line.get("correlation_id", ""))[:12]
    text = f"{clock} {who:<12} {line.get('service', ''):<8} {level:<7} {line['message']}"
    out.print(text, style=_LEVELS.get(level, "default"), markup=False, end="  ")
    out.print(extra, style="dim", markup=False)
    for place in line.get("stack", ()):
        out.print(f"    {place}", style="dim", markup=False)
