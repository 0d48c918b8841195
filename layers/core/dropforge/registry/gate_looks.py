"""How often an active model was compared with candidates on the same held-out rows: each further look costs certainty.

One object for each active model on S3. Written with If-Match, so that of two uploads that conclude at once each counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from dropforge import keys
from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore

RENEWED: Final = 0.5  # fraction of held-out rows that is new, from which the looks are counted anew
_UPLOADS: Final = 200  # whose looks are remembered, so that a repeated conclusion gets the look it had


def take(store: ObjectStore, bucket: str, run_id: str, upload_id: str, sketch: Sequence[int]) -> int:
    """The number of this upload's look at the held-out rows, from 1; the same number whenever it asks again.

    run_id: of the active model; sketch: of the held-out rows (see new_fraction). Raises Unavailable.
    """
    uri = keys.looks(bucket, run_id)
    while True:
        try:
            stored = store.get(uri)
            before, etag = json.loads(stored.body), stored.etag
        except NotFound:
            before, etag = {"looks": 0, "sketch": list(sketch), "uploads": {}}, ""
        known = before["uploads"].get(upload_id)
        if known is not None:
            return int(known)
        after = _counted(before, upload_id, sketch)
        try:
            store.put(
                uri,
                json.dumps(after).encode(),
                content_type="application/json",
                if_match=etag,
                if_absent=not etag,
            )
        except Conflict:
            continue  # another upload concluded in between, or this put's first answer was lost: look again
        return int(after["looks"])


def _counted(before: dict[str, Any], upload_id: str, sketch: Sequence[int]) -> dict[str, Any]:
    renewed = new_fraction(before["sketch"], sketch) >= RENEWED
    looks = 1 if renewed else int(before["looks"]) + 1
    uploads = dict(list(before["uploads"].items())[-_UPLOADS + 1 :])
    return {
        "looks": looks,
        "sketch": list(sketch) if renewed else before["sketch"],
        "uploads": {**uploads, upload_id: looks},
    }


def new_fraction(before: Sequence[int], now: Sequence[int]) -> float:
    """The fraction of the rows sketched by `now` that those sketched by `before` lack, estimated.

    A sketch holds the k smallest hashes of a set of rows (Bar-Yossef et al. 2002); up to the smaller of both sketches' ends they
    are a random sample of both sets, the same one for both. 1.0 for a sketch of nothing.
    """
    if not before or not now:
        return 1.0
    end = min(max(before), max(now))
    inside = [h for h in now if h <= end]
    known = set(before)
    return sum(h not in known for h in inside) / len(inside) if inside else 1.0
