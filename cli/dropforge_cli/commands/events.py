"""event: messages of a real upload, for `sam local invoke -e`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from dropforge import ids
from dropforge.errors import NotFound
from dropforge_cli.output import emit_json
from dropforge_cli.target import Target


class Message(StrEnum):
    """Which function is to be called."""

    ANALYZE = "analyze"
    CONCLUDE = "conclude"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(event)


def event(
    message: Annotated[Message, typer.Argument(help="analyze: S3's notification; conclude: the workflow's last call")],
    upload_id: Annotated[str, typer.Argument(help="id, or `last`: the newest that got there")] = "last",
) -> None:
    """Print the event that a function got for an upload, for `sam local invoke -e`. A repeat makes no second upload or version."""
    target = Target.find()
    record = target.api("GET", f"/uploads/{newest(target, message) if upload_id == 'last' else upload_id}").json()
    emit_json(for_analyze(record) if message is Message.ANALYZE else for_conclude(target, record))


def newest(target: Target, message: Message) -> str:
    """Of the newest upload that sent such a message; files to be scored send neither. Raises NotFound when there is none."""
    for line in target.api("GET", "/uploads").json()["uploads"]:
        if line["kind"] == "upload" and (message is Message.ANALYZE or line["state"] == "concluded"):
            return str(line["upload_id"])
    raise NotFound(
        f"no upload has sent what {message} gets yet", code="no_uploads", fix="dropforge upload FILE --watch"
    )


def for_analyze(record: dict[str, Any]) -> dict[str, Any]:
    """S3's notification of the object, as far as it is read."""
    from dropforge.messages import UploadEvent
    from dropforge.uploads import s3_events

    return s3_events.notification(
        UploadEvent.parse({k: record[k] for k in ("bucket", "key", "version", "size", "sequencer")})
    )


def for_conclude(target: Target, record: dict[str, Any]) -> dict[str, Any]:
    """What the state machine sent, from its execution's history. Raises NotFound when it has not come that far."""
    states = target.client("stepfunctions")
    name = ids.execution_name(record["upload_id"], record["attempt"])
    arn = target.outputs["StateMachineArn"].replace(":stateMachine:", ":execution:") + f":{name}"
    try:
        pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
        entered = [e.get("stateEnteredEventDetails", {}) for page in pages for e in page["events"]]
    except states.exceptions.ExecutionDoesNotExist:
        entered = []
    for details in entered:
        if details.get("name") == "Conclude":
            request = json.loads(details["input"])
            return {"schema_version": 1, "request": request, "outcomes": request["outcomes"]}
    raise NotFound(
        f"the training of upload {record['upload_id']} has not reached its conclusion (it is {record['state']})",
        code="not_concluded",
        fix="dropforge watch; an upload that was not trained has no conclusion",
    )
