"""Labels that become known later: what really happened to a row that was predicted, by the id of its prediction.

Kept as JSON lines under `labels/{day}/`, an object a request, named by its content: sending a request again changes nothing,
and of several labels for one row the last one sent counts. Whether an id is known is found when they are joined
(monitoring/monitor_run.py): the rows of a request are written a few seconds after its answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from dropforge import keys
from dropforge.errors import InvalidRequest
from dropforge.ports import ObjectStore

MOST: Final = 10_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=-]{0,127}")


def accept(body: dict[str, Any], *, store: ObjectStore, bucket: str) -> dict[str, Any]:
    """Keep `{"labels": [{"prediction_id", "row", "label"}]}`. Raises InvalidRequest for the whole request, naming the item."""
    given = body.get("labels")
    if not isinstance(given, list) or not given:
        raise _wrong("labels must be a list with at least one item")
    if len(given) > MOST:
        raise InvalidRequest(
            f"{len(given):,} labels; the limit of one request is {MOST:,}",
            code="too_many_records",
            fix="send several requests",
            status=413,
        )
    known: dict[tuple[str, int], str] = {}
    for i, item in enumerate(given):
        place, label = _read(item, i)
        if known.setdefault(place, label) != label:
            raise _wrong(f"labels[{i}]: another label for the same row stands before it")
    lines = [{"prediction_id": p, "row": r, "label": label} for (p, r), label in sorted(known.items())]
    name = hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:20]
    at = datetime.now(UTC).isoformat(timespec="microseconds")  # the last one sent counts
    text = "".join(json.dumps({**line, "at": at}, ensure_ascii=False) + "\n" for line in lines)
    store.put(f"{keys.labels_folder(bucket, at[:10])}{name}.jsonl", text.encode(), content_type="application/x-ndjson")
    return {
        "accepted": len(lines),
        "next": "GET /monitoring has the score once they are joined; `dropforge monitor` joins them now",
    }


def _read(item: Any, i: int) -> tuple[tuple[str, int], str]:
    if not isinstance(item, dict) or set(item) - {"prediction_id", "row", "label"}:
        raise _wrong(f"labels[{i}] must have prediction_id, label and perhaps row, and nothing else")
    prediction_id, row, label = item.get("prediction_id"), item.get("row", 0), item.get("label")
    if not isinstance(prediction_id, str) or not _ID.fullmatch(prediction_id):
        raise _wrong(f"labels[{i}]: prediction_id must be one that an answer carried")
    if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < 1_000_000:
        raise _wrong(f"labels[{i}]: row must be the place of the record in its request, from 0")
    if isinstance(label, int | float) and not isinstance(label, bool):
        label = repr(label)
    if not isinstance(label, str) or not 0 < len(label) <= 1000 or not label.isprintable():
        raise _wrong(f"labels[{i}]: label must be one of the model's classes, or the number that turned out")
    return (prediction_id, row), label


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(
        message,
        code="malformed_request",
        fix='send {"labels": [{"prediction_id": "…", "row": 0, "label": "…"}]}: the id of the answer, the class that turned out',
    )
