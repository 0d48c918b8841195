"""What the steps of an upload need from the world."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from dropforge.announce import Announce, nobody
from dropforge.ports import ObjectStore, Tracking, Workflow
from dropforge.uploads.upload_repository import UploadRepository


@dataclass(frozen=True, slots=True)
class Ports:
    """`tracking`: runs of the project of that name; the rest as dropforge.ports has it."""

    store: ObjectStore
    workflow: Workflow
    book: UploadRepository
    tracking: Callable[[str], Tracking]
    data_bucket: str
    artifact_bucket: str
    log: logging.Logger
    announce: Announce = nobody
