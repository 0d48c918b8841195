"""S3 notifications, as the functions that get them read them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus, unquote_plus

from dropforge.messages import UploadEvent


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
    told = {"bucket": {"name": upload.bucket}, "object": entity}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": told}]}
