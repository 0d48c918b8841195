"""Objects of the local cloud, large ones too."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from dropforge.adapters.s3_store import S3Store

pytestmark = pytest.mark.integration


def test_a_large_version_arrives_byte_for_byte(cloud: Any, tmp_path: Path) -> None:
    """20 MB of numbered lines, overwritten since: the version asked for comes back whole and in order, not as mixed-up parts."""
    body = b"".join(b"%09d\n" % i for i in range(2_000_000))
    store, uri = S3Store(cloud.client("s3")), f"s3://{cloud.outputs['DataBucket']}/tests/large.txt"
    store.put(uri, body)
    version = store.get(uri).version
    store.put(uri, b"overwritten")
    result = store.download(uri, tmp_path / "out", version)
    assert result.size == len(body)
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(body).digest()


@pytest.mark.own_emulator  # the gateway before it is what is strict
@pytest.mark.parametrize(
    ("actions", "code"), [(["s3:GetObject"], "AccessDenied"), (["s3:GetObject", "s3:ListBucket"], "NoSuchKey")]
)
def test_an_absent_object_tells_only_who_may_list(cloud: Any, actions: list[str], code: str) -> None:
    """As S3 does: a caller without ListBucket who asks for an object that is not there is refused."""
    iam, name = cloud.client("iam"), f"reader-{len(actions)}"
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    reader = boto3.client(
        "s3",
        endpoint_url=cloud.outputs["EndpointUrl"],
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        config=Config(s3={"addressing_style": "path"}),
    )
    with pytest.raises(ClientError) as error:
        reader.get_object(Bucket=cloud.outputs["DataBucket"], Key="datasets/absent.json")
    assert error.value.response["Error"]["Code"] == code
