"""Names that derive from content, so that a replayed event changes nothing."""

from __future__ import annotations

import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_UPLOAD_ID = re.compile(r"[0-9a-f]{20}")


def upload_id(bucket: str, key: str, version: str) -> str:
    """First 20 hex of sha256(bucket, key, version id or etag): one identity for each stored object version."""
    return hashlib.sha256("\n".join((bucket, key, version)).encode()).hexdigest()[:20]


def is_upload_id(text: str) -> bool:
    """Whether it has the form of one; only such a text may become part of a key."""
    return _UPLOAD_ID.fullmatch(text) is not None


def execution_name(upload: str, attempt: int = 1) -> str:
    """Name of the workflow execution for an upload; attempt > 1 is one that recovery started again."""
    return f"upload-{upload}" if attempt == 1 else f"upload-{upload}-{attempt}"


def trigger_name(number: int, execution: int = 1) -> str:
    """Name of the execution that waits for the quiet period of a round; execution > 1: the one before it died."""
    return f"trigger-{number}" if execution == 1 else f"trigger-{number}-{execution}"


def shards_name(upload: str, stage: str, execution: int = 1) -> str:
    """Name of the execution that reads the shards of an upload in one stage; execution > 1: the one before it died."""
    return f"shards-{upload}-{stage}" if execution == 1 else f"shards-{upload}-{stage}-{execution}"


def parts_name(folder: str, number: int, execution: int = 1) -> str:
    """Name of the execution that waits for the parts of a folder; execution > 1: the one before it died."""
    digest = hashlib.sha256(folder.encode()).hexdigest()[:20]
    return f"parts-{digest}-{number}" if execution == 1 else f"parts-{digest}-{number}-{execution}"


def job_id(upload: str, model: str) -> str:
    """Name of one training job: the same upload and model are the same job."""
    return f"{upload}-{slug(model)}"


def registered_model(project: str, model: str) -> str:
    """Name of the registered model of one candidate family."""
    return f"{slug(project)}-{slug(model)}"


def slug(text: str) -> str:
    """Letters, digits, `-` and `_` only."""
    return _UNSAFE.sub("-", text).strip("-") or "x"
