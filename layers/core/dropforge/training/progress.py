"""How far the training of an upload is: one small object for each model, written by its worker, read by the API."""

from __future__ import annotations

from collections.abc import Iterable

from dropforge import keys
from dropforge.errors import NotFound
from dropforge.messages import ModelProgress
from dropforge.ports import ObjectStore


def keep(store: ObjectStore, bucket: str, upload_id: str, now: ModelProgress) -> None:
    """Replace what was told of the model before."""
    body = now.json_text().encode()
    store.put(keys.progress(bucket, upload_id, now.model), body, content_type="application/json")


def read(store: ObjectStore, bucket: str, upload_id: str, planned: Iterable[ModelProgress]) -> list[ModelProgress]:
    """Of each planned model what its worker said last, or the plan while no worker has said anything. One request each."""
    matches = []
    for plan in planned:
        try:
            body = store.get(keys.progress(bucket, upload_id, plan.model)).body
        except NotFound:
            matches.append(plan)
        else:
            matches.append(ModelProgress.parse(body))
    return matches
