"""A pull as a Fargate task, as far as it can be seen without one: what ECS is asked for, and what becomes of the answer."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dropforge import keys
from dropforge.errors import InvalidRequest, PermanentError, Unavailable
from dropforge.messages import PullJob, PullResult
from dropforge_cli import pull_task
from dropforge_cli.target import Target
from dropforge_local.memory import MemoryStore

_ARN = "arn:aws:ecs:us-east-1:123456789012"
_OUTPUTS = {
    "DataBucket": "data", "EndpointUrl": "", "Region": "us-east-1", "PullRoleArn": "arn:aws:iam::123456789012:role/pull",
    "TrainingClusterArn": f"{_ARN}:cluster/c", "TrainingTaskArn": f"{_ARN}:task-definition/d:1", "TaskSubnetIds": "subnet-1,subnet-2",
    "TaskSecurityGroupId": "sg-1", "TaskPublicIp": "DISABLED",
}  # fmt: skip
_JOB = PullJob(role="pull", job_id="ab12", source="events", settings_uri="s3://data/config/settings.yaml")
_ASKED = {
    "cluster": f"{_ARN}:cluster/c",
    "taskDefinition": f"{_ARN}:task-definition/d:1",
    "launchType": "FARGATE",
    "networkConfiguration": {
        "awsvpcConfiguration": {
            "subnets": ["subnet-1", "subnet-2"],
            "securityGroups": ["sg-1"],
            "assignPublicIp": "DISABLED",
        }
    },
    "overrides": {
        "taskRoleArn": "arn:aws:iam::123456789012:role/pull",
        "containerOverrides": [{"name": "training", "environment": [{"name": "JOB", "value": _JOB.json_text()}]}],
    },
}


@pytest.fixture
def ecs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of ECS whose answers are given; its requests are held to the service's model."""
    client = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(Target, "client", lambda _self, _service: client)
    monkeypatch.setattr(pull_task, "_POLL", 0)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def _answered(ecs: Any, *states: str, reason: str = "Essential container in task exited") -> None:
    task = {"taskArn": f"{_ARN}:task/c/1"}
    ecs.add_response("run_task", {"tasks": [task], "failures": []}, _ASKED)
    for state in states:
        found = {**task, "lastStatus": state, **({"stoppedReason": reason} if state == "STOPPED" else {})}
        ecs.add_response(
            "describe_tasks", {"tasks": [found]}, {"cluster": f"{_ARN}:cluster/c", "tasks": [task["taskArn"]]}
        )


def _store(**result: Any) -> MemoryStore:
    store = MemoryStore()
    store.put(keys.pull_result("data", "ab12"), PullResult(source="events", **result).json_text().encode())
    return store


def test_the_task_has_the_role_of_pulls_and_the_job(ecs: Any) -> None:
    """Its definition, network and container are those of a training; waited for until it stopped."""
    _answered(ecs, "PENDING", "STOPPED", "STOPPED")
    assert pull_task.run(Target(_OUTPUTS), _JOB, _store(rows=7)).rows == 7


def test_the_workers_reason_is_told(ecs: Any) -> None:
    """Code and fix as the worker gave them."""
    _answered(ecs, "STOPPED", "STOPPED")
    with pytest.raises(InvalidRequest) as caught:
        pull_task.run(Target(_OUTPUTS), _JOB, _store(error="no such table", code="source_unreadable", fix="look"))
    assert (caught.value.message, caught.value.code, caught.value.fix) == ("no such table", "source_unreadable", "look")


def test_a_task_that_left_nothing_is_told_with_its_reason(ecs: Any) -> None:
    """As one that ran out of memory, or whose image could not be pulled."""
    _answered(ecs, "STOPPED", "STOPPED", reason="CannotPullContainerError: not found")
    with pytest.raises(PermanentError, match="CannotPullContainerError"):
        pull_task.run(Target(_OUTPUTS), _JOB, MemoryStore())


def test_a_task_that_was_not_started_is_told_with_the_failure(ecs: Any) -> None:
    """The cluster's own words."""
    ecs.add_response("run_task", {"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]}, _ASKED)
    with pytest.raises(Unavailable, match="RESOURCE:MEMORY"):
        pull_task.run(Target(_OUTPUTS), _JOB, MemoryStore())


def test_a_stack_without_the_role_says_how_to_get_it() -> None:
    """Before anything is started."""
    outputs = {k: v for k, v in _OUTPUTS.items() if k != "PullRoleArn"}
    with pytest.raises(PermanentError) as caught:
        pull_task.run(Target(outputs), _JOB, MemoryStore())
    assert "SourcesPolicyArn" in caught.value.fix


def test_the_job_is_what_the_worker_reads() -> None:
    """The variable JOB asks for a pull; a training's does not."""
    from dropforge_training.worker import pull_job

    assert pull_job.is_pull(_JOB.json_text())
    assert not any(pull_job.is_pull(t) for t in ("", "{", "[]", json.dumps({"role": "tune"})))
