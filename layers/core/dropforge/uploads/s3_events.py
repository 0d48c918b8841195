"""S3 notifications, as the functions that get them read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from dropforge.errors import InvalidRequest
from dropforge.messages import UploadEvent


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a function was called with; `receipt` is empty when no queue brought it. `receives`: of the same message, from 1."""

    event: dict[str, Any]
    receipt: str = ""
    receives: int = 1


def delivery(event: dict[str, Any]) -> Delivery:
    """Take an event out of the message of a queue; any other is returned as it came.

    Raises InvalidRequest for a batch of several messages (the mapping asks for one) and for a body that is no JSON object.
    """
    records = event.get("Records", ())
    if not any(record.get("eventSource") == "aws:sqs" for record in records):
        return Delivery(event)
    if len(records) > 1:
        raise InvalidRequest(
            f"{len(records)} messages in one invocation", code="batch_too_large", fix="BatchSize: 1 in template.yaml"
        )
    try:
        body = json.loads(records[0]["body"])
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest(
            "the message is no JSON object", code="message_invalid", fix="only S3 and recovery may send to this queue"
        )
    receives = records[0].get("attributes", {}).get("ApproximateReceiveCount", 1)
    return Delivery(body, records[0]["receiptHandle"], int(receives))


def uploads_in(event: dict[str, Any]) -> list[UploadEvent]:
    """The object versions an S3 notification tells of. A test event has no Records; keys arrive URL-encoded."""
    return [
        UploadEvent(
            bucket=record["s3"]["bucket"]["name"],
            key=unquote_plus(record["s3"]["object"]["key"]),
            version=record["s3"]["object"].get("versionId") or record["s3"]["object"].get("eTag", ""),
            sequencer=record["s3"]["object"].get("sequencer", ""),
            size=int(record["s3"]["object"].get("size", 0)),
        )
        for record in event.get("Records", ())
        if record.get("eventSource") == "aws:s3" and record.get("eventName", "").startswith("ObjectCreated:")
    ]


def notification(upload: UploadEvent) -> dict[str, Any]:
    """The notification that tells of this object version, as far as `uploads_in` reads it."""
    entity = {
        "key": quote_plus(upload.key, safe="/"),
        "size": upload.size,
        "versionId": upload.version,
        **({"sequencer": upload.sequencer} if upload.sequencer else {}),
    }
    document = {"bucket": {"name": upload.bucket}, "object": entity}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": document}]}
