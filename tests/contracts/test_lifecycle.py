"""Retention by settings.yaml as lifecycle rules of a bucket, against the service's own model of a request."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dropforge.config.settings import load
from dropforge_local.lifecycle import BucketLifecycle

TEMPLATE_RULE = {"ID": "captured", "Status": "Enabled", "Filter": {"Prefix": "captured/"}, "Expiration": {"Days": 90}}
SETTINGS = (
    "project: demo\ndata: {target: y}\nmodels: [{name: m, class: a.b:C}]\nretention: {predictions: 30, incoming: 7}\n"
)


def _rule(prefix: str, days: int) -> dict[str, Any]:
    return {
        "ID": f"retention-{prefix}", "Status": "Enabled", "Filter": {"Prefix": f"{prefix}/"}, "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }  # fmt: skip


@pytest.fixture
def s3() -> Any:
    return boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def test_settings_become_rules_beside_those_of_the_template(s3: Any) -> None:
    """The template's own stay, an earlier one of ours is replaced, a prefix without days gets none."""
    days = load(SETTINGS).retention.model_dump()
    with Stubber(s3) as answers:
        answers.add_response(
            "get_bucket_lifecycle_configuration",
            {"Rules": [TEMPLATE_RULE, _rule("predictions", 90), _rule("batch", 5)]},
        )
        wanted = [TEMPLATE_RULE, _rule("incoming", 7), _rule("predictions", 30)]
        answers.add_response(
            "put_bucket_lifecycle_configuration", {}, {"Bucket": "b", "LifecycleConfiguration": {"Rules": wanted}}
        )
        assert BucketLifecycle(s3).apply("b", days) == ["captured", "retention-incoming", "retention-predictions"]
        answers.assert_no_pending_responses()


def test_nothing_is_written_when_nothing_changes(s3: Any) -> None:
    """The same days again, and no days where there were none."""
    with Stubber(s3) as answers:
        answers.add_response("get_bucket_lifecycle_configuration", {"Rules": [TEMPLATE_RULE, _rule("predictions", 30)]})
        BucketLifecycle(s3).apply("b", {"predictions": 30, "incoming": None})
        answers.add_client_error("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
        assert BucketLifecycle(s3).apply("b", {"predictions": None}) == []
