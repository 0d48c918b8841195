"""docs/permissions.md: what each role of the template may do, asked of the local cloud, which enforces IAM.

Every line is a real call (or, where the emulator runs a service without asking, iam:SimulatePrincipalPolicy), under the
role's own credentials. Run by `make permissions`.
"""

from __future__ import annotations

import re
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

from dropforge_local import cloud, deploy
from dropforge_local.layout import REGION, Config
from dropforge_local.prefixes import PREFIXES

ROOT = Path(__file__).parents[1]
DENIED = {"AccessDenied", "AccessDeniedException"}
Probe = tuple[str, str, Callable[[Callable[[str], Any]], Any]]  # action, on what, the call
INTRO = """# Permissions, measured

Made by `make permissions`: every cell is a call to the local cloud with `AUTH=true`, under the credentials of that role.
`yes` means the call was let through to the service, `-` that it was refused. Nobody edits this file.
"""
SIMULATED = """
## Roles whose calls the emulator does not check itself

Asked with `iam:SimulatePrincipalPolicy`, in the `fargate` variant of the stack.

"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="dropforge-permissions-") as home:
        port = _free_port()
        config = Config(ROOT, Path(home), port, 0)
        cloud.start_emulator(config)
        try:
            text = INTRO + table(config) + SIMULATED + simulated(config)
        finally:
            cloud.down(config, lambda _what, _seconds: None)
    (ROOT / "docs" / "permissions.md").write_text(text)
    print("wrote docs/permissions.md")
    return 0


def roles(config: Config, outputs: dict[str, str]) -> dict[str, str]:
    """Name → ARN, of everything that acts: each function and the training role."""
    functions = deploy.client(config, "lambda")
    matches = {
        key.removesuffix("Function"): functions.get_function_configuration(FunctionName=name)["Role"]
        for key, name in outputs.items()
        if key.endswith("Function")
    }
    return {**matches, "Training": outputs["TrainingRoleArn"]}


def table(config: Config) -> str:
    deploy.deploy(config)
    outputs = deploy.outputs(config)
    acting = roles(config, outputs)
    clients = {name: _clients(config, arn) for name, arn in acting.items()}
    lines = [f"\n| action | on | {' | '.join(acting)} |", f"|---|---|{'---|' * len(acting)}"]
    for action, on, call in probes(config, outputs):
        cells = ["yes" if _let_through(lambda made=made, call=call: call(made)) else "-" for made in clients.values()]
        lines.append(f"| `{action}` | {on} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def probes(config: Config, outputs: dict[str, str]) -> list[Probe]:
    buckets = {"data": config.data_bucket, "artifacts": config.artifact_bucket}
    matches: list[Probe] = []
    for kind, rooms in PREFIXES.items():
        name = buckets[kind]
        for room in rooms:
            deploy.client(config, "s3").put_object(Bucket=name, Key=f"{room}/probe", Body=b"x")
            matches += [
                (
                    "s3:GetObject",
                    f"{kind}/{room}/",
                    lambda c, b=name, r=room: c("s3").get_object(Bucket=b, Key=f"{r}/probe"),
                ),
                (
                    "s3:PutObject",
                    f"{kind}/{room}/",
                    lambda c, b=name, r=room: c("s3").put_object(Bucket=b, Key=f"{r}/probe", Body=b"x"),
                ),
                (
                    "s3:DeleteObject",
                    f"{kind}/{room}/",
                    lambda c, b=name, r=room: c("s3").delete_object(Bucket=b, Key=f"{r}/none"),
                ),
            ]
        matches.append(("s3:ListBucket", kind, lambda c, b=name: c("s3").list_objects_v2(Bucket=b, MaxKeys=1)))
    queue, machine, function = outputs["TrainingQueueUrl"], outputs["StateMachineArn"], outputs["PredictFunction"]
    group, other = config.training_log_group, f"/dropforge/{config.project}/predict"
    execution = machine.replace(":stateMachine:", ":execution:") + ":none"
    stream = lambda c, g: c("logs").create_log_stream(logGroupName=g, logStreamName=str(uuid.uuid4()))  # noqa: E731 - one call
    matches += [
        ("s3:ListAllMyBuckets", "account", lambda c: c("s3").list_buckets()),
        ("sqs:ReceiveMessage", "training queue", lambda c: c("sqs").receive_message(QueueUrl=queue)),
        ("sqs:SendMessage", "training queue", lambda c: c("sqs").send_message(QueueUrl=queue, MessageBody="{}")),
        ("sqs:GetQueueAttributes", "training queue", lambda c: c("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])),
        ("sqs:PurgeQueue", "training queue", lambda c: c("sqs").purge_queue(QueueUrl=queue)),
        ("states:StartExecution", "training", lambda c: c("stepfunctions").start_execution(stateMachineArn=machine, name=str(uuid.uuid4()), input="{}")),
        ("states:DescribeExecution", "training", lambda c: c("stepfunctions").describe_execution(executionArn=execution)),
        ("states:SendTaskSuccess", "a token", lambda c: c("stepfunctions").send_task_success(taskToken="x", output="{}")),
        ("logs:CreateLogStream", "training group", lambda c: stream(c, group)),
        ("logs:CreateLogStream", "predict group", lambda c: stream(c, other)),
        ("lambda:InvokeFunction", "predict", lambda c: c("lambda").invoke(FunctionName=function, Payload=b"{}")),
        ("lambda:InvokeFunction", "predict_python", lambda c: c("lambda").invoke(FunctionName=outputs["PredictPythonFunction"], Payload=b"{}")),
        ("lambda:UpdateFunctionConfiguration", "predict", lambda c: c("lambda").update_function_configuration(FunctionName=function, Timeout=9)),
        ("iam:CreateUser", "account", lambda c: c("iam").create_user(UserName="probe")),
        ("secretsmanager:GetSecretValue", "any", lambda c: c("secretsmanager").get_secret_value(SecretId="probe")),
        ("cloudformation:DeleteStack", "the stack", lambda c: c("cloudformation").delete_stack(StackName=config.stack)),
    ]  # fmt: skip
    return matches


def simulated(config: Config) -> str:
    """The state machine and the roles of a task, which nobody but AWS asks."""
    given = {
        "TrainingCompute": "fargate", "TrainingImageUri": "x:1", "SubnetIds": "subnet-1", "VpcId": "vpc-1", "FrontendImageUri": "x:1",
        **dict.fromkeys(("FrontendKeyArn", "FrontendSignerArn", "FrontendTargetGroupArn"), "arn:aws:x:us-east-1:000000000000:x"),
        "FrontendHosts": "models.example.com", "SourcesPolicyArn": "arn:aws:iam::aws:policy/AmazonAthenaFullAccess",
    }  # fmt: skip
    fargate = Config(config.root, config.home, config.port, 0, project="onfargate", parameters=given)
    deploy.deploy(fargate)
    outputs = deploy.outputs(fargate)
    arns = {
        r["LogicalResourceId"]: r["PhysicalResourceId"]
        for r in deploy.client(fargate, "cloudformation").describe_stack_resources(StackName=fargate.stack)[
            "StackResources"
        ]
    }
    account = outputs["StateMachineArn"].split(":")[4]
    role = lambda name: f"arn:aws:iam::{account}:role/{arns[name]}"  # noqa: E731 - one expression
    queue = f"arn:aws:sqs:{REGION}:{account}:{outputs['TrainingQueueUrl'].rsplit('/', 1)[-1]}"
    function = f"arn:aws:lambda:{REGION}:{account}:function:"
    api = f"arn:aws:execute-api:{REGION}:{account}:{outputs['ApiId']}/{outputs['StageName']}/"
    cases = [
        ("TrainingStateMachineRole", "sqs:SendMessage", queue, True),
        ("TrainingStateMachineRole", "sqs:ReceiveMessage", queue, False),
        ("TrainingStateMachineRole", "sqs:SendMessage", queue + "-other", False),
        ("TrainingStateMachineRole", "lambda:InvokeFunction", function + outputs["ConcludeFunction"], True),
        ("TrainingStateMachineRole", "lambda:InvokeFunction", function + outputs["PredictFunction"], False),
        ("TrainingStateMachineRole", "ecs:RunTask", arns["TrainingTask"], True),
        ("TrainingStateMachineRole", "ecs:RunTask", f"arn:aws:ecs:{REGION}:{account}:task-definition/other:1", False),
        ("TrainingStateMachineRole", "iam:PassRole", role("TrainingRole"), True),
        ("TrainingStateMachineRole", "iam:PassRole", role("TrainingExecutionRole"), True),
        ("TrainingStateMachineRole", "iam:PassRole", role("AnalyzeFunctionRole"), False),
        ("TrainingStateMachineRole", "s3:GetObject", f"arn:aws:s3:::{outputs['DataBucket']}/datasets/x", False),
        ("TrainingExecutionRole", "ecr:GetAuthorizationToken", "*", True),
        (
            "TrainingExecutionRole",
            "ecr:BatchGetImage",
            f"arn:aws:ecr:{REGION}:{account}:repository/onfargate-training",
            True,
        ),
        ("TrainingExecutionRole", "ecr:BatchGetImage", f"arn:aws:ecr:{REGION}:{account}:repository/other", False),
        ("TrainingExecutionRole", "s3:GetObject", f"arn:aws:s3:::{outputs['DataBucket']}/datasets/x", False),
        ("TrainingRole", "s3:GetObject", f"arn:aws:s3:::{outputs['DataBucket']}/datasets/x", True),
        ("TrainingRole", "s3:PutObject", f"arn:aws:s3:::{outputs['DataBucket']}/datasets/x", False),
        ("TrainingRole", "sqs:DeleteMessage", queue, True),
        ("TrainingRole", "ecs:RunTask", arns["TrainingTask"], False),
        ("PullRole", "s3:PutObject", f"arn:aws:s3:::{outputs['DataBucket']}/incoming/pulled/x", True),
        ("PullRole", "s3:PutObject", f"arn:aws:s3:::{outputs['DataBucket']}/incoming/x", False),
        ("PullRole", "s3:GetObject", f"arn:aws:s3:::{outputs['DataBucket']}/datasets/x", False),
        ("PullRole", "sqs:DeleteMessage", queue, False),
        ("TrainingRole", "s3:PutObject", f"arn:aws:s3:::{outputs['DataBucket']}/incoming/pulled/x", False),
        ("FrontendRole", "execute-api:Invoke", api + "POST/set_model", True),
        ("FrontendRole", "execute-api:Invoke", api + "GET/quarantine/0123", True),
        ("FrontendRole", "execute-api:Invoke", api + "GET/quarantine", False),
        ("FrontendRole", "execute-api:Invoke", api + "GET/docs", False),
        ("FrontendRole", "execute-api:Invoke", api.replace(outputs["ApiId"], "another") + "GET/history", False),
        ("FrontendRole", "s3:GetObject", f"arn:aws:s3:::{outputs['DataBucket']}/quarantine/x", False),
    ]
    lines = ["| role | action | on | decision |", "|---|---|---|---|"]
    for name, action, resource, expected in cases:
        decision = decide(fargate, role(name), action, resource)
        if (decision == "allowed") != expected:
            raise SystemExit(f"{name} {action} {resource}: {decision}")
        lines.append(f"| {name} | `{action}` | `{_short(resource).replace(outputs['ApiId'], 'API')}` | {decision} |")
    return "\n".join(lines) + "\n"


def _short(resource: str) -> str:
    """The end of an ARN without the random part of a name, so that the page changes with the permissions only."""
    parts = resource.split(":")
    end = ":".join(parts[5:]) if parts[2:3] == ["ecs"] else parts[-1]
    return re.sub(r"-[0-9A-F]{13}(?![0-9A-F])", "", end)


def decide(config: Config, role: str, action: str, resource: str) -> str:
    answer = deploy.client(config, "iam").simulate_principal_policy(
        PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
    )
    return str(answer["EvaluationResults"][0]["EvalDecision"])


def _clients(config: Config, role: str) -> Callable[[str], Any]:
    keys = deploy.client(config, "sts").assume_role(RoleArn=role, RoleSessionName="probe")["Credentials"]
    return lambda service: boto3.client(
        service,
        endpoint_url=config.endpoint,
        region_name=REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        config=BotoConfig(
            s3={"addressing_style": "path"},
            signature_version="s3v4" if service == "s3" else None,
            retries={"max_attempts": 1},
        ),
    )


def _let_through(call: Callable[[], Any]) -> bool:
    """Whether the permission was there; what the service then says of a made-up name is another matter."""
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"] not in DENIED
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
