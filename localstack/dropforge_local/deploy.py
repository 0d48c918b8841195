"""template.yaml onto the local cloud. Idempotent: nothing changed is success."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from dropforge import keys
from dropforge.adapters import history_mac
from dropforge.errors import PermanentError, Unavailable
from dropforge_local import containers
from dropforge_local.credentials import ACCESS_KEY, SECRET_KEY
from dropforge_local.layout import CONTAINER, FARGATE, REGION, Config
from dropforge_local.packaging import expanded, leave_out_metric_math, number_concurrency, package
from dropforge_local.relay import HOST_NAME

_STACK_SECONDS = 900.0  # of a create or an update
_NOTHING = "No updates are to be performed"


def client(config: Config, service: str, timeout: float = 60, attempts: int = 3) -> Any:
    """A root client of the local cloud; `timeout`: seconds it waits for an answer; `attempts`: how often it asks."""
    return boto3.client(
        service,
        endpoint_url=config.endpoint,
        region_name=REGION,
        aws_access_key_id=config.credentials[ACCESS_KEY],
        aws_secret_access_key=config.credentials[SECRET_KEY],
        config=BotoConfig(
            s3={"addressing_style": "path"},
            signature_version="s3v4" if service == "s3" else None,
            retries={"total_max_attempts": attempts + 1},
            read_timeout=timeout,
        ),
    )


def deploy(config: Config) -> str:
    """Package and create or update the stack. Returns created | updated | unchanged. Raises PermanentError with the stack's events."""
    # Some emulators answer only when the stack is there; asked again meanwhile, they would refuse it as one that exists.
    cloudformation = client(config, "cloudformation", timeout=_STACK_SECONDS, attempts=0)
    arguments = {
        "StackName": config.stack,
        "TemplateURL": _packaged(config),
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in _parameters(config).items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    status = _settled(config)
    if status.startswith("ROLLBACK") or status in {"CREATE_FAILED", "DELETE_FAILED"}:
        cloudformation.delete_stack(StackName=config.stack)
        status = ""
    if not status:
        _clear_leftovers(config)
        cloudformation.create_stack(**arguments)
        return _finished(config, cloudformation, "created")
    try:
        cloudformation.update_stack(**arguments)
    except ClientError as error:
        if _NOTHING in str(error):
            return "unchanged"
        raise PermanentError(
            f"the stack was not updated: {error}", code="deploy_failed", fix="correct template.yaml"
        ) from error
    return _finished(config, cloudformation, "updated")


def _packaged(config: Config) -> str:
    """Put the code and the template into the bucket of packages, where they are not there yet; the template's URL."""
    s3 = client(config, "s3")
    # An emulator that was killed finds buckets on disk, and tells so here.
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=config.package_bucket)
    stored = {
        o["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=config.package_bucket)
        for o in page.get("Contents", ())
    }

    def put(key: str, body: bytes) -> str:
        if key not in stored:
            s3.put_object(Bucket=config.package_bucket, Key=key, Body=body)
        return keys.uri(config.package_bucket, key)

    template = package(config.root, put, foreign=_parameters(config) if config.external else None)
    leave_out_metric_math(template)
    number_concurrency(template, config.parameters)
    if config.compute == FARGATE:
        containers.adapt(template, config)
    if config.external:
        template = expanded(template, _parameters(config))
    body = json.dumps(template).encode()
    key = f"template/{hashlib.sha256(body).hexdigest()[:32]}.json"
    put(key, body)
    return f"{config.endpoint}/{config.package_bucket}/{key}"


def _clear_leftovers(config: Config) -> None:
    """Buckets of a stack whose emulator was killed before it had saved it. Raises PermanentError when they hold uploads."""
    s3 = client(config, "s3")
    for bucket in (config.data_bucket, config.artifact_bucket):
        try:
            if any(True for prefix in keys.PRECIOUS for _ in _entries(s3, bucket, prefix)):
                raise PermanentError(
                    f"the bucket {bucket} holds data, but the emulator knows no stack",
                    code="stack_lost",
                    fix=f"keep a copy of {config.home / 's3'}, then `make clean` and upload again",
                )
            for o in list(_entries(s3, bucket)):
                s3.delete_object(Bucket=bucket, Key=o["Key"], VersionId=o["VersionId"])
        except s3.exceptions.NoSuchBucket:
            continue
        s3.delete_bucket(Bucket=bucket)


def _entries(s3: Any, bucket: str, prefix: str = "") -> Iterator[dict[str, str]]:
    """Versions and delete markers of all pages."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        yield from (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))


def stack_status(config: Config) -> str:
    """CloudFormation's status; empty when there is no stack."""
    try:
        return str(client(config, "cloudformation").describe_stacks(StackName=config.stack)["Stacks"][0]["StackStatus"])
    except ClientError:
        return ""


def outputs(config: Config) -> dict[str, str]:
    """Outputs of the running stack, in the form people and tools use."""
    stack = client(config, "cloudformation").describe_stacks(StackName=config.stack)["Stacks"][0]
    matches = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", ())}
    keys = client(config, "apigateway").get_api_keys(includeValues=True)["items"]
    return {
        **matches,
        "ApiUrl": f"{config.endpoint}/_aws/execute-api/{matches['ApiId']}/{matches['StageName']}",
        "ApiKey": keys[0]["value"] if keys else "",
        "MlflowUrl": config.mlflow_uri,
        "FrontendUrl": config.ui_url,
        "Region": REGION,
        "EndpointUrl": config.endpoint,
        "AccessKeyId": config.credentials[ACCESS_KEY],
        "SecretAccessKey": config.credentials[SECRET_KEY],
        "StackName": config.stack,
    }


def discard_test_events(config: Config) -> None:
    """Empty the queues of a stack that was just created: S3 has tried each with a test event.

    A function that takes one and is stopped with the emulator leaves it hidden for hours, as an upload that is on its way.
    """
    queues, result = client(config, "sqs"), outputs(config)
    for name in ("UploadsQueueUrl", "BatchQueueUrl"):
        queues.purge_queue(QueueUrl=result[name])


def _parameters(config: Config) -> dict[str, str]:
    return {
        "ProjectName": config.project,
        "ManagedMlflow": "none",
        "MlflowTrackingUri": _tracking_uri(config),
        # The emulator applies limits strictly; tests and the demo are not the callers they are for.
        "ThrottleRate": "10000",
        "ThrottleBurst": "10000",
        "QuotaPerDay": "100000000",
        "RequireTls": "false",  # there is none on loopback, and a policy that asks for it shuts the functions out
        "Tracing": "PassThrough",  # nobody collects traces here
        # An emulator that somebody else started runs functions where this file may not be.
        "HistoryKey": "none" if config.foreign_credentials else f"{history_mac.FILE}{config.history_key_file}",
        "TrainingImageUri": config.image,  # as a function it becomes a zip (packaging.py): no image is needed
        **(containers.parameters(config.image, client(config, "ec2")) if config.compute == FARGATE else {}),
        **config.parameters,
    }


def _tracking_uri(config: Config) -> str:
    """MLflow as functions reach it."""
    return f"http://{HOST_NAME}:{config.mlflow_port}" if config.functions == CONTAINER else config.mlflow_uri


def _settled(config: Config) -> str:
    """The stack's status once nothing is under way any more. Raises Unavailable when that takes too long: nothing is wrong yet."""
    deadline = time.monotonic() + _STACK_SECONDS
    while (status := stack_status(config)).endswith("IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the stack is still {status} after {_STACK_SECONDS:.0f} s",
                code="deploy_slow",
                fix="see the emulator's log; `dropforge up` again goes on waiting",
            )
        time.sleep(0.05)
    return status


def _finished(config: Config, cloudformation: Any, verb: str) -> str:
    status = _settled(config)
    if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
        return verb
    events = cloudformation.describe_stack_events(StackName=config.stack)["StackEvents"]
    failed = [
        f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason', '')}"
        for e in events
        if "FAILED" in e["ResourceStatus"]
    ]
    raise PermanentError(
        f"the stack is {status}: " + "; ".join(failed[:5]), code="deploy_failed", fix="correct template.yaml"
    )
