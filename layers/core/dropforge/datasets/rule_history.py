"""`datasets/rules.json`: how the rows of the last uploads fared under the rules of settings, for the next report to compare with."""

from __future__ import annotations

import json
import random
import time
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from dropforge import keys, retry_limits
from dropforge.errors import Conflict, NotFound
from dropforge.ports import ObjectStore

UPLOADS: Final = 30  # the newest; older ones are forgotten


class RuleRun(BaseModel):
    """One upload. `results`: by the rule's name rows and violations."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    upload_id: str
    results: dict[str, tuple[int, int]]


_RUNS = TypeAdapter(list[RuleRun])


def read(store: ObjectStore, bucket: str) -> list[RuleRun]:
    """Oldest first, at most UPLOADS."""
    return _read(store, bucket)[0]


def add(store: ObjectStore, bucket: str, run: RuleRun) -> None:
    """Keep one upload's results; once, however often. Raises Conflict when too many write at once."""
    for number in range(retry_limits.REWRITES):
        if number:
            time.sleep(random.uniform(0, retry_limits.REWRITE_PAUSE_SECONDS * number))  # noqa: S311 - spreads writers, hides nothing
        runs, etag = _read(store, bucket)
        if any(r.upload_id == run.upload_id for r in runs):
            return
        body = json.dumps([r.model_dump() for r in [*runs, run][-UPLOADS:]]).encode()
        try:
            store.put(
                keys.rule_history(bucket), body, content_type="application/json", if_match=etag, if_absent=not etag
            )
        except Conflict:
            continue
        return
    raise Conflict("the rules' history is being written by too many writers", code="history_busy", fix="try again")


def _read(store: ObjectStore, bucket: str) -> tuple[list[RuleRun], str]:
    try:
        stored = store.get(keys.rule_history(bucket))
    except NotFound:
        return [], ""
    return _RUNS.validate_json(stored.body), stored.etag
