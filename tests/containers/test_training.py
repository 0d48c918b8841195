"""Training in the image of training/Dockerfile: as a worker on the queue, and as one task a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from dropforge_cli.commands.uploads import follow_upload, put
from dropforge_local import deploy

from ..conftest import Cloud

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]
ROWS = 4000


def _upload(cloud: Cloud, folder: Path, lines: list[str]) -> dict[str, Any]:
    file = folder / "rows.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    record: dict[str, Any] = follow_upload(cloud.target, put(cloud.target, file), timeout=900)
    return record


def _registered(cloud: Cloud, record: dict[str, Any]) -> set[str]:
    """The models of an upload that concluded; each has a version of that upload in the registry, labelled `newest`."""
    assert record["state"] == "concluded", record
    listed = cloud.target.api("GET", "/models").json()["models"]
    newest = {m["version"] for m in listed if m["upload_id"] == record["upload_id"] and "newest" in m["aliases"]}
    assert {m["version"] for m in record["models"]} == newest
    return {m["model"] for m in record["models"]}


def _messages(cloud: Cloud, queue: str) -> int:
    requested = cloud.client("sqs").get_queue_attributes(
        QueueUrl=cloud.outputs[queue], AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(requested["Attributes"]["ApproximateNumberOfMessages"])


def _tasks(cloud: Cloud) -> dict[str, dict[str, Any]]:
    """Every task the stack's cluster knows, by its id."""
    ecs = cloud.client("ecs")
    cluster = ecs.list_clusters()["clusterArns"][0]
    listed = [a for s in ("RUNNING", "STOPPED") for a in ecs.list_tasks(cluster=cluster, desiredStatus=s)["taskArns"]]
    known = ecs.describe_tasks(cluster=cluster, tasks=listed)["tasks"] if listed else []
    return {t["taskArn"].rsplit("/", 1)[1]: t for t in known}


def _ended(cloud: Cloud, tasks: set[str]) -> dict[str, dict[str, Any]]:
    """These tasks, when all have ended: a task ends after it has told its workflow."""
    for _ in range(300):
        matches = {name: task for name, task in _tasks(cloud).items() if name in tasks}
        if all(t["lastStatus"] == "STOPPED" for t in matches.values()):
            return matches
        time.sleep(0.1)
    raise AssertionError(matches)


def test_a_container_takes_jobs_from_the_queue(
    on_queue: Cloud,
    run: Callable[..., Container],
    training_image: str,
    adult_lines: list[str],
    tmp_path: Path,
) -> None:
    """Every model of an upload is trained, registered and labelled by it, and SIGTERM ends it well."""
    worker = run(training_image)
    record = _upload(on_queue, tmp_path, [adult_lines[0], *adult_lines[ROWS + 1 : 2 * ROWS + 1]])
    assert _registered(on_queue, record) == {"random_forest", "xgboost"}
    assert all(m["metrics"]["roc_auc"] > 0.85 for m in record["models"])
    worker.stop(timeout=30)
    worker.reload()
    assert (worker.attrs["Config"]["User"], worker.attrs["State"]["ExitCode"]) == ("worker", 0)
    assert worker.logs().decode().count('"job done"') == 2


def test_each_job_is_a_task_of_its_own(on_fargate: Cloud, adult_lines: list[str], tmp_path: Path) -> None:
    """With TrainingCompute=fargate an upload is trained by two ECS tasks that end with 0, and its best version answers."""
    before = set(_tasks(on_fargate))
    record = _upload(on_fargate, tmp_path, [adult_lines[0], *adult_lines[2 * ROWS + 1 : 3 * ROWS + 1]])
    assert _registered(on_fargate, record) == {"random_forest", "xgboost"}
    tasks = _ended(on_fargate, set(_tasks(on_fargate)) - before)
    assert [t["containers"][0]["exitCode"] for t in tasks.values()] == [0, 0]
    assert _messages(on_fargate, "TrainingQueueUrl") == 0
    streams = on_fargate.client("logs").describe_log_streams(
        logGroupName=on_fargate.config.training_log_group, logStreamNamePrefix="job/training/"
    )["logStreams"]
    assert set(tasks) <= {s["logStreamName"].rsplit("/", 1)[1] for s in streams}

    version = next(m["version"] for m in record["models"] if m["model"] == "xgboost")
    labels = {"model": "adult-income-xgboost", "alias": "Production"}
    on_fargate.target.api("POST", "/aliases", json={**labels, "version": version})
    on_fargate.target.api("POST", "/set_model", json=labels)
    row = on_fargate.target.api("GET", "/model_info").json()["example"]
    answer = on_fargate.target.api("POST", "/predict", json={"records": [row]}).json()
    assert answer["model"]["version"] == version
    assert answer["predictions"][0]["label"] in {"<=50K", ">50K"}


def test_the_role_of_the_task_is_the_training_role(on_fargate: Cloud) -> None:
    """The deployed task names it, and its profile assumes it: nothing trains with root's rights."""
    task = deploy.client(on_fargate.config, "ecs").describe_task_definition(taskDefinition="dropforge-TrainingTask")
    assert task["taskDefinition"]["taskRoleArn"] == on_fargate.outputs["TrainingRoleArn"]
    profile = (on_fargate.config.task_profile / "config").read_text()
    assert f"role_arn = {on_fargate.outputs['TrainingRoleArn']}" in profile
    given = {v["name"]: v["value"] for v in task["taskDefinition"]["containerDefinitions"][0]["environment"]}
    assert given["AWS_PROFILE"] == "dropforge"
    assert "AWS_ACCESS_KEY_ID" not in given
