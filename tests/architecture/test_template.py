"""template.yaml, the state machine and the code say the same."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dropforge import keys
from dropforge.api import openapi
from dropforge.api.routes import ACCESS, ROUTES
from dropforge.config.settings import PartsSettings
from dropforge.environment import Environment
from dropforge.messages import ConcludeRequest, JobOutcome, JobResult, Message, TrainingJob, TrainingRequest
from dropforge.uploads import folder_parts
from dropforge_local.packaging import load_template, package

ROOT = Path(__file__).parents[2]
TEMPLATE = load_template(ROOT / "template.yaml")
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
FUNCTIONS = {n: r["Properties"] for n, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}
MACHINE = yaml.safe_load((ROOT / "statemachine" / "training.asl.yaml").read_text())
BRANCH = MACHINE["States"]["TrainModels"]["ItemProcessor"]
STATES = {**MACHINE["States"], **BRANCH["States"]}

FIELDS = {f.name.upper() for f in dataclasses.fields(Environment)}
# Variables that a library reads, by the library.
OF_LIBRARIES = ("POWERTOOLS_", "MLFLOW_HTTP_", "MLFLOW_DISABLE_TELEMETRY")
# Fields that do not come from template.yaml, and who sets them instead.
ELSEWHERE = {
    "AWS_LAMBDA_FUNCTION_VERSION": "the Lambda runtime",
    "AWS_REGION": "the Lambda and ECS runtimes",
    "TRAINING_LOG_GROUP": "whoever runs a worker outside ECS, where the awslogs driver ships the lines",
    "API_KEY": "whoever runs the API in a container",
    "ADMIN_KEY": "as API_KEY",
    "API_HOST": "the API's Dockerfile",
    "API_PORT": "as API_KEY",
    "FUNCTIONS_FOLDER": "the API's Dockerfile",
    "JOB": "the state machine, as a container override",
}


def _variables(properties: dict[str, Any]) -> set[str]:
    shared = TEMPLATE["Globals"]["Function"].get("Environment", {}).get("Variables", {})
    return {*shared, *properties.get("Environment", {}).get("Variables", {})}


def _container_variables() -> set[str]:
    definitions = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::ECS::TaskDefinition"]
    return {
        v["Name"]
        for d in definitions
        for c in d["ContainerDefinitions"]
        if c["Name"] == "training"
        for v in c["Environment"]
    }


def _paths(value: Any) -> Iterator[str]:
    """Every JSONPath that the value of a `Parameters` block reads."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.endswith(".$"):
                yield from re.findall(r"(?<![\w$])\$(?:\.\w+)+", inner)
            else:
                yield from _paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner)


def _keys(block: dict[str, Any]) -> set[str]:
    return {key.removesuffix(".$") for key in block}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_handler_exists(name: str) -> None:
    """The file that the template names as handler is there and defines the function."""
    module, function = FUNCTIONS[name].get("Handler", TEMPLATE["Globals"]["Function"]["Handler"]).rsplit(".", 1)
    source = ROOT / FUNCTIONS[name]["CodeUri"] / f"{module}.py"
    assert source.is_file()
    assert re.search(rf"^(def {function}\(|{function} = )", source.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_variable_of_a_function_is_read(name: str) -> None:
    """A variable in the template is a field of Environment, or belongs to a library."""
    unknown = {v for v in _variables(FUNCTIONS[name]) - FIELDS if not v.startswith(OF_LIBRARIES)}
    assert not unknown


def test_every_variable_of_the_container_is_read() -> None:
    """A variable of the training container is a field of Environment."""
    assert _container_variables() <= FIELDS


def test_every_field_is_set_by_somebody() -> None:
    """Each field of Environment is set by the template, or its other source is known; and no such note is stale."""
    given = set().union(*(_variables(p) for p in FUNCTIONS.values()), _container_variables())
    assert FIELDS - given == set(ELSEWHERE)


def test_only_the_functions_that_read_models_know_mlflow() -> None:
    """The prediction function carries no MLflow client: predictions go on while MLflow is down."""
    layers = {name: {layer["Ref"] for layer in p["Layers"]} for name, p in FUNCTIONS.items()}
    assert layers["PredictFunction"] == {"CoreLayer", "ServingLayer"}


def _methods(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], dict[str, Any]]:
    """The methods of the transformed API by verb and path."""
    from samtranslator.translator.transform import transform

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    packed = package(ROOT, lambda key, _body: f"s3://packages/{key}")
    names = {"AWS::Region": "us-east-1", "AWS::AccountId": "000000000000", "AWS::Partition": "aws"}
    defaults = {k: p.get("Default", "") for k, p in packed["Parameters"].items()}
    plain = transform(packed, {**defaults, **names}, _ManagedPolicies())
    bodies = [r["Properties"]["Body"] for r in plain["Resources"].values() if r["Type"] == "AWS::ApiGateway::RestApi"]
    return {(v.upper(), path): m for body in bodies for path, verbs in body["paths"].items() for v, m in verbs.items()}


def test_every_route_has_an_access_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transformed API has the routes of the access table and no other; each asks for what the table says; none is open."""
    wanted = {"key": [{"api_key": []}], "iam": [{"AWS_IAM": []}]}
    methods = _methods(monkeypatch)
    assert {route: method["security"] for route, method in methods.items()} == {
        route: wanted[access] for route, access in ACCESS.items()
    }
    # The caller's rights are for calling the API, not for calling the function behind it.
    assert not [r for r, m in methods.items() if "credentials" in m["x-amazon-apigateway-integration"]]


def test_the_openapi_document_says_what_the_access_table_says() -> None:
    """Every route is in the document, none is in it alone, and each says the access it needs."""
    scheme = {"key": [{"api_key": []}], "iam": [{"aws_sigv4": []}]}
    document = {
        (m.upper(), p): o["security"] for p, verbs in openapi.document()["paths"].items() for m, o in verbs.items()
    }
    assert document == {route: scheme[access] for route, access in ACCESS.items()}


def test_what_the_code_answers_is_what_the_template_routes() -> None:
    """Each function's events are exactly its rows of the route table: none is unreachable, none unanswered."""
    routed = {
        name: {
            (e["Properties"]["Method"], e["Properties"]["Path"])
            for e in p.get("Events", {}).values()
            if e["Type"] == "Api"
        }
        for name, p in FUNCTIONS.items()
    }
    for name, function in (("ControlFunction", "control"), ("PredictFunction", "predict")):
        assert routed[name] == {(r.method, r.path) for r in ROUTES if r.function == function}


class _ManagedPolicies:
    """The transform asks for AWS-managed policies by name; the template uses none of them by name."""

    def load(self) -> dict[str, str]:
        return {}


def test_nothing_the_system_writes_can_start_an_analysis() -> None:
    """Only `incoming/`, `batch/` and a person's `decisions/` notify, and only the API may write there; but analyze may put the parts
    of a folder, joined, where nothing is a part: it cannot call itself again and again.
    """
    by_queue = RESOURCES["DataBucket"]["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    messages = [e["Properties"] for p in FUNCTIONS.values() for e in p.get("Events", {}).values() if e["Type"] == "S3"]
    rules = [e["Filter"]["S3Key"]["Rules"] for e in (*by_queue, *messages)]
    assert rules == [[{"Name": "prefix", "Value": prefix}] for prefix in ("incoming/", "batch/", "decisions/")]
    writers = {
        (name, re.sub(r".*\}/", "", json.dumps(resource)).rstrip('"}'))
        for name, properties in {**FUNCTIONS, "TrainingRole": RESOURCES["TrainingRole"]["Properties"]}.items()
        for policy in properties["Policies"]
        for statement in policy.get("PolicyDocument", policy)["Statement"]
        if "s3:PutObject" in statement.get("Action", ())
        for resource in (statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]])
        if any(f"/{p}/" in json.dumps(resource) for p in ("incoming", "batch", "decisions"))
    }
    of_control = {("ControlFunction", f"{p}/*") for p in ("incoming", "batch", "decisions")}
    assert writers == of_control | {("AnalyzeFunction", keys.JOINED + "*")}
    assert folder_parts.folder_of(f"{keys.JOINED}0123456789abcdef0123/part-0.csv", PartsSettings(folders="all")) == ""


def test_buckets_are_closed_and_encrypted() -> None:
    """Every bucket blocks public access in all four ways and encrypts what it keeps."""
    buckets = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::S3::Bucket"]
    assert len(buckets) == 2
    for bucket in buckets:
        assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]


def _lifecycle(uri: str, what: str) -> list[Any]:
    """What the data bucket's lifecycle rules say of an object under `what`."""
    rules = RESOURCES["DataBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    key = uri.removeprefix("s3://b/")
    return [r[what] for r in rules if what in r and key.startswith(r.get("Prefix", "")) and r["Status"] == "Enabled"]


@pytest.mark.parametrize(
    "uri",
    [
        keys.progress("b", "u", "m"),
        keys.captured_folder("b", "2026-01-01") + "x",
        keys.labels_folder("b", "2026-01-01") + "x",
        keys.window_rows("b", "2026-01-01", "m", "1"),
    ],
)
def test_what_nobody_reads_later_expires(uri: str) -> None:
    """Progress of trainings and rows of live traffic go after their days, and their old versions the day after."""
    assert _lifecycle(uri, "ExpirationInDays")
    assert {"NoncurrentDays": 1} in _lifecycle(uri, "NoncurrentVersionExpiration")


@pytest.mark.parametrize(
    "uri",
    [
        keys.upload("b", "u"),
        keys.newest_upload("b"),
        keys.round_of_uploads("b"),
        keys.uploads_open_folder("b", "waiting") + "x",
        keys.study("b", "j"),
        keys.window("b", "2026-01-01", "m", "1"),
        keys.monitoring_summary("b"),
    ],
)
def test_what_is_written_again_and_again_loses_its_old_versions(uri: str) -> None:
    """Records, studies and windows stay; of their versions none grows old for ever."""
    assert not _lifecycle(uri, "ExpirationInDays")
    assert all(0 < e["NoncurrentDays"] <= 30 for e in _lifecycle(uri, "NoncurrentVersionExpiration"))
    assert _lifecycle(uri, "NoncurrentVersionExpiration")


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://b/{keys.INCOMING}a.csv",
        keys.snapshot("b", "d"),
        keys.history("b"),
        keys.active("b"),
        keys.erasure("b", "e"),
    ],
)
def test_what_cannot_be_derived_again_never_expires(uri: str) -> None:
    """Uploads, datasets, switches and receipts of erasures keep every version."""
    assert not _lifecycle(uri, "ExpirationInDays")
    assert not _lifecycle(uri, "NoncurrentVersionExpiration")


def test_a_lost_event_leaves_a_trace() -> None:
    """Events that failed every time go to a queue, however they came, and so does a job that no worker could finish."""
    for queue in ("UploadsQueue", "BatchQueue"):
        redrive = RESOURCES[queue]["Properties"]["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["FailedEventsQueue", "Arn"]}
    failure = FUNCTIONS["AnalyzeFunction"]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert RESOURCES[failure["Destination"]["Fn::GetAtt"][0]]["Type"] == "AWS::SQS::Queue"
    assert RESOURCES["TrainingQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] >= 2


def test_the_queue_gets_whole_jobs() -> None:
    """The message body has exactly the fields of TrainingJob, and the token of the waiting task."""
    body = STATES["TrainOnQueue"]["Parameters"]["MessageBody"]
    assert _keys(body) == set(TrainingJob.model_fields)
    assert body["task_token.$"] == "$$.Task.Token"


def test_the_container_gets_the_same_job() -> None:
    """On Fargate the job goes into the container variable that Environment reads, with the token merged in."""
    task = RESOURCES["TrainingTask"]["Properties"]["ContainerDefinitions"][0]
    override = STATES["TrainOnFargate"]["Parameters"]["Overrides"]["ContainerOverrides"][0]
    variable = override["Environment"][0]
    assert override["Name"] == task["Name"]
    assert variable["Name"] in FIELDS
    assert variable["Value.$"].startswith("States.JsonToString(States.JsonMerge($.job,")
    assert "task_token" in variable["Value.$"]
    assert "$$.Task.Token" in variable["Value.$"]


@pytest.mark.parametrize("state", ["Trained", "Failed"])
def test_each_branch_ends_as_an_outcome(state: str) -> None:
    """What a branch hands back is made of fields of JobOutcome and can be parsed as one."""
    created = STATES[state]["Parameters"]
    assert _keys(created) <= set(JobOutcome.model_fields)
    assert set(JobOutcome.model_fields) - _keys(created) <= {
        n for n, f in JobOutcome.model_fields.items() if not f.is_required()
    }


@pytest.mark.parametrize("state", ["Conclude", "ConcludeFailure"])
def test_conclude_gets_its_request(state: str) -> None:
    """The payload is made of fields of ConcludeRequest and leaves out none that is required."""
    payload = STATES[state]["Parameters"]["Payload"]
    assert _keys(payload) <= set(ConcludeRequest.model_fields)
    assert {n for n, f in ConcludeRequest.model_fields.items() if f.is_required()} <= _keys(payload)


def test_the_state_machine_reads_fields_that_exist() -> None:
    """Every path into the request, the job or the error names a field that somebody writes."""
    known: dict[str, type[Message]] = {"job": TrainingJob, "result": JobResult}
    top = {*TrainingRequest.model_fields, "outcomes", "failure", "conclusion", "job", "result"}
    top |= {"round", "wait_seconds", "answer"}  # of an execution that waits for the quiet period
    top |= {"shards", "stage", "function"}  # of one that reads the shards of a large upload (shard_stage)
    for state in STATES.values():
        for path in [*_paths(state.get("Parameters", {})), state.get("ItemsPath", "$.jobs")]:
            _, first, *rest = path.split(".")
            assert first in top, path
            if first in known and rest:
                assert rest[0] in known[first].model_fields, path
            if first == "failure" and rest:
                assert rest[0] in {"Error", "Cause"}, path


def test_every_placeholder_of_the_definition_is_filled() -> None:
    """The definition names exactly the substitutions that the template gives."""
    text = (ROOT / "statemachine" / "training.asl.yaml").read_text()
    given = RESOURCES["TrainingStateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(given)


TUNERS = BRANCH["States"]["TuneTogether"]["ItemProcessor"]


@pytest.mark.parametrize("scope", [MACHINE, BRANCH, TUNERS], ids=["machine", "branch", "tuners"])
def test_every_transition_leads_somewhere(scope: dict[str, Any]) -> None:
    """StartAt, Next, Default and every Catch name a state of the same scope, and no state is out of reach."""
    targets = {scope["StartAt"]}
    for state in scope["States"].values():
        steps = [state, *state.get("Catch", []), *state.get("Choices", [])]
        targets |= {step[key] for step in steps for key in ("Next", "Default") if key in step}
    assert targets == set(scope["States"])


@pytest.mark.parametrize(
    ("compute", "train", "tune"),
    [("queue", "TrainOnQueue", "TuneOnQueue"), ("fargate", "TrainOnFargate", "TuneOnFargate")],
)
def test_the_input_chooses_where_a_job_runs(compute: str, train: str, tune: str) -> None:
    """With `compute` of the template, the choice of a job and of a tuner leads to the task of that compute and no other."""
    ends = []
    for states, name in ((BRANCH["States"], "TrainWhere"), (TUNERS["States"], "TuneWhere")):
        choice = states[name]
        rules = [c for c in choice["Choices"] if c["Variable"] == "$.compute" and c["StringEquals"] == compute]
        following = states[rules[0]["Next"] if rules else choice["Default"]]
        ends.append(following["Next"] if following["Type"] == "Pass" else choice["Default"])
    assert ends == [train, tune]
    assert STATES["TrainModels"]["ItemSelector"]["compute"] == "${TrainingCompute}"
    assert BRANCH["States"]["TuneTogether"]["ItemSelector"]["compute.$"] == "$.compute"


def test_every_wait_has_an_end() -> None:
    """A job on the queue waits as long as its message lives; a task has a heartbeat and a timeout from its budget."""
    retention = RESOURCES["TrainingQueue"]["Properties"]["MessageRetentionPeriod"]
    for name, state in {**STATES, **TUNERS["States"]}.items():
        if state["Type"] != "Task":
            continue
        if name in {"TrainOnQueue", "TuneOnQueue"}:
            # Nobody beats for a job that waits for a worker; a dead worker is noticed by the message's visibility timeout.
            assert state["TimeoutSeconds"] == retention, name
            assert state["HeartbeatSeconds"] == retention - 1, name  # the longest that is shorter than the timeout
        elif name in {"TrainOnFargate", "TuneOnFargate"}:
            assert state["TimeoutSecondsPath"] == "$.limits.timeout", name
            assert 0 < state["HeartbeatSeconds"] < 3600, name
        else:
            assert state["TimeoutSeconds"] > 0, name
    for states, limits in ((BRANCH["States"], "TrainLimits"), (TUNERS["States"], "TuneLimits")):
        assert states[limits]["Parameters"]["timeout.$"].startswith("States.MathAdd($.job.budget.seconds, ")


@pytest.mark.parametrize("name", ["TrainOnFargate", "TuneOnFargate"])
def test_a_task_that_cannot_start_is_tried_again(name: str) -> None:
    """No capacity, a quota and an interrupted task are retried with a growing pause; an error of the job itself is not."""
    state = {**STATES, **TUNERS["States"]}[name]
    retried = {error for rule in state["Retry"] for error in rule["ErrorEquals"]}
    assert {"ECS.AmazonECSException", "ECS.ServerException", "States.HeartbeatTimeout", "Interrupted"} <= retried
    assert not retried & {"JobFailed", "States.ALL", "States.TaskFailed", "States.Timeout"}
    assert all(rule["MaxAttempts"] >= 3 and rule["BackoffRate"] > 1 for rule in state["Retry"])
    assert "LaunchType" not in state["Parameters"]  # excludes a capacity provider
    assert state["Parameters"]["CapacityProviderStrategy"][0]["CapacityProvider"] == "${CapacityProvider}"


def test_a_deploy_leaves_running_executions_their_task() -> None:
    """The old revision of the task stays registered, and the role may start any revision of the family."""
    task = RESOURCES["TrainingTask"]
    assert task["UpdateReplacePolicy"] == "Retain"
    assert task["Properties"]["Family"] == {"Fn::Sub": "${ProjectName}-training"}
    policies = json.dumps(RESOURCES["TrainingStateMachine"]["Properties"]["Policies"])
    assert "task-definition/${ProjectName}-training:*" in policies


def test_every_failure_is_concluded() -> None:
    """A failing job becomes an outcome, a failing fan-out or conclusion goes to the state that closes the upload."""
    for name in ("TrainOnQueue", "TrainOnFargate"):
        assert [c["Next"] for c in STATES[name]["Catch"] if "States.ALL" in c["ErrorEquals"]] == ["Failed"]
    for name in ("TrainModels", "Conclude"):
        assert [c["Next"] for c in STATES[name]["Catch"] if "States.ALL" in c["ErrorEquals"]] == ["ConcludeFailure"]
