"""Stored pages as answers of the API: reports and model cards."""

from __future__ import annotations

import json

from dropforge.errors import InvalidRequest
from dropforge.ports import ObjectStore

_LINK_SECONDS = 3600
_BYTES = 5_900_000  # as a string in JSON, which Lambda's 6 MiB hold with room for headers


def document(store: ObjectStore, uri: str) -> str:
    """The text of a stored page. Raises InvalidRequest (413) with a link to it when it is too long for an answer."""
    text = store.get(uri).body.decode()
    size = len(json.dumps(text, ensure_ascii=False).encode()) if len(text) > _BYTES // 6 else 0
    if size > _BYTES:
        raise InvalidRequest(
            f"the document has {size:,} bytes; an answer has room for {_BYTES:,}",
            code="response_too_large",
            fix=f"fetch it from its link, which is good for an hour: {store.presign_get(uri, _LINK_SECONDS)}",
            status=413,
        )
    return text
