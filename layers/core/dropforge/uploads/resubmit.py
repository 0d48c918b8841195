"""Quarantined rows: seen, corrected, sent in again as a new upload."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from typing import Any

from dropforge import keys
from dropforge.errors import InvalidRequest
from dropforge.ingest import quarantine
from dropforge.ports import ObjectStore
from dropforge.uploads.upload_repository import UploadRepository

PAGE_ROWS = 1000
_PAGE_CHARACTERS = 700_000  # of rows in one page; escaped twice on their way to Lambda, each may become seven bytes
_ROW_CHARACTERS = 50_000
_LINK_SECONDS = 3600


def listed(book: UploadRepository, limit: int, cursor: str = "") -> dict[str, Any]:
    """Uploads with quarantined rows, newest first; `next` is the cursor of the page after this one, empty on the last.

    Raises InvalidRequest for a cursor that is none.
    """
    page = book.index.with_quarantine(limit, cursor)
    matches = [
        {"upload_id": r.upload_id, "key": r.key, "rows_quarantined": r.rows_quarantined, "state": r.state}
        for r in book.page(page)
    ]
    return {"uploads": matches, "next": page.cursor}


def rows(store: ObjectStore, bucket: str, upload_id: str, *, offset: int = 0, limit: int = PAGE_ROWS) -> dict[str, Any]:
    """One page of the quarantined rows, in the file's order from number `offset` on, with line, column, reason and text.

    At most `limit` rows and 700,000 characters; `next_offset` begins the next page, None after the last one. A row
    that is too long for a page is `truncated`; `links.rows_csv` is the whole quarantine as a file. Raises NotFound.
    """
    result = quarantine.read(store, bucket, upload_id)
    page: list[dict[str, Any]] = []
    room = _PAGE_CHARACTERS
    for row in quarantine.table(result.rows[offset : offset + limit]):
        raw, reason = str(row["raw"]), str(row["reason"])
        truncated = max(len(raw), len(reason)) > _ROW_CHARACTERS
        shown = {**row, "raw": raw[:_ROW_CHARACTERS], "reason": reason[:_ROW_CHARACTERS], "truncated": truncated}
        room -= min(len(raw), _ROW_CHARACTERS) + min(len(reason), _ROW_CHARACTERS)
        if room < 0 and page:
            break
        page.append(shown)
    following = offset + len(page)
    return {
        "upload_id": upload_id,
        "header": list(result.header),
        "delimiter": result.delimiter,
        "rows_quarantined": len(result.rows),
        "rows": page,
        "next_offset": following if following < len(result.rows) else None,
        "links": {"rows_csv": store.presign_get(quarantine.rows_uri(bucket, upload_id), _LINK_SECONDS)},
    }


def replay(
    body: Mapping[str, Any], *, book: UploadRepository, store: ObjectStore, bucket: str, upload_id: str
) -> dict[str, Any]:
    """Put the corrected rows into the bucket as a new upload; its key is the answer. The same rows give the same key.

    Raises NotFound, and InvalidRequest for rows that are not asked for or no rows.
    """
    record = book.get(upload_id)
    result = quarantine.read(store, bucket, upload_id)
    text = quarantine.corrected(result, _lines(body))
    stem = posixpath.basename(record.key).rsplit(".", 1)[0] or "rows"
    key = quarantine.replay_key(
        upload_id, f"{stem}-{hashlib.sha256(text).hexdigest()[:12]}.csv", batch=record.kind == "batch"
    )
    store.put(keys.uri(bucket, key), text, content_type="text/csv")
    return {"key": key, "rows": text.count(b"\n") - 1, "next": f"GET /uploads?key={key}"}


def _lines(body: Mapping[str, Any]) -> dict[int, str]:
    given = body.get("rows")
    shape = 'send {"rows": [{"line": 17, "raw": "the corrected row"}]}'
    if not isinstance(given, list):
        raise InvalidRequest("rows is missing", code="rows_missing", fix=shape)
    lines: dict[int, str] = {}
    for row in given:
        line, raw = (row.get("line"), row.get("raw")) if isinstance(row, dict) else (None, None)
        if isinstance(line, bool) or not isinstance(line, int) or not isinstance(raw, str):
            raise InvalidRequest("each row needs a line number and a raw text", code="malformed_request", fix=shape)
        lines[line] = raw
    return lines
