"""Objects of the local cloud, large ones too."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from dropforge.adapters.s3 import S3Store

pytestmark = pytest.mark.integration


def test_a_large_version_arrives_byte_for_byte(cloud: Any, tmp_path: Path) -> None:
    """20 MB of numbered lines, overwritten since: the version asked for comes back whole and in order, not as mixed-up parts."""
    body = b"".join(b"%09d\n" % i for i in range(2_000_000))
    store, uri = S3Store(cloud.client("s3")), f"s3://{cloud.outputs['DataBucket']}/tests/large.txt"
    store.put(uri, body)
    version = store.get(uri).version
    store.put(uri, b"overwritten")
    found = store.download(uri, tmp_path / "out", version)
    assert found.size == len(body)
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(body).digest()
