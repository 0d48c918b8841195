"""Destroying: every version goes, and what is left is named."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from moto import mock_aws

from dropforge_cli import destroy
from dropforge_cli.destroy import empty, remains, versions


class _NoStacks:
    def get_paginator(self, _operation: str) -> _NoStacks:
        return self

    def paginate(self) -> list[dict[str, Any]]:
        return [{"StackSummaries": []}]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        # moto's CloudFormation needs a package that nothing else here does: an account without stacks stands in for it.
        yield lambda service: _NoStacks() if service == "cloudformation" else boto3.client(service, "us-east-1")


def _bucket(client: Any, name: str) -> Any:
    s3 = client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return s3


def test_a_versioned_bucket_is_emptied_and_gone(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions and delete markers, more than one call's worth, are deleted with their bucket; a second time does nothing."""
    monkeypatch.setattr(destroy, "BATCH", 3)
    s3 = _bucket(client, "p-data-1")
    for i in range(7):
        s3.put_object(Bucket="p-data-1", Key=f"k{i % 5}", Body=b"x")
    s3.delete_object(Bucket="p-data-1", Key="k1")
    assert empty(s3, "p-data-1", delete=True) == 8
    assert not [b for b in s3.list_buckets()["Buckets"] if b["Name"] == "p-data-1"]
    assert empty(s3, "p-data-1", delete=True) == 0


def test_only_the_prefix_is_emptied(client: Any) -> None:
    """Packages of another stack in SAM's shared bucket stay."""
    s3 = _bucket(client, "shared")
    for key in ("mine/a", "mine/b", "other/c"):
        s3.put_object(Bucket="shared", Key=key, Body=b"x")
    assert empty(s3, "shared", "mine/") == 2
    assert [v["Key"] for v in versions(s3, "shared")] == ["other/c"]


def test_what_is_left_is_named(client: Any) -> None:
    """A queue, a log group and a bucket of the system are told; those of others are not."""
    _bucket(client, "p-data-1")
    for name in ("p-TrainingQueue-1", "other-queue"):
        client("sqs").create_queue(QueueName=name)
    client("logs").create_log_group(logGroupName="/dropforge/p/predict")
    client("logs").create_log_group(logGroupName="/dropforge/other/predict")
    left = remains(client, "p", "p", ["p-data-1"])
    assert left == {"buckets": "p-data-1", "queues": "p-TrainingQueue-1", "log groups": "/dropforge/p/predict"}


def test_what_cannot_be_asked_is_not_proven_gone(client: Any) -> None:
    """A service that refuses the question counts as something left."""

    def refusing(service: str) -> Any:
        if service == "sqs":
            raise RuntimeError("no")
        return client(service)

    assert set(remains(refusing, "p", "p", [])) == {"queues"}
