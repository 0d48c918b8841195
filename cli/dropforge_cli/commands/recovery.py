"""recover, redrive: uploads whose work has died are sent on again."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from dropforge import retry_limits
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json
from dropforge_cli.target import Target

RECOVERY_MINUTES = retry_limits.RECOVERY_AFTER.total_seconds() / 60


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Operations"
    app.command(rich_help_panel=panel)(recover)
    app.command(rich_help_panel=panel)(redrive)


def recover(
    minutes: Annotated[float, typer.Option("--older-than", help="minutes without a step", min=0)] = RECOVERY_MINUTES,
    json: Json = False,
) -> None:
    """Retry uploads whose worker crashed; the schedule does so every 15 minutes."""
    target = Target.find()
    payload = json_module.dumps({"older_than_minutes": minutes})
    # In the background: it may take longer than a client waits.
    target.client("lambda").invoke(
        FunctionName=target.outputs["RecoverFunction"], InvocationType="Event", Payload=payload
    )
    started = {"recovery": "started", "see": "dropforge uploads"}
    emit_json(started) if json else emit_facts(started)


def redrive(json: Json = False) -> None:
    """Redrive events whose analysis failed, and training jobs in the dead-letter queue.

    Safe to repeat: an event of an ended upload changes nothing, a job that nobody waits for is dropped by the worker.
    """
    target = Target.find()
    output = redriven(target.client("sqs"), target.client("lambda"), target.outputs)
    emit_json(output) if json else emit_facts(output)


def redriven(sqs: Any, functions: Any, outputs: Any) -> dict[str, int]:
    """How many events and jobs were sent again. A message is deleted only after its new delivery was accepted."""
    from dropforge.uploads.s3_events import uploads_in
    from dropforge.uploads.upload_repository import FOLDERS

    def analyse(body: str) -> bool:
        try:
            message = json_module.loads(body)
            event = message.get("requestPayload", message)  # Lambda's envelope of a decision, or as the queue had it
            event["Records" if "Records" in event else "retrain"]
        except (ValueError, AttributeError, TypeError, KeyError):
            return False  # not from S3, Lambda or recovery: left for a person
        payload = json_module.dumps(event)
        for folder, output in ((FOLDERS["batch"], "BatchQueueUrl"), (FOLDERS["upload"], "UploadsQueueUrl")):
            if any(upload.key.startswith(folder) for upload in uploads_in(event)):
                sqs.send_message(QueueUrl=outputs[output], MessageBody=payload)
                return True
        functions.invoke(FunctionName=outputs["AnalyzeFunction"], InvocationType="Event", Payload=payload)
        return True

    def train(body: str) -> bool:
        sqs.send_message(QueueUrl=outputs["TrainingQueueUrl"], MessageBody=body)
        return True

    return {
        "events": _drain(sqs, outputs["FailedEventsQueueUrl"], analyse),
        "jobs": _drain(sqs, outputs["TrainingDeadLetterQueueUrl"], train),
    }


def _drain(sqs: Any, url: str, deliver: Any) -> int:
    """At most what lies there now: a message that fails again meanwhile is left for the next time."""
    names = ["ApproximateNumberOfMessages"]
    left = int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]])
    done = 0
    while left > 0:
        result = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=min(10, left), VisibilityTimeout=60)
        messages = result.get("Messages", [])
        if not messages:
            break
        left -= len(messages)
        for message in messages:
            if deliver(message["Body"]):
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                done += 1
    return done
