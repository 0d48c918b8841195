"""destroy: the stack, its retained buckets with every version, and a proof that nothing is left."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from dropforge.errors import DropforgeError, PermanentError
from dropforge_cli.options import Json
from dropforge_cli.output import emit_facts, emit_json, err, step
from dropforge_cli.target import STACK_VARIABLE, Target

BATCH = 1000  # objects of one DeleteObjects call, at most
_SAM_BUCKETS = "aws-sam-cli-managed-default"  # where `sam deploy --resolve-s3` keeps code


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(destroy)


def destroy(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Json = False,
) -> None:
    """Delete the system and all its data: stack, buckets with every version, code packages. Asks first; cannot be undone.

    Exit code 1 when a resource is left; it is listed.
    """
    target = _target()
    outputs = target.outputs
    buckets = [outputs["DataBucket"], outputs["ArtifactBucket"]]
    stack, project = outputs["StackName"], outputs["DataBucket"].partition("-data-")[0]
    if not yes:
        where = outputs.get("EndpointUrl") or f"AWS, region {outputs['Region']}"
        counts = ", ".join(f"{b} ({sum(1 for _ in versions(target.client('s3'), b)):,} versions)" for b in buckets)
        err.print(f"This deletes the stack {stack} ({where}) and for ever all data in {counts}.")
        if typer.prompt("Type the stack's name to go on", default="", show_default=False, err=True) != stack:
            raise PermanentError(
                "nothing was deleted", code="not_confirmed", fix="type the stack's name, or pass --yes"
            )
    with step("running trainings"):
        stop_trainings(target.client, outputs.get("StateMachineArn", ""), project)
    with step("stack"):
        delete_stack(target.client("cloudformation"), stack)
    with step("buckets"):
        for bucket in buckets:
            empty(target.client("s3"), bucket, delete=True)
    with step("code packages"):
        _forget_packages(target, stack)
    left = remains(target.client, project, stack, buckets)
    if json:
        emit_json({"stack": stack, "left": left})
    else:
        emit_facts(left or {"left": "nothing"})
    if left:
        raise typer.Exit(1)


def _target() -> Target:
    """The system to delete. Of a stack that is gone or was never whole the names follow from its own, which `make deploy` makes the
    project's as well, and from the caller's account and region. Raises what Target.find raises where no stack is named."""
    from botocore.exceptions import ClientError

    try:
        return Target.find()
    except (ClientError, KeyError):
        stack = os.environ.get(STACK_VARIABLE, "")
        if not stack:
            raise
    import boto3

    session = boto3.Session()
    account, region = boto3.client("sts").get_caller_identity()["Account"], session.region_name or ""
    err.print(f"The stack {stack} has no outputs: what is deleted are the resources named after the project {stack}.")
    names = {
        kind: f"{stack}-{part}-{account}-{region}"
        for kind, part in (("DataBucket", "data"), ("ArtifactBucket", "artifacts"))
    }
    machine = f"arn:{session.get_partition_for_region(region)}:states:{region}:{account}:stateMachine:{stack}-training"
    return Target({**names, "StackName": stack, "Region": region, "StateMachineArn": machine})


def stop_trainings(client: Callable[[str], Any], machine: str, project: str) -> None:
    """End executions and tasks that still run, and the task definitions that a deploy left for them. What is not there is done."""
    from botocore.exceptions import ClientError

    reason = "the system is being deleted"
    with contextlib.suppress(ClientError):  # no state machine: nothing runs
        pages = client("stepfunctions").get_paginator("list_executions")
        for page in pages.paginate(stateMachineArn=machine, statusFilter="RUNNING"):
            for execution in page["executions"]:
                client("stepfunctions").stop_execution(executionArn=execution["executionArn"], cause=reason)
    ecs, family = client("ecs"), f"{project}-training"
    for cluster in (c for page in ecs.get_paginator("list_clusters").paginate() for c in page["clusterArns"]):
        for page in ecs.get_paginator("list_tasks").paginate(cluster=cluster, family=family):
            for task in page["taskArns"]:
                ecs.stop_task(cluster=cluster, task=task, reason=reason)
    for page in ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family):
        for definition in page["taskDefinitionArns"]:
            if definition.rsplit("/", 1)[-1].rpartition(":")[0] == family:
                ecs.deregister_task_definition(taskDefinition=definition)


def versions(s3: Any, bucket: str, prefix: str = "") -> Iterator[dict[str, str]]:
    """Every version and delete marker of a bucket; nothing when there is no such bucket."""
    from botocore.exceptions import ClientError

    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for kind in ("Versions", "DeleteMarkers"):
                for result in page.get(kind, ()):
                    yield {"Key": result["Key"], "VersionId": result["VersionId"]}
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def empty(s3: Any, bucket: str, prefix: str = "", *, delete: bool = False) -> int:
    """Delete every version and marker, BATCH a call; then the bucket itself. Returns how many were deleted."""
    from botocore.exceptions import ClientError

    count = 0
    batch: list[dict[str, str]] = []
    for result in versions(s3, bucket, prefix):
        batch.append(result)
        if len(batch) == BATCH:
            count += _delete(s3, bucket, batch)
            batch = []
    count += _delete(s3, bucket, batch) if batch else 0
    if delete:
        try:
            s3.delete_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise
    return count


def _delete(s3: Any, bucket: str, batch: list[dict[str, str]]) -> int:
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
    if answer.get("Errors"):
        first = answer["Errors"][0]
        raise PermanentError(
            f"{bucket}/{first['Key']}: {first['Message']}",
            code="not_deleted",
            fix="the caller needs s3:DeleteObjectVersion; then run destroy again",
        )
    return len(batch)


def delete_stack(cloudformation: Any, stack: str) -> None:
    """Delete and wait. Raises PermanentError with the reasons when CloudFormation refuses."""
    from botocore.exceptions import WaiterError

    cloudformation.delete_stack(StackName=stack)
    try:
        cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=stack, WaiterConfig={"Delay": 2, "MaxAttempts": 900}
        )
    except WaiterError as error:
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', '')}" for e in events[:50]]
        failed = [w for w, e in zip(reasons, events, strict=False) if e["ResourceStatus"] == "DELETE_FAILED"]
        raise PermanentError(
            f"the stack was not deleted: {'; '.join(failed[:5]) or error}",
            code="delete_failed",
            fix="correct what is named, then run destroy again",
        ) from None


def _forget_packages(target: Target, stack: str) -> None:
    """Code packages in SAM's bucket (under the stack's name) or in the local cloud's own."""
    s3 = target.client("s3")
    if target.local:
        empty(s3, target.outputs["DataBucket"].replace("-data-", "-packages-", 1), delete=True)
    from botocore.exceptions import ClientError

    try:
        result = target.client("cloudformation").describe_stacks(StackName=_SAM_BUCKETS)["Stacks"][0]
    except ClientError:
        return
    for output in result.get("Outputs", ()):
        if output["OutputKey"] == "SourceBucket":
            empty(s3, output["OutputValue"], f"{stack}/")


def remains(client: Callable[[str], Any], project: str, stack: str, buckets: list[str]) -> dict[str, str]:
    """What of the system is still there, by kind, asked of each service; empty when nothing is.

    Of a stack `forge` that is `forge-AnalyzeFunction-…`, as CloudFormation names things; `forge-bootstrap-…` and `forge-staging-…`
    are of other stacks: a logical name begins with a capital letter, a project's name has none.
    """
    own = re.compile(
        rf"{re.escape(stack)}-[A-Z].*|{re.escape(project)}-training(:\d+)?|(/aws/vendedlogs)?/dropforge/{re.escape(project)}/.*"
    )

    def named(values: Iterator[str] | list[str]) -> str:
        return ", ".join(v for v in values if own.fullmatch(v))

    def listed(service: str, operation: str, result: str, **arguments: Any) -> Iterator[Any]:
        """Every entry of every page: a first page alone would prove nothing."""
        for page in client(service).get_paginator(operation).paginate(**arguments):
            yield from page.get(result, ())

    groups, family = (f"/dropforge/{project}/", f"/aws/vendedlogs/dropforge/{project}/"), f"{project}-training"
    requested: dict[str, Callable[[], str]] = {
        "stack": lambda: ", ".join(
            s["StackName"]
            for s in listed("cloudformation", "list_stacks", "StackSummaries")
            if s["StackName"] == stack and s["StackStatus"] != "DELETE_COMPLETE"
        ),
        "buckets": lambda: ", ".join(
            b["Name"] for b in listed("s3", "list_buckets", "Buckets") if b["Name"] in buckets
        ),
        "functions": lambda: named(f["FunctionName"] for f in listed("lambda", "list_functions", "Functions")),
        # SQS pages only where a page's size is asked for.
        "queues": lambda: named(
            u.rsplit("/", 1)[-1] for u in listed("sqs", "list_queues", "QueueUrls", PaginationConfig={"PageSize": 1000})
        ),
        "state machines": lambda: named(
            m["name"] for m in listed("stepfunctions", "list_state_machines", "stateMachines")
        ),
        "roles": lambda: named(r["RoleName"] for r in listed("iam", "list_roles", "Roles")),
        "log groups": lambda: named(
            g["logGroupName"]
            for group in groups
            for g in listed("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=group)
        ),
        "alarms": lambda: named(a["AlarmName"] for a in listed("cloudwatch", "describe_alarms", "MetricAlarms")),
        "topics": lambda: named(t["TopicArn"].rsplit(":", 1)[-1] for t in listed("sns", "list_topics", "Topics")),
        "rules": lambda: named(r["Name"] for r in listed("events", "list_rules", "Rules")),
        "task definitions": lambda: named(
            f"{a.rsplit('/', 1)[-1]}"
            for a in listed("ecs", "list_task_definitions", "taskDefinitionArns", familyPrefix=family)
        ),
    }
    matches = {kind: _answer_of(ask) for kind, ask in requested.items()}
    return {kind: names for kind, names in matches.items() if names}


def _answer_of(ask: Callable[[], str]) -> str:
    """The names that are left, or why they are not known."""
    try:
        return ask()
    except DropforgeError as error:
        return error.message
    except Exception as error:
        return f"request failed: {error}"
