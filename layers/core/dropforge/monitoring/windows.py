"""States of monitoring windows: what monitoring/monitor_run.py found of one day of one model version, kept and shown."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

from dropforge import keys
from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore

_OWN = ("context", "objects", "answered_labelled")  # of no use to a reader


@dataclass(frozen=True, slots=True)
class Window:
    """`key`: day, model, version."""

    key: tuple[str, str, str]
    state: dict[str, Any]
    etag: str

    def shown(self) -> dict[str, Any]:
        """As GET /monitoring and the command tell it."""
        day, model, version = self.key
        document = {k: v for k, v in self.state.items() if k not in _OWN}
        return {"day": day, "model": {"name": model, "version": version}, **document}


def nothing() -> dict[str, Any]:
    """The state of a window of which nothing could be found out."""
    return {
        "rows": 0, "requests": 0, "first_at": None, "last_at": None, "labelled": 0, "labels_of_no_class": 0, "shadow_rows": 0,
        "answered_labelled": 0, "predictions": {}, "bundle_uri": "", "rows_uri": "", "reference_id": "", "settings_sha256": "",
        "computed_at": "", "verdict": {"word": "pass", "reasons": []}, "features": [], "predicted": [], "findings": [],
        "score": None, "heldout": {}, "problem": "",
    }  # fmt: skip


def list_windows(store: ObjectStore, bucket: str, limit: int = 0) -> list[Window]:
    """Newest day first, all or at most `limit`."""
    matches = sorted(store.list(keys.windows_folder(bucket)), key=lambda o: o.uri, reverse=True)
    created = []
    for o in matches[: limit or None]:
        day, model, version = o.uri.removesuffix(".json").split("/")[-3:]
        stored = store.get(o.uri)
        created.append(Window((day, model, version), json.loads(stored.body), stored.etag))
    return created


def write(
    store: ObjectStore,
    bucket: str,
    key: tuple[str, str, str],
    state: dict[str, Any],
    stored: Window | None,
    log: logging.Logger,
) -> Window | None:
    """The window as kept; None when somebody else wrote it since `stored` was read: theirs stays."""
    day, model, version = key
    uri = keys.window(bucket, day, model, version)
    etag = stored.etag if stored else ""
    body = json.dumps(state, indent=1, ensure_ascii=False, allow_nan=False).encode()
    try:
        created = store.put(uri, body, content_type="application/json", if_match=etag, if_absent=not etag)
    except Conflict:
        log.info("another look was quicker", extra={"window": "/".join(key)})
        return None
    return Window(key, state, created)


def read_summary(store: ObjectStore, bucket: str) -> tuple[dict[str, Any], str]:
    """The last look and its etag; empty fields before the first."""
    try:
        stored = store.get(keys.monitoring_summary(bucket))
    except NotFound:
        return {"through": "", "checked_at": "", "labels": 0, "labels_unmatched": 0}, ""
    summary = json.loads(stored.body)
    summary.setdefault("checked_at", summary.get("looked_at", ""))  # its name in summaries of earlier releases
    return summary, stored.etag


def write_summary(store: ObjectStore, bucket: str, summary: dict[str, Any], etag: str, log: logging.Logger) -> None:
    """Leaves another's newer one."""
    body = json.dumps(summary, indent=1).encode()
    try:
        store.put(
            keys.monitoring_summary(bucket), body, content_type="application/json", if_match=etag, if_absent=not etag
        )
    except Conflict:
        log.info("another look was quicker", extra={"window": "summary"})


def shown(store: ObjectStore, bucket: str, limit: int) -> dict[str, Any]:
    """The newest windows and the last look, for GET /monitoring."""
    summary, _ = read_summary(store, bucket)
    return {
        "windows": [w.shown() for w in list_windows(store, bucket, limit)],
        "checked_at": summary["checked_at"] or None,
        "labels": summary["labels"],
        "labels_unmatched": summary["labels_unmatched"],
    }
