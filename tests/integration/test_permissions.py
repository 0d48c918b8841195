"""Each role may do what its part needs and not what it does not: real calls to the local cloud, which enforces IAM."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config as BotoConfig
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from dropforge.adapters import sigv4
from dropforge.api.routes import ACCESS
from dropforge_local import cloud as local_cloud
from dropforge_local import deploy
from dropforge_local.layout import ACCOUNT, REGION, Config
from dropforge_local.packaging import load_template
from dropforge_local.prefixes import PREFIXES

from ..conftest import free_ports
from ..watcher import ended_with_this_run
from ..web_app_routes import routes_of_web_app

# A stack of its own, and 400 questions: CI asks them for every change in a step of its own, `make test-drills` as well.
pytestmark = [pytest.mark.integration, pytest.mark.own_emulator, pytest.mark.drill]
ROOT = Path(__file__).parents[2]
ROLES = ("Analyze", "Batch", "Recover", "Conclude", "Control", "Predict", "PredictPython", "Training")
NOTIFYING = {"incoming", "batch", "decisions"}
DENIED = {"AccessDenied", "AccessDeniedException"}

READS = {
    "Analyze": {
        "data": (
            "incoming",
            "config",
            "datasets",
            "uploads",
            "quarantine",
            "captured",
            "labels",
            "monitoring",
            "decisions",
            "shards",
        ),
        "artifacts": ("reports", "mlflow"),
    },
    "Batch": {"data": ("batch", "uploads", "integrity", "shards"), "artifacts": ("mlflow",)},
    "Recover": {"data": ("datasets", "uploads"), "artifacts": ()},
    "Conclude": {"data": ("config", "uploads", "serving", "integrity"), "artifacts": ("mlflow",)},
    "Control": {
        "data": (
            "config",
            "uploads",
            "progress",
            "quarantine",
            "serving",
            "integrity",
            "predictions",
            "monitoring",
            "decisions",
        ),
        "artifacts": ("reports", "mlflow"),
    },
    "Predict": {"data": ("serving", "integrity"), "artifacts": ("mlflow",)},
    "PredictPython": {"data": ("integrity",), "artifacts": ("mlflow",)},
    "Training": {"data": ("config", "datasets", "tuning", "integrity"), "artifacts": ("mlflow",)},
}
WRITES = {
    "Analyze": {
        "data": ("datasets", "uploads", "quarantine", "monitoring", "shards"),
        "artifacts": ("reports", "mlflow"),
    },
    "Batch": {"data": ("uploads", "quarantine", "predictions", "shards"), "artifacts": ()},
    "Recover": {"data": ("uploads",), "artifacts": ()},
    "Conclude": {"data": ("uploads", "serving", "integrity"), "artifacts": ()},  # serving: promotion.auto_promote
    "Control": {"data": ("incoming", "batch", "serving", "labels", "decisions"), "artifacts": ()},
    "Predict": {"data": ("captured",), "artifacts": ()},
    "PredictPython": {"data": (), "artifacts": ()},
    "Training": {"data": ("tuning", "progress"), "artifacts": ("mlflow",)},
}
# `analyze` keeps the immutable copies of the settings under config/.
UNDECIDED = {("Analyze", "data", "config")}
READ_CASES = [(role, b, room, room in READS[role][b]) for role in ROLES for b in PREFIXES for room in PREFIXES[b]]
WRITE_CASES = [
    (role, b, room, room in WRITES[role][b])
    for role in ROLES
    for b in PREFIXES
    for room in PREFIXES[b]
    if (role, b, room) not in UNDECIDED
]
Client = Callable[[str, str], Any]
Case = tuple[str, str, str, bool]  # role, bucket, room, allowed


def _named(case: Case) -> str:
    role, bucket, room, allowed = case
    return f"{role}-{bucket}-{room}-{'allowed' if allowed else 'denied'}"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """An emulator of these tests alone; no worker, which would take the jobs that the tests look at, and no MLflow."""
    return Config(ROOT, tmp_path_factory.mktemp("permissions"), free_ports(1)[0], 1, project="permissions", workers=0)


@pytest.fixture(scope="module")
def outputs(config: Config) -> Iterator[dict[str, str]]:
    """The outputs of the running stack; it is stopped whatever happened."""
    with ended_with_this_run(config.pids):
        try:
            local_cloud.start_emulator(config)
            deploy.deploy(config)
            yield deploy.outputs(config)
        finally:
            local_cloud.down(config, lambda _what, _seconds: None)


@pytest.fixture(scope="module")
def client(config: Config, outputs: dict[str, str]) -> Client:
    """A client with the credentials of a role: `client("Predict", "s3")`."""
    functions, sts = deploy.client(config, "lambda"), deploy.client(config, "sts")
    keys: dict[str, dict[str, str]] = {}
    for role in ROLES:
        arn = (
            outputs["TrainingRoleArn"]
            if role == "Training"
            else functions.get_function_configuration(FunctionName=outputs[f"{role}Function"])["Role"]
        )
        keys[role] = sts.assume_role(RoleArn=arn, RoleSessionName="permissions")["Credentials"]

    @cache
    def client_of(role: str, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=config.endpoint,
            region_name=REGION,
            aws_access_key_id=keys[role]["AccessKeyId"],
            aws_secret_access_key=keys[role]["SecretAccessKey"],
            aws_session_token=keys[role]["SessionToken"],
            config=BotoConfig(
                s3={"addressing_style": "path"},
                signature_version="s3v4" if service == "s3" else None,
                retries={"max_attempts": 1},
            ),
        )

    return client_of


@pytest.fixture(scope="module")
def buckets(config: Config) -> dict[str, str]:
    return {"data": config.data_bucket, "artifacts": config.artifact_bucket}


@pytest.fixture(scope="module")
def root(config: Config) -> Callable[[str], Any]:
    """Clients of the account itself, one for each service: making one takes longer than a call."""
    return cache(partial(deploy.client, config))


def _answer(call: Callable[[], Any]) -> str:
    """`ok`, or the code of the refusal."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def _allowed(call: Callable[[], Any]) -> bool:
    """Whether the permission was there; what the call then says about a made-up name is another matter."""
    return _answer(call) not in DENIED


@pytest.mark.parametrize("case", READ_CASES, ids=_named)
def test_who_reads_what(client: Client, buckets: dict[str, str], root: Callable[[str], Any], case: Case) -> None:
    """A role reads the rooms of its part and no other."""
    role, bucket, room, allowed = case
    key = f"{room}/read-{role}"
    if room not in NOTIFYING:  # an object there would start an analysis
        root("s3").put_object(Bucket=buckets[bucket], Key=key, Body=b"x")
    answer = _answer(lambda: client(role, "s3").get_object(Bucket=buckets[bucket], Key=key))
    wanted = "NoSuchKey" if room in NOTIFYING else "ok"
    assert answer == (wanted if allowed else "AccessDenied")


@pytest.mark.parametrize(("role", "bucket", "room"), [case[:3] for case in READ_CASES if case[3]])
def test_what_is_absent_is_not_forbidden(
    client: Client, buckets: dict[str, str], role: str, bucket: str, room: str
) -> None:
    """Where a role reads, a missing key is told as missing: the code takes absence for an answer, refusal for a fault."""
    call = client(role, "s3").get_object
    assert _answer(lambda: call(Bucket=buckets[bucket], Key=f"{room}/{uuid.uuid4()}")) == "NoSuchKey"


@pytest.mark.parametrize("case", WRITE_CASES, ids=_named)
def test_who_writes_what(client: Client, buckets: dict[str, str], root: Callable[[str], Any], case: Case) -> None:
    """A role writes the rooms of its part and no other."""
    role, bucket, room, allowed = case
    if room in NOTIFYING:  # writing there would start an analysis: ask the policy instead
        function = root("iam").simulate_principal_policy
        arn = client(role, "sts").get_caller_identity()["Arn"].split("/")[1]
        source = root("iam").get_role(RoleName=arn)["Role"]["Arn"]
        target = f"arn:aws:s3:::{buckets[bucket]}/{room}/x"
        result = function(PolicySourceArn=source, ActionNames=["s3:PutObject"], ResourceArns=[target])
        assert (result["EvaluationResults"][0]["EvalDecision"] == "allowed") == allowed
        return
    key = f"{room}/write-{role}"
    answer = _answer(lambda: client(role, "s3").put_object(Bucket=buckets[bucket], Key=key, Body=b"x"))
    assert answer == ("ok" if allowed else "AccessDenied")


def test_the_gate_reads_what_is_served_and_keeps_its_decision(
    client: Client, buckets: dict[str, str], config: Config
) -> None:
    """The worker reads the pointer and cannot change it; the gate may (promotion.auto_promote), and of a run it writes its
    decision and nothing else."""
    pointer, decision = "serving/active.json", "mlflow/1/run/artifacts/gate.json"
    deploy.client(config, "s3").put_object(Bucket=buckets["data"], Key=pointer, Body=b"{}")
    for role in ("Conclude", "Training"):
        s3 = client(role, "s3")
        assert _answer(lambda s3=s3: s3.get_object(Bucket=buckets["data"], Key=pointer)) == "ok"
        output = _answer(lambda s3=s3: s3.put_object(Bucket=buckets["data"], Key=pointer, Body=b"{}"))
        assert output == ("ok" if role == "Conclude" else "AccessDenied")
    write = client("Conclude", "s3").put_object
    assert _answer(lambda: write(Bucket=buckets["artifacts"], Key=decision, Body=b"{}")) == "ok"
    other = "mlflow/1/run/artifacts/model.onnx"
    assert _answer(lambda: write(Bucket=buckets["artifacts"], Key=other, Body=b"x")) == "AccessDenied"


@pytest.mark.parametrize("role", ROLES)
def test_nobody_deletes(client: Client, buckets: dict[str, str], role: str) -> None:
    """No part may delete an object, or list the buckets of the account: history stays."""
    s3 = client(role, "s3")
    for bucket in buckets.values():
        assert _answer(lambda name=bucket: s3.delete_object(Bucket=name, Key="uploads/x")) == "AccessDenied"
    assert _answer(s3.list_buckets) == "AccessDenied"


@pytest.mark.parametrize("role", ROLES)
def test_who_starts_the_workflow(client: Client, outputs: dict[str, str], role: str) -> None:
    """An execution is started by `analyze`, for shards of its files by `batch`, and again by `recover`, alone."""
    call = client(role, "stepfunctions").start_execution
    arn = outputs["StateMachineArn"]
    assert _allowed(lambda: call(stateMachineArn=arn, name=f"{role}-{uuid.uuid4()}", input="{}")) == (
        role in {"Analyze", "Batch", "Recover"}
    )


@pytest.mark.parametrize("role", ROLES)
def test_only_a_worker_takes_jobs(client: Client, outputs: dict[str, str], role: str) -> None:
    """Jobs are received by the training role alone; `control` may only look at the length of the queue."""
    sqs, url = client(role, "sqs"), outputs["TrainingQueueUrl"]
    assert _allowed(lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)) == (role == "Training")
    attributes = ["ApproximateNumberOfMessages"]
    assert _allowed(lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=attributes)) == (
        role in {"Training", "Control"}
    )
    if role != "Training":  # a worker told to stop hands its job back as a new message
        assert not _allowed(lambda: sqs.send_message(QueueUrl=url, MessageBody="{}"))


def test_a_worker_answers_the_job_it_took(client: Client, config: Config, outputs: dict[str, str]) -> None:
    """Under the training role a job is taken, kept alive and answered with its own token."""
    job = {
        "schema_version": 1, "task_token": "", "job_id": "u-m", "upload_id": "u", "dataset_uri": "s3://d/m",
        "settings_uri": "s3://d/s", "model": "m", "budget": {"schema_version": 1, "trials": 1, "seconds": 1.0},
        "seed": 1, "parent_run_id": "r",
    }  # fmt: skip
    shared = ("upload_id", "dataset_uri", "settings_uri", "parent_run_id")
    request = {"schema_version": 1, "dataset_id": "d", "jobs": [job], **{name: job[name] for name in shared}}
    deploy.client(config, "stepfunctions").start_execution(
        stateMachineArn=outputs["StateMachineArn"], name=f"answer-{uuid.uuid4()}", input=json.dumps(request)
    )
    sqs, machine = client("Training", "sqs"), client("Training", "stepfunctions")
    messages: list[Any] = []
    deadline = time.monotonic() + 120
    while not messages:
        assert time.monotonic() < deadline, "no job came"
        messages = sqs.receive_message(QueueUrl=outputs["TrainingQueueUrl"], WaitTimeSeconds=5).get("Messages", [])
    received = messages[0]
    token = json.loads(received["Body"])["task_token"]
    assert _answer(lambda: machine.send_task_heartbeat(taskToken=token)) == "ok"
    assert _answer(lambda: machine.send_task_success(taskToken=token, output="{}")) == "ok"
    assert (
        _answer(
            lambda: sqs.delete_message(QueueUrl=outputs["TrainingQueueUrl"], ReceiptHandle=received["ReceiptHandle"])
        )
        == "ok"
    )


@pytest.mark.parametrize("role", [role for role in ROLES if role != "Training"])
def test_no_function_answers_a_job(client: Client, role: str) -> None:
    """A task token that leaked is of no use to a function."""
    machine = client(role, "stepfunctions")
    assert not _allowed(lambda: machine.send_task_success(taskToken="any", output="{}"))
    assert not _allowed(lambda: machine.send_task_failure(taskToken="any", error="E", cause="c"))


def test_a_worker_writes_its_log(client: Client, config: Config) -> None:
    """The training role opens a stream in the training log group, and in no other."""
    logs, stream = client("Training", "logs"), f"worker-{uuid.uuid4()}"
    other = f"/dropforge/{config.project}/predict"
    assert _allowed(lambda: logs.create_log_stream(logGroupName=config.training_log_group, logStreamName=stream))
    assert not _allowed(lambda: logs.create_log_stream(logGroupName=other, logStreamName=stream))


@pytest.mark.parametrize("role", ROLES)
def test_only_who_predicts_or_compares_runs_python_models(client: Client, outputs: dict[str, str], role: str) -> None:
    """The function that loads pickles is called by predict, batch and jobs (for the champion); it loads what was concluded."""
    call = client(role, "lambda").invoke
    ask = b'{"bundle_uri": "s3://x/y", "bundle_sha256": "", "feeds": null}'
    allowed = role in {"Predict", "Batch", "Training"}
    assert _allowed(lambda: call(FunctionName=outputs["PredictPythonFunction"], Payload=ask)) == allowed


@pytest.mark.parametrize("role", ROLES)
def test_nobody_changes_the_system(client: Client, outputs: dict[str, str], role: str) -> None:
    """No part may change roles, functions or the stack, or call another function."""
    assert not _allowed(lambda: client(role, "iam").create_user(UserName=f"x-{role.lower()}"))
    functions = client(role, "lambda")
    assert not _allowed(lambda: functions.invoke(FunctionName=outputs["PredictFunction"], Payload=b"{}"))
    assert not _allowed(
        lambda: functions.update_function_configuration(FunctionName=outputs["PredictFunction"], Timeout=9)
    )
    assert not _allowed(lambda: client(role, "cloudformation").delete_stack(StackName=outputs["StackName"]))


@pytest.fixture(scope="module")
def web_app(config: Config, outputs: dict[str, str]) -> Credentials:
    """Credentials of a role with the policy of FrontendRole, whose service has no container here."""
    role = load_template(ROOT / "template.yaml")["Resources"]["FrontendRole"]["Properties"]
    values = {
        "AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT,
        "Api": outputs["ApiId"], "StageName": outputs["StageName"],
    }  # fmt: skip
    document = role["Policies"][0]["PolicyDocument"]
    for statement in document["Statement"]:
        statement["Resource"] = [
            re.sub(r"\$\{([^}]+)\}", lambda m: values[m[1]], r["Fn::Sub"]) for r in statement["Resource"]
        ]
    iam, sts = deploy.client(config, "iam"), deploy.client(config, "sts")
    arn = iam.create_role(RoleName="web-app", AssumeRolePolicyDocument=json.dumps(role["AssumeRolePolicyDocument"]))
    iam.put_role_policy(RoleName="web-app", PolicyName="call", PolicyDocument=json.dumps(document))
    keys = sts.assume_role(RoleArn=arn["Role"]["Arn"], RoleSessionName="web-app")["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


@pytest.mark.parametrize(("method", "path"), [route for route, access in ACCESS.items() if access == "iam"])
def test_the_web_app_calls_what_its_pages_show_and_no_more(
    web_app: Credentials, outputs: dict[str, str], method: str, path: str
) -> None:
    """Under the role of the web app an administrative route is answered exactly when a page of the web app calls it."""
    url = outputs["ApiUrl"] + re.sub(r"\{[^}]*\}", "x", path)
    headers = sigv4.Signer(REGION, web_app).sign(method, url, {}, b"")
    answer = requests.request(method, url, headers=headers, timeout=30)
    assert (answer.status_code != 403) == ((method, path) in routes_of_web_app()), answer.text
