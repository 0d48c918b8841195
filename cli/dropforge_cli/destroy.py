"""destroy: the stack, its retained buckets with every version, and a proof that nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from dropforge.errors import DropforgeError, PermanentError
from dropforge_cli.output import emit_facts, emit_json, err, step
from dropforge_cli.target import Target

BATCH = 1000  # objects of one DeleteObjects call, at most
_SAM_BUCKETS = "aws-sam-cli-managed-default"  # where `sam deploy --resolve-s3` keeps code


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operations")(destroy)


def destroy(
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Delete the system and all its data: stack, buckets with every version, code packages. Asks first; cannot be undone.

    Exit code 1 when something is left, which is then named.
    """
    target = Target.find()
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


def versions(s3: Any, bucket: str, prefix: str = "") -> Iterator[dict[str, str]]:
    """Every version and delete marker of a bucket; nothing when there is no such bucket."""
    from botocore.exceptions import ClientError

    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for kind in ("Versions", "DeleteMarkers"):
                for found in page.get(kind, ()):
                    yield {"Key": found["Key"], "VersionId": found["VersionId"]}
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise


def empty(s3: Any, bucket: str, prefix: str = "", *, delete: bool = False) -> int:
    """Delete every version and marker, BATCH a call; then the bucket itself. Returns how many were deleted."""
    from botocore.exceptions import ClientError

    count = 0
    batch: list[dict[str, str]] = []
    for found in versions(s3, bucket, prefix):
        batch.append(found)
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
        why = [f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', '')}" for e in events[:50]]
        failed = [w for w, e in zip(why, events, strict=False) if e["ResourceStatus"] == "DELETE_FAILED"]
        raise PermanentError(
            f"the stack was not deleted: {'; '.join(failed[:5]) or error}",
            code="delete_failed",
            fix="mend what is named, then run destroy again",
        ) from None


def _forget_packages(target: Target, stack: str) -> None:
    """Code packages in SAM's bucket (under the stack's name) or in the local cloud's own."""
    s3 = target.client("s3")
    if target.local:
        empty(s3, target.outputs["DataBucket"].replace("-data-", "-packages-", 1), delete=True)
    from botocore.exceptions import ClientError

    try:
        found = target.client("cloudformation").describe_stacks(StackName=_SAM_BUCKETS)["Stacks"][0]
    except ClientError:
        return
    for output in found.get("Outputs", ()):
        if output["OutputKey"] == "SourceBucket":
            empty(s3, output["OutputValue"], f"{stack}/")


def remains(client: Callable[[str], Any], project: str, stack: str, buckets: list[str]) -> dict[str, str]:
    """What of the system is still there, by kind, asked of each service; empty when nothing is."""

    def named(values: Iterator[str] | list[str]) -> str:
        return ", ".join(v for v in values if v.startswith((f"{stack}-", f"{project}-", f"/dropforge/{project}/")))

    s3 = client("s3")
    asked: dict[str, Callable[[], str]] = {
        "stack": lambda: ", ".join(
            s["StackName"]
            for page in client("cloudformation").get_paginator("list_stacks").paginate()
            for s in page["StackSummaries"]
            if s["StackName"] == stack and s["StackStatus"] != "DELETE_COMPLETE"
        ),
        "buckets": lambda: ", ".join(b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"] in buckets),
        "functions": lambda: named(
            f["FunctionName"]
            for page in client("lambda").get_paginator("list_functions").paginate()
            for f in page["Functions"]
        ),
        "queues": lambda: named([u.rsplit("/", 1)[-1] for u in client("sqs").list_queues().get("QueueUrls", ())]),
        "state machines": lambda: named([m["name"] for m in client("stepfunctions").list_state_machines()["stateMachines"]]),
        "roles": lambda: named(
            r["RoleName"] for page in client("iam").get_paginator("list_roles").paginate() for r in page["Roles"]
        ),
        "log groups": lambda: named(
            [g["logGroupName"] for g in client("logs").describe_log_groups(logGroupNamePrefix=f"/dropforge/{project}/")["logGroups"]]
        ),
        "alarms": lambda: named([a["AlarmName"] for a in client("cloudwatch").describe_alarms()["MetricAlarms"]]),
        "topics": lambda: named([t["TopicArn"].rsplit(":", 1)[-1] for t in client("sns").list_topics()["Topics"]]),
        "rules": lambda: named([r["Name"] for r in client("events").list_rules()["Rules"]]),
    }  # fmt: skip
    found = {}
    for kind, ask in asked.items():
        try:
            found[kind] = ask()
        except Exception as error:
            found[kind] = f"could not be asked: {error}" if not isinstance(error, DropforgeError) else error.message
    return {kind: names for kind, names in found.items() if names}
