"""Clients as a user of any local AWS would make them: through localstack-client, so the suite knows no emulator by name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

import pytest
from localstack_client.session import Session

from dropforge import identity

Drop = Callable[[str, bytes], str]
Wait = Callable[..., dict[str, Any]]
TERMINAL = {"concluded", "accepted", "rejected", "blocked", "failed", "skipped", "stored"}


@pytest.fixture(scope="session")
def aws(cloud: Any) -> Callable[[str], Any]:
    """Makes clients of the running stack."""
    endpoint = urlparse(cloud.outputs["EndpointUrl"])
    session = Session(
        aws_access_key_id=cloud.outputs["AccessKeyId"],
        aws_secret_access_key=cloud.outputs["SecretAccessKey"],
        aws_session_token=None,
        region_name=cloud.outputs["Region"],
        localstack_host=f"{endpoint.hostname}:{endpoint.port}",
    )
    from botocore.config import Config

    return lambda service: session.client(
        service, config=Config(s3={"addressing_style": "path"}, signature_version="s3v4" if service == "s3" else None)
    )


@pytest.fixture(scope="session")
def drop(aws: Callable[[str], Any], cloud: Any) -> Drop:
    """Put bytes under incoming/ and tell the upload's id."""

    def put(name: str, body: bytes) -> str:
        bucket, key = cloud.outputs["DataBucket"], f"incoming/{name}"
        answer = aws("s3").put_object(Bucket=bucket, Key=key, Body=body)
        return identity.upload_id(bucket, key, answer["VersionId"])

    return put


@pytest.fixture(scope="session")
def wait(aws: Callable[[str], Any], cloud: Any) -> Wait:
    """Poll an upload's record until it is terminal (or in one of `states`)."""

    def until(upload_id: str, *states: str, seconds: float = 180) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        record: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                body = (
                    aws("s3")
                    .get_object(Bucket=cloud.outputs["DataBucket"], Key=f"uploads/{upload_id}.json")["Body"]
                    .read()
                )
                record = json.loads(body)
            except aws("s3").exceptions.NoSuchKey:
                record = {}
            if record.get("state") in (states or TERMINAL):
                return record
            time.sleep(0.1)
        raise AssertionError(f"upload {upload_id} is still {record.get('state')}: {record}")

    return until


@pytest.fixture(scope="session")
def reference(drop: Drop, wait: Wait, adult_lines: list[str]) -> dict[str, Any]:
    """The record of the cloud's first upload, concluded."""
    return wait(drop("reference.csv", ("\n".join(adult_lines[:4001]) + "\n").encode()))
