"""What the scoring of a file needs from the world."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from dropforge.ports import Function, ObjectStore, Workflow
from dropforge.uploads.upload_repository import UploadRepository


@dataclass(frozen=True, slots=True)
class BatchPorts:
    """`workflow`: has the shards of large files scored; `python`: scores for a model without a graph."""

    store: ObjectStore
    book: UploadRepository
    data_bucket: str
    log: logging.Logger
    workflow: Workflow
    python: Callable[[], Function | None] = lambda: None
