"""Destroying: every version goes, and what is left is named."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from dropforge_cli.commands import destroy
from dropforge_cli.commands.destroy import empty, remains, versions


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
    """A queue, log groups and a bucket of the system are told; those of others are not, of its bootstrap stack neither."""
    _bucket(client, "p-data-1")
    for name in ("p-TrainingQueue-1", "other-queue", "p-bootstrap-Queue-1", "p-staging-TrainingQueue-1"):
        client("sqs").create_queue(QueueName=name)
    groups = (
        "/dropforge/p/predict",
        "/aws/vendedlogs/dropforge/p/workflow",
        "/dropforge/other/predict",
        "/dropforge/p-staging/predict",
    )
    for name in groups:
        client("logs").create_log_group(logGroupName=name)
    left = remains(client, "p", "p", ["p-data-1"])
    assert left == {"buckets": "p-data-1", "queues": "p-TrainingQueue-1", "log groups": ", ".join(groups[:2])}


def test_what_cannot_be_asked_is_not_proven_gone(client: Any) -> None:
    """A service that refuses the question counts as something left."""

    def refusing(service: str) -> Any:
        if service == "sqs":
            raise RuntimeError("no")
        return client(service)

    assert set(remains(refusing, "p", "p", [])) == {"queues"}


@pytest.mark.parametrize(
    ("kind", "service", "operation", "entry"),
    [
        ("stack", "cloudformation", "list_stacks", {"StackSummaries": [{"StackName": "p", "StackStatus": "CREATE_COMPLETE"}]}),
        ("buckets", "s3", "list_buckets", {"Buckets": [{"Name": "p-data-1"}]}),
        ("functions", "lambda", "list_functions", {"Functions": [{"FunctionName": "p-Predict"}]}),
        ("queues", "sqs", "list_queues", {"QueueUrls": ["https://sqs/1/p-Queue"]}),
        ("state machines", "stepfunctions", "list_state_machines", {"stateMachines": [{"name": "p-training"}]}),
        ("roles", "iam", "list_roles", {"Roles": [{"RoleName": "p-Role"}]}),
        ("log groups", "logs", "describe_log_groups", {"logGroups": [{"logGroupName": "/dropforge/p/predict"}]}),
        ("alarms", "cloudwatch", "describe_alarms", {"MetricAlarms": [{"AlarmName": "p-Alarm"}]}),
        ("topics", "sns", "list_topics", {"Topics": [{"TopicArn": "arn:aws:sns:r:1:p-Topic"}]}),
        ("rules", "events", "list_rules", {"Rules": [{"Name": "p-Rule"}]}),
        ("task definitions", "ecs", "list_task_definitions", {"taskDefinitionArns": ["arn:aws:ecs:r:1:task-definition/p-training:1"]}),
    ],
)  # fmt: skip
def test_what_stands_on_the_second_page_is_left_too(
    kind: str, service: str, operation: str, entry: dict[str, Any]
) -> None:
    """Every service is asked for all its pages: `left: nothing` after the first one would be false."""

    class Pages:
        def __init__(self, name: str) -> None:
            self._name = name

        def get_paginator(self, operation_name: str) -> Pages:
            assert boto3.client(self._name, "us-east-1").can_paginate(operation_name)
            self._operation_name = operation_name
            return self

        def paginate(self, **_: Any) -> list[dict[str, Any]]:
            return [{}, entry] if (self._name, self._operation_name) == (service, operation) else [{}]

    assert list(remains(Pages, "p", "p", ["p-data-1"])) == [kind]


def test_names_follow_from_the_stack_when_it_was_never_whole(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first deploy that failed left no outputs; destroy finds the buckets by the project, the account and the region."""
    monkeypatch.setenv(destroy.STACK_VARIABLE, "forge")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    def absent() -> Any:
        raise ClientError(
            {"Error": {"Code": "ValidationError", "Message": "Stack with id forge does not exist"}}, "DescribeStacks"
        )

    monkeypatch.setattr(destroy.Target, "find", absent)
    outputs = destroy._target().outputs
    assert (outputs["DataBucket"], outputs["ArtifactBucket"]) == (
        "forge-data-123456789012-eu-west-1",
        "forge-artifacts-123456789012-eu-west-1",
    )
    assert outputs["StackName"] == "forge"


def test_trainings_end_before_their_stack_does(client: Any) -> None:
    """Running executions are stopped, and revisions of the task that a deploy left registered are taken away; others' stay."""
    role = "arn:aws:iam::123456789012:role/x"
    definition = '{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": true}}}'
    created = client("stepfunctions").create_state_machine(name="p-training", definition=definition, roleArn=role)
    started = client("stepfunctions").start_execution(stateMachineArn=created["stateMachineArn"], input="{}")
    for family in ("p-training", "p-training", "p-training-other"):
        client("ecs").register_task_definition(
            family=family, containerDefinitions=[{"name": "c", "image": "i", "memory": 64}]
        )
    destroy.stop_trainings(client, created["stateMachineArn"], "p")
    execution = client("stepfunctions").describe_execution(executionArn=started["executionArn"])
    assert execution["status"] == "ABORTED"
    left = client("ecs").list_task_definitions()["taskDefinitionArns"]
    assert [arn.rsplit("/", 1)[-1] for arn in left] == ["p-training-other:1"]
