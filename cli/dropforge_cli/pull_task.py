"""A pull by the worker's entry point: a Fargate task of a deployed stack, a process beside the local cloud."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from dropforge import keys
from dropforge.errors import InvalidRequest, NotFound, PermanentError, Unavailable
from dropforge.messages import PullJob, PullResult

if TYPE_CHECKING:
    from dropforge.ports import ObjectStore
    from dropforge_cli.target import Target

_LONGEST: Final = 2 * 3600.0  # seconds
_POLL: Final = 6  # seconds
_OUTPUTS: Final = ("PullRoleArn", "TrainingClusterArn", "TrainingTaskArn", "TaskSubnetIds", "TaskSecurityGroupId")
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "NO_PROXY", "no_proxy")


def run(target: Target, job: PullJob, store: ObjectStore) -> PullResult:
    """Wait for the job's end and give its result.

    Raises InvalidRequest with the worker's reason when it failed, PermanentError when the stack has no way to run it or the worker
    left no result, Unavailable after two hours.
    """
    ended = _process(target, job) if target.local else _task(target, job)
    try:
        result = PullResult.parse(store.get(keys.pull_result(target.outputs["DataBucket"], job.job_id)).body)
    except NotFound:
        raise PermanentError(
            f"the worker ended without a result: {ended}",
            code="worker_died",
            fix="see its log: dropforge logs --service training",
        ) from None
    if result.error:
        raise InvalidRequest(result.error, code=result.code, fix=result.fix)
    return result


def _process(target: Target, job: PullJob) -> str:
    """As the local cloud runs its workers, but with the account's own credentials: there is no role for pulls."""
    env = {k: v for k, v in os.environ.items() if k in _PASSED_ON} | {
        **target.account,
        "AWS_ENDPOINT_URL": target.outputs["EndpointUrl"],
        "AWS_REGION": target.outputs["Region"],
        "AWS_DEFAULT_REGION": target.outputs["Region"],
        "DATA_BUCKET": target.outputs["DataBucket"],
        "ARTIFACT_BUCKET": target.outputs["ArtifactBucket"],
        "TRAINING_LOG_GROUP": f"{prefix}training" if (prefix := target.outputs.get("LogGroupPrefix", "")) else "",
        "JOB": job.json_text(),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dropforge_training.worker.queue_worker"],
            env=env, timeout=_LONGEST, check=False, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _slow() from None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:300]


def _task(target: Target, job: PullJob) -> str:
    """The training task's definition under the role of pulls. Why it stopped."""
    missing = [name for name in _OUTPUTS if not target.outputs.get(name)]
    if missing:
        raise PermanentError(
            f"the stack cannot pull: it has no output {missing[0]}",
            code="pull_role_missing",
            fix="deploy with TrainingCompute=fargate and SourcesPolicyArn: docs/how-to/sources.md",
        )
    ecs, out = target.client("ecs"), target.outputs
    answer = ecs.run_task(
        cluster=out["TrainingClusterArn"],
        taskDefinition=out["TrainingTaskArn"],
        launchType="FARGATE",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": out["TaskSubnetIds"].split(","),
                "securityGroups": [out["TaskSecurityGroupId"]],
                "assignPublicIp": out["TaskPublicIp"],
            }
        },
        overrides={
            "taskRoleArn": out["PullRoleArn"],
            "containerOverrides": [{"name": "training", "environment": [{"name": "JOB", "value": job.json_text()}]}],
        },
    )
    if not answer["tasks"]:
        raise Unavailable(
            f"no task was started: {', '.join(str(f.get('reason')) for f in answer['failures']) or 'no reason given'}",
            code="task_not_started",
            fix="try again; look at the cluster's capacity and the subnets",
        )
    return _stopped(ecs, out["TrainingClusterArn"], answer["tasks"][0]["taskArn"])


def _stopped(ecs: Any, cluster: str, task: str) -> str:
    """Wait until the task has stopped; why it did."""
    from botocore.exceptions import WaiterError

    wanted: dict[str, Any] = {"cluster": cluster, "tasks": [task]}
    waits = {"Delay": _POLL, "MaxAttempts": int(_LONGEST / max(_POLL, 1))}
    try:
        ecs.get_waiter("tasks_stopped").wait(**wanted, WaiterConfig=waits)
    except WaiterError:
        raise _slow() from None
    return str(ecs.describe_tasks(**wanted)["tasks"][0].get("stoppedReason") or "no reason given")


def _slow() -> Unavailable:
    return Unavailable(
        f"the pull did not end within {_LONGEST / 3600:.0f} hours",
        code="source_slow",
        fix="it may still run: wait, then `dropforge pull` again, which brings what it did not",
    )
