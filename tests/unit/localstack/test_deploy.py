"""Deploying to an emulator: what it finds there before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dropforge.errors import PermanentError, Unavailable
from dropforge_local import deploy
from dropforge_local.layout import Config

CONFIG = Config(Path(), Path("home"))


class _Store:
    """The data bucket of a stack that the emulator has forgotten; it lists two versions a page."""

    class exceptions:  # noqa: N801 - botocore's name
        class NoSuchBucket(Exception): ...

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.buckets = {CONFIG.data_bucket}

    def get_paginator(self, operation: str) -> _Store:
        assert operation == "list_object_versions"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803 - botocore's names
        if Bucket not in self.buckets:
            raise self.exceptions.NoSuchBucket
        matches = [{"Key": k, "VersionId": "1"} for k in self.keys if k.startswith(Prefix)]
        return [{"Versions": matches[i : i + 2]} for i in range(0, len(matches), 2)] + [{}]

    def delete_object(self, *, Bucket: str, Key: str, VersionId: str) -> None:  # noqa: N803 - botocore's names
        assert (Bucket in self.buckets, VersionId) == (True, "1")
        self.keys.remove(Key)

    def delete_bucket(self, *, Bucket: str) -> None:  # noqa: N803 - botocore's name
        assert not self.keys
        self.buckets.remove(Bucket)


def test_data_on_a_later_page_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket with uploads behind a page of other keys holds data: the deploy stops, and nothing is deleted."""
    store = _Store(["config/1", "config/2", "config/3", "uploads/1.json"])
    monkeypatch.setattr(deploy, "client", lambda *_: store)
    with pytest.raises(PermanentError) as error:
        deploy._clear_leftovers(CONFIG)
    assert (error.value.code, len(store.keys)) == ("stack_lost", 4)


def test_a_bucket_of_more_than_a_page_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without data every version of every page goes, and the bucket with them."""
    store = _Store([f"config/{number}" for number in range(5)])
    monkeypatch.setattr(deploy, "client", lambda *_: store)
    deploy._clear_leftovers(CONFIG)
    assert (store.keys, store.buckets) == ([], set())


def test_a_stack_that_is_still_being_made_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deploy waits until it is settled, and says that it takes long, not that the template is wrong."""
    states = iter(["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"])
    monkeypatch.setattr(deploy, "stack_status", lambda _config: next(states))
    assert deploy._finished(CONFIG, None, "created") == "created"
    monkeypatch.setattr(deploy, "stack_status", lambda _config: "CREATE_IN_PROGRESS")
    monkeypatch.setattr(deploy, "_STACK_SECONDS", 0.1)
    with pytest.raises(Unavailable) as slow:
        deploy._finished(CONFIG, None, "created")
    assert (slow.value.code, "goes on waiting" in slow.value.fix) == ("deploy_slow", True)
