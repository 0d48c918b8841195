"""Each role holds exactly what was reviewed, and that covers every AWS call its part can make."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropforge.api.routes import ACCESS
from dropforge_local.packaging import load_template

from ..web_app_routes import routes_of_web_app

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "layers" / "core" / "dropforge" / "adapters"
RESOURCES: dict[str, Any] = load_template(ROOT / "template.yaml")["Resources"]

READ, WRITE = "s3:GetObject", "s3:PutObject"
# Actions that know no resource types; for them `*` is the only resource there is. Nothing else may name it.
CLOSE = ("s3:DeleteObject", "data/uploads/open/*")  # entries of the index
# What Lambda needs to poll a function's queue under that function's role; the function itself shortens what failed.
POLLED = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
WITHOUT_RESOURCES = {
    "states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat",  # the task token is the right
    "ecr:GetAuthorizationToken",
    "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets",
    # what Step Functions asks of the role of a state machine that logs
    "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery", "logs:ListLogDeliveries",
    "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
}  # fmt: skip
# The reviewed list: what each role may do, and where. A change here is a change of what the system may do.
REVIEWED: dict[str, set[tuple[str, str]]] = {
    "AnalyzeFunction": {
        ("events:PutEvents", "bus"),
        (READ, "data/incoming/*"), ("s3:GetObjectVersion", "data/incoming/*"), (WRITE, "data/incoming/joined/*"),
        (READ, "data/config/*"), (WRITE, "data/config/settings-*.yaml"), (READ, "data/decisions/*"),
        *((a, f"data/{room}/*") for a in (READ, WRITE) for room in ("datasets", "uploads", "quarantine", "shards")),
        (READ, "data/captured/*"), (READ, "data/labels/*"), (READ, "data/monitoring/*"), (WRITE, "data/monitoring/*"),
        (READ, "data/serving/active.json"), ("s3:ListBucket", "data"), CLOSE,
        *((a, f"artifacts/{room}/*") for a in (READ, WRITE) for room in ("reports", "mlflow")),
        ("s3:ListBucket", "artifacts"), ("states:StartExecution", "stateMachine"), ("states:DescribeExecution", "execution"),
        *((f"sqs:{a}", "UploadsQueue") for a in POLLED),
    },
    "RecoverFunction": {
        ("events:PutEvents", "bus"),
        (READ, "data/uploads/*"), (WRITE, "data/uploads/*"), CLOSE, (READ, "data/config/settings.yaml"), (READ, "data/datasets/*"),
        ("s3:ListBucket", "data"), ("s3:ListBucketVersions", "data"),
        *((f"sqs:{a}", q) for a in ("SendMessage", "GetQueueAttributes") for q in ("UploadsQueue", "BatchQueue")),
        ("states:StartExecution", "stateMachine"), ("states:DescribeExecution", "execution"),
    },
    "BatchFunction": {
        ("events:PutEvents", "bus"),
        (READ, "data/batch/*"), ("s3:GetObjectVersion", "data/batch/*"), (READ, "data/config/settings.yaml"),
        (READ, "data/serving/active.json"), (READ, "data/uploads/*"),
        (READ, "data/integrity/*"),
        *((WRITE, f"data/{room}/*") for room in ("uploads", "predictions", "quarantine")),
        (READ, "artifacts/mlflow/*"), ("s3:ListBucket", "data"), CLOSE,
        (READ, "data/shards/*"), (WRITE, "data/shards/*"), ("states:StartExecution", "stateMachine"),
        ("states:DescribeExecution", "execution"),
        ("s3:ListBucket", "artifacts"), ("lambda:InvokeFunction", "PredictPythonFunction"),
        *((f"sqs:{a}", "BatchQueue") for a in POLLED),
    },
    "ConcludeFunction": {
        ("events:PutEvents", "bus"),
        (READ, "data/uploads/*"), (WRITE, "data/uploads/*"), (READ, "data/config/*"), ("s3:ListBucket", "data"), CLOSE,
        (READ, "data/integrity/*"), (WRITE, "data/integrity/*"),  # nobody else writes there
        (READ, "data/serving/*"), (WRITE, "data/serving/*"),  # a switch by promotion.auto_promote
        (READ, "artifacts/mlflow/*"), (WRITE, "artifacts/mlflow/*/gate.json"), ("s3:ListBucket", "artifacts"),
        (READ, "artifacts/reports/*/report.html"), (WRITE, "artifacts/reports/*/report.html"),
    },
    "ControlFunction": {
        ("events:PutEvents", "bus"),
        (WRITE, "data/incoming/*"), (WRITE, "data/batch/*"), (WRITE, "data/labels/*"),
        (READ, "data/decisions/*"), (WRITE, "data/decisions/*"),
        (READ, "data/datasets/history.json"), (READ, "data/datasets/reference.json"),
        *((READ, f"data/{room}/*") for room in ("uploads", "progress", "config", "quarantine")),
        (READ, "data/predictions/*"), (READ, "data/monitoring/*"), (READ, "data/integrity/*"),
        (READ, "data/serving/*"), (WRITE, "data/serving/*"), ("s3:ListBucket", "data"),
        (READ, "artifacts/reports/*"), (READ, "artifacts/mlflow/*"), ("s3:ListBucket", "artifacts"),
        ("sqs:GetQueueAttributes", "TrainingQueue"), ("logs:FilterLogEvents", "logs/*"),
    },
    "PredictFunction": {
        (READ, "data/integrity/*"), (READ, "data/serving/*"), (READ, "artifacts/mlflow/*"),
        ("s3:ListBucket", "data"), ("s3:ListBucket", "artifacts"),
        (WRITE, "data/captured/*"), ("lambda:InvokeFunction", "PredictPythonFunction"),
    },
    "PredictPythonRole": {
        (READ, "data/integrity/*"), ("s3:ListBucket", "data"), (READ, "artifacts/mlflow/*"), ("s3:ListBucket", "artifacts"),
        ("logs:CreateLogStream", "logs/predict_python"), ("logs:PutLogEvents", "logs/predict_python"),
        ("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*"),
    },
    "TrainingStateMachine": {
        ("sqs:SendMessage", "TrainingQueue"), ("lambda:InvokeFunction", "ConcludeFunction"),
        ("lambda:InvokeFunction", "AnalyzeFunction"), ("lambda:InvokeFunction", "BatchFunction"), ("ecs:RunTask", "training tasks"),
        ("states:StartExecution", "stateMachine"),  # children of its Distributed Map
        *((f"states:{a}", name) for a in ("DescribeExecution", "StopExecution") for name in ("execution", "execution/Shards")),
        ("iam:PassRole", "TrainingRole"), ("iam:PassRole", "TrainingExecutionRole"),
        *((a, "*") for a in WITHOUT_RESOURCES if a.startswith(("xray:", "logs:"))),
    },
    "TrainingRole": {
        *((f"sqs:{a}", "TrainingQueue") for a in (
            "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "SendMessage",
        )),
        *((a, "*") for a in WITHOUT_RESOURCES if a.startswith("states:")),
        (READ, "data/datasets/*"), (READ, "data/config/*"), (READ, "data/serving/active.json"),
        (READ, "data/integrity/*"), ("lambda:InvokeFunction", "PredictPythonFunction"),  # the champion, when it is a pickle
        (READ, "data/tuning/*"), (WRITE, "data/tuning/*"), (WRITE, "data/progress/*"),
        (READ, "artifacts/mlflow/*"), (WRITE, "artifacts/mlflow/*"), ("s3:ListBucket", "data"), ("s3:ListBucket", "artifacts"),
        ("logs:CreateLogStream", "logs/training"), ("logs:PutLogEvents", "logs/training"),
    },
    "PullRole": {  # and what SourcesPolicyArn adds: the account's own policy
        (READ, "data/config/*"), (READ, "data/uploads/pulled/*"), (WRITE, "data/uploads/pulled/*"), (WRITE, "data/incoming/pulled/*"),
        *((f"s3:{a}", "data/progress/pulls/*") for a in (
            "GetObject", "PutObject", "AbortMultipartUpload", "ListMultipartUploadParts", "DeleteObject", "DeleteObjectVersion",
        )),
        *((f"s3:{a}", "data") for a in ("ListBucket", "ListBucketVersions", "GetBucketLocation")),
    },
    "TrainingExecutionRole": {
        ("ecr:GetAuthorizationToken", "*"),
        *((f"ecr:{a}", "images") for a in ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage")),
        ("logs:CreateLogStream", "logs/*"), ("logs:PutLogEvents", "logs/*"),
    },
    "FrontendRole": {
        ("execute-api:Invoke", f"api/{method}{re.sub(r'{[^}]*}', '*', path)}")
        for method, path in routes_of_web_app() if ACCESS[method, path] == "iam"
    },
    "MlflowServerRole": {(READ, "artifacts/mlflow/*"), (WRITE, "artifacts/mlflow/*"), ("s3:ListBucket", "artifacts")},
}  # fmt: skip
TRACKING = {
    "GetExperimentByName",
    "CreateExperiment",
    "SearchRuns",
    "CreateRun",
    "GetRun",
    "LogBatch",
    "LogInputs",
    "UpdateRun",
}
LABELLING = {
    "GetRegisteredModel", "SearchRegisteredModels", "GetModelVersion", "SearchModelVersions",
    "SetRegisteredModelAlias", "DeleteRegisteredModelAlias",
}  # fmt: skip
MAC = {"kms:GenerateMac", "kms:VerifyMac", "kms:DescribeKey"}  # under HistoryKey=kms only
OF_HISTORY = {"ConcludeFunction", "ControlFunction"}
KEY, SECRET = {"kms:Decrypt", "kms:GenerateDataKey"}, {"secretsmanager:GetSecretValue"}
# Roles that touch encrypted objects, and the part that speaks to MLflow: under KmsKeyArn and MlflowSecretArn only.
OF_KEY = {
    "AnalyzeFunction",
    "BatchFunction",
    "RecoverFunction",
    "ConcludeFunction",
    "ControlFunction",
    "PredictFunction",
    "PredictPythonRole",
    "TrainingStateMachine",
    "TrainingRole",
    "PullRole",
    "MlflowServerRole",
}
# Under ManagedMlflow only, on that one server: the calls of its API that the part makes (tests/contracts/test_managed_mlflow.py
# sees them made).
OF_MANAGED_MLFLOW = {
    "AnalyzeFunction": TRACKING,
    "ConcludeFunction": {
        "GetRun", "LogBatch", "UpdateRun", "GetLoggedModel", "CreateRegisteredModel", "CreateModelVersion", *LABELLING,
    },
    "ControlFunction": {"GetRun", *LABELLING},
    "TrainingRole": {
        "GetRun", "SearchRuns", "CreateRun", "LogBatch", "LogInputs", "LogOutputs", "UpdateRun", "GetMetricHistory",
        "LogModel", "GetLoggedModel", "FinalizeLoggedModel",
    },
}  # fmt: skip
OF_SECRET = {"AnalyzeFunction", "ConcludeFunction", "ControlFunction", "TrainingRole"}

# What each part reaches of each adapter. Every public method must be somebody's.
REACHES: dict[str, dict[str, set[str]]] = {
    "AnalyzeFunction": {
        "S3Store": {"get", "get_if_changed", "put", "download", "upload", "stat", "list", "delete"},
        "StepFunctionsWorkflow": {"start"},
        "EventBridgeBus": {"put"},
        "SqsQueue": {"extend"},
        "Secrets": {"read"},
    },
    "RecoverFunction": {
        "S3Store": {"get", "put", "stat", "list", "versions", "delete"},
        "StepFunctionsWorkflow": {"start", "status"},
        "SqsQueue": {"send", "depth"},
        "EventBridgeBus": {"put"},
    },
    "ConcludeFunction": {
        "S3Store": {"get", "put", "stat", "list", "delete"},
        "Secrets": {"read"},
        "KmsKey": {"generate", "verify"},
        "EventBridgeBus": {"put"},
    },
    "ControlFunction": {
        "S3Store": {"get", "get_if_changed", "put", "stat", "list", "presign_get", "presign_post"},
        "SqsQueue": {"depth"},
        "Secrets": {"read"},
        "CloudWatchLogs": {"read"},
        "EventBridgeBus": {"put"},
        "KmsKey": {"generate", "verify", "created_at"},
    },
    "PredictFunction": {"S3Store": {"get", "get_if_changed", "put"}, "LambdaFunction": {"invoke"}},
    "BatchFunction": {
        "S3Store": {"get", "put", "download", "upload", "stat", "list", "delete"},
        "LambdaFunction": {"invoke"},
        "SqsQueue": {"extend"},
        "EventBridgeBus": {"put"},
    },
    "PredictPythonRole": {"S3Store": {"get"}},
    "TrainingRole": {
        "LambdaFunction": {"invoke"},
        "S3Store": {"get", "put", "download", "upload", "stat", "list"},
        "SqsQueue": {"send", "receive", "extend", "delete", "depth"},
        "StepFunctionsWorkflow": {"succeed", "fail", "heartbeat"},
        "CloudWatchHandler": {"emit"},
        "Secrets": {"read"},
    },
}
# The IAM action of a boto3 operation where the name alone does not say it.
ACTIONS = {
    "head_object": READ, "download_file": READ, "generate_presigned_url": READ, "generate_presigned_post": WRITE,
    "get_paginator": "s3:ListBucket", "invoke": "lambda:InvokeFunction", "list_object_versions": "s3:ListBucketVersions",
}  # fmt: skip
SERVICES = {
    "_lambda": "lambda",
    "_secrets": "secretsmanager",
    "_s3": "s3",
    "_sqs": "sqs",
    "_sfn": "states",
    "_logs": "logs",
    "_kms": "kms",
    "_events": "events",
}


# Statements that come with a parameter; each has a test of its own.
OPTIONAL = {
    "WithKey", "WithMlflowSecret", "WithFrontend", "WithMlflowSecretKey", "WithFrontendSecretKey", "WithMlflowServer", "WithMlflowApp",
    "WithHistoryKmsKey",
}  # fmt: skip


def _statements(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(condition or nothing, statement) of a role or of what SAM makes a role for."""
    for policy in RESOURCES[name]["Properties"].get("Policies", []):
        for statement in policy.get("PolicyDocument", policy)["Statement"]:
            if "Fn::If" in statement:
                yield statement["Fn::If"][0], statement["Fn::If"][1]
            elif statement["Effect"] == "Allow":
                yield "", statement


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# Resource of a statement (a regular expression) → where that is.
_PLACES = {
    r":s3:::\$\{ProjectName\}-(data|artifacts)-\$\{AWS::AccountId\}-\$\{AWS::Region\}(/.+)?$": r"\1\2",
    r":log-group:/dropforge/\$\{ProjectName\}/(\w+|\*)(:\*)?$": r"logs/\1",
    r":(stateMachine|execution):\$\{ProjectName\}-training(:\*)?$": r"\1",
    r":execution:\$\{ProjectName\}-training/Shards:\*$": "execution/Shards",
    r":execute-api:\$\{AWS::Region\}:\$\{AWS::AccountId\}:\$\{Api\}/\$\{StageName\}/(.+)$": r"api/\1",
    r":event-bus/default$": "bus",
    r":task-definition/\$\{ProjectName\}-training:\*$": "training tasks",
    r":repository/\$\{ProjectName\}-\*$": "images",
}


def _place(resource: Any) -> str:
    """Where a statement holds, in the words of the reviewed list."""
    if isinstance(resource, str):
        return resource
    if "Fn::GetAtt" in resource or "Ref" in resource:
        return str(resource.get("Ref") or resource["Fn::GetAtt"][0])
    text = str(resource["Fn::Sub"])
    for pattern, words in _PLACES.items():
        if match := re.search(pattern, text):
            return match.expand(words)
    return text


def _granted(name: str) -> set[tuple[str, str]]:
    return {
        (action, _place(resource))
        for condition, statement in _statements(name)
        if condition not in OPTIONAL
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    }


def _roles() -> set[str]:
    kinds = {"AWS::Serverless::Function", "AWS::Serverless::StateMachine", "AWS::IAM::Role"}
    return {name for name, r in RESOURCES.items() if r["Type"] in kinds}


def _operations() -> dict[tuple[str, str], set[str]]:
    """(class, method) → the IAM actions of the boto3 operations it reaches, through private helpers too."""
    matches: dict[tuple[str, str], set[str]] = {}
    for source in ADAPTERS.glob("*.py"):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.ClassDef):
                matches |= _of_class(node)
    return matches


def _of_class(node: ast.ClassDef) -> dict[tuple[str, str], set[str]]:
    own: dict[str, set[str]] = {}
    helpers: dict[str, set[str]] = {}
    for method in (m for m in node.body if isinstance(m, ast.FunctionDef)):
        attributes = [n for n in ast.walk(method) if isinstance(n, ast.Attribute)]
        own[method.name] = {
            _action(SERVICES[a.value.attr], a.attr)
            for a in attributes
            if isinstance(a.value, ast.Attribute) and a.value.attr in SERVICES
        }
        texts = [n.value for n in ast.walk(method) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        own[method.name] |= {_action("states", t) for t in texts if t.startswith("send_task_")}
        helpers[method.name] = {a.attr for a in attributes if isinstance(a.value, ast.Name) and a.value.id == "self"}
    if not any(own.values()):
        return {}

    def reached(method: str, seen: frozenset[str]) -> set[str]:
        inner = [reached(h, seen | {h}) for h in helpers[method] if h in own and h not in seen]
        return own[method].union(*inner)

    starts = {m: reached(m, frozenset((m,))) for m in own if not m.startswith("_")}
    if node.name == "CloudWatchHandler":  # its thread sends what `emit` was given
        starts["emit"] |= reached("_run", frozenset(("_run",)))
    return {(node.name, m): actions for m, actions in starts.items() if actions}


def _action(service: str, operation: str) -> str:
    return ACTIONS.get(operation) or f"{service}:{''.join(w.capitalize() for w in operation.split('_'))}"


def test_every_role_was_reviewed() -> None:
    """Nothing in the template has a role that the reviewed list leaves out, and the list names no role that is gone."""
    assert _roles() == set(REVIEWED)


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_a_role_holds_exactly_what_was_reviewed(name: str) -> None:
    """A role's statements are the reviewed ones: none more, none less."""
    assert _granted(name) == REVIEWED[name]


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_no_action_is_a_wildcard(name: str) -> None:
    """No statement allows a family of actions, and `*` as resource stands only where an action knows no other."""
    for _, statement in _statements(name):
        for action in _listed(statement["Action"]):
            assert "*" not in action
            if "*" in _listed(statement["Resource"]):
                assert action in WITHOUT_RESOURCES


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_whoever_reads_a_bucket_may_list_it(name: str) -> None:
    """S3 answers 403 instead of 404 for an absent object to a caller who may not list: absence would look like a missing right."""
    read = {place.partition("/")[0] for action, place in REVIEWED[name] if action == READ}
    assert {("s3:ListBucket", bucket) for bucket in read} <= REVIEWED[name]


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_keys_and_secrets_come_with_their_parameters(name: str) -> None:
    """The customer key and the MLflow secret are readable exactly for the parts that need them, when they are given."""
    given: dict[str, set[str]] = {
        c: set() for c in OPTIONAL - {"WithMlflowServer", "WithMlflowApp", "WithHistoryKmsKey"}
    }
    named = [{"Ref": p} for p in ("KmsKeyArn", "MlflowSecretArn", "FrontendKeyArn", "SecretsKmsKeyArn")]
    for condition, statement in _statements(name):
        if condition in given:
            given[condition] |= set(_listed(statement["Action"]))
            assert statement["Resource"] in named
    expected = KEY if name in OF_KEY else set()
    assert given["WithKey"] == expected
    assert given["WithMlflowSecret"] == (SECRET if name in OF_SECRET else set())
    assert given["WithFrontend"] == (SECRET if name == "TrainingExecutionRole" else set())
    # A secret under a key of one's own is readable only with that key.
    assert given["WithMlflowSecretKey"] == ({"kms:Decrypt"} if name in OF_SECRET else set())
    assert given["WithFrontendSecretKey"] == ({"kms:Decrypt"} if name == "TrainingExecutionRole" else set())


@pytest.mark.parametrize("name", sorted(REVIEWED))
def test_a_managed_mlflow_server_is_called_as_reviewed(name: str) -> None:
    """With ManagedMlflow a part may make the reviewed calls to the stack's own server or app; no other part may make any."""
    apps = [s for condition, s in _statements(name) if condition == "WithMlflowApp"]
    assert [(s["Action"], s["Resource"]) for s in apps] == [
        ("sagemaker:CallMlflowAppApi", {"Fn::GetAtt": ["MlflowApp", "Arn"]})
    ] * (name in OF_MANAGED_MLFLOW)
    given = [s for condition, s in _statements(name) if condition == "WithMlflowServer"]
    assert all(s["Resource"]["Fn::Sub"].endswith(":mlflow-tracking-server/${ProjectName}") for s in given)
    created = {f"sagemaker-mlflow:{action}" for action in OF_MANAGED_MLFLOW.get(name, ())}
    assert {action for s in given for action in _listed(s["Action"])} == created


def test_every_aws_call_belongs_to_a_part() -> None:
    """Each adapter method that calls AWS is reached by a part of the system."""
    reached = {(c, m) for parts in REACHES.values() for c, methods in parts.items() for m in methods}
    calling = {key for key in _operations() if key[0] in {c for c, _ in reached}}
    assert calling == reached
    assert calling == set(_operations()), "an adapter class is not in REACHES"


@pytest.mark.parametrize("name", sorted(REACHES))
def test_every_call_of_a_part_is_allowed(name: str) -> None:
    """For every AWS call that a part can make through its adapters, its role holds the action somewhere."""
    allowed = {action for action, _ in REVIEWED[name]} | (SECRET if name in OF_SECRET else set())
    allowed |= MAC if name in OF_HISTORY else set()
    operations = _operations()
    for adapter, methods in REACHES[name].items():
        for method in methods:
            assert operations[adapter, method] <= allowed, f"{adapter}.{method}"


def test_only_conclude_writes_integrity_records() -> None:
    """What is activated and loaded is compared with a prefix that exactly one part of the system may write."""
    writers = {name for name, granted in REVIEWED.items() if (WRITE, "data/integrity/*") in granted}
    assert writers == {"ConcludeFunction"}


def test_only_those_who_change_the_active_model_can_make_a_code_of_the_history() -> None:
    """The KMS key is usable by the roles of control and conclude alone, no other part is told of a key at all."""
    given = {name: [s for c, s in _statements(name) if c == "WithHistoryKmsKey"] for name in REVIEWED}
    assert {name for name, statements in given.items() if statements} == OF_HISTORY
    for (statement,) in filter(None, given.values()):
        assert set(statement["Action"]) == MAC
        assert statement["Resource"] == {"Fn::GetAtt": ["HistoryMacKey", "Arn"]}
    assert {name for name, r in RESOURCES.items() if "HISTORY_KEY" in str(r.get("Properties"))} == OF_HISTORY
    actions = {
        a for name in REVIEWED for _, s in _statements(name) for a in _listed(s["Action"]) if a.startswith("kms:")
    }
    assert actions == MAC | KEY


def test_immutable_keys_are_written_once() -> None:
    """On AWS the bucket itself refuses to overwrite settings named by hash, integrity records and the history."""
    statements = RESOURCES["DataBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (once,) = [s for s in statements if s["Sid"] == "WriteOnce"]
    assert once["Effect"] == "Deny"
    assert once["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    ends = {str(r["Fn::Sub"]).partition("/")[2] for r in once["Resource"]}
    assert ends == {"config/settings-*.yaml", "integrity/*", "serving/history/*"}
