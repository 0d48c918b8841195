"""What AWS refuses although an emulator accepts it, as far as it can be known from the template alone."""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from dropforge_local.packaging import definition_json, load_template, package
from dropforge_local.regions import REGIONS

ROOT = Path(__file__).parents[2]
TEMPLATE = load_template(ROOT / "template.yaml")
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
SUBNETS = {"SubnetIds": "subnet-1,subnet-2", "VpcId": "vpc-1"}
IMAGE = {"TrainingImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/dropforge-training:1"}
BALANCER = "arn:aws:elasticloadbalancing:us-east-1:123456789012"
FRONTEND = {
    "FrontendImageUri": "x:1", "FrontendKeyArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:k",
    "FrontendSignerArn": f"{BALANCER}:loadbalancer/app/a/1", "FrontendTargetGroupArn": f"{BALANCER}:targetgroup/t/1",
    "FrontendHosts": "forge.example",
}  # fmt: skip
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"
# Sets of parameters that between them switch every condition on and off.
SETS: dict[str, dict[str, str]] = {
    "defaults": {},
    "fargate": {
        "TrainingCompute": "fargate", **SUBNETS, **IMAGE, "SourcesPolicyArn": "arn:aws:iam::123456789012:policy/sources",
    },
    "spot and own mlflow": {
        "TrainingCompute": "fargate", "TaskCapacity": "FARGATE_SPOT", "ManagedMlflow": "none", "MlflowTrackingUri": "https://m",
        **SUBNETS, **IMAGE,
    },
    "tracking server": {"ManagedMlflow": "server"},
    "private subnets": {"FunctionSubnetIds": "subnet-3,subnet-4", "FunctionSecurityGroupIds": "sg-1", **IMAGE},
    "own key and secrets": {
        "KmsKeyArn": KEY, "SecretsKmsKeyArn": KEY, "ManagedMlflow": "none", "MlflowTrackingUri": "https://m",
        "PermissionsBoundary": "arn:aws:iam::123456789012:policy/b", "RolePath": "/team/",
        "MlflowSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:m", **IMAGE,
    },
    "web app": {**FRONTEND, **SUBNETS, "KmsKeyArn": KEY, "SecretsKmsKeyArn": KEY},
    "web app behind its own balancer": {
        **FRONTEND, **SUBNETS, "FrontendSignerArn": "", "FrontendTargetGroupArn": "", "FrontendCertificateArn": CERTIFICATE,
        "OidcIssuer": "https://i", "OidcAuthorizationEndpoint": "https://i/a", "OidcTokenEndpoint": "https://i/t",
        "OidcUserInfoEndpoint": "https://i/u", "OidcClientId": "c",
        "OidcSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:o",
    },
    "own domain, WAF, access logs": {
        "DomainName": "api.forge.example", "DomainCertificateArn": CERTIFICATE, "HostedZoneId": "Z1", "AccessLogs": "true",
        "WebAclArn": "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/a/1",
    },
    "gradual, warm, mailed": {
        "GradualDeployment": "true", "PredictProvisioned": "1", "AlarmEmail": "a@b.c", "NoUploadDays": "2", "MoreAlarms": "true",
        "HistoryKey": "kms",
    },
    "quiet": {"Monitoring": "false", "Tracing": "PassThrough", "RequireTls": "false", "RetrainSchedule": "rate(30 days)"},
}  # fmt: skip


class _ManagedPolicies:
    """The transform asks for AWS-managed policies by name; the template uses none of them by name."""

    def load(self) -> dict[str, str]:
        return {}


@cache
def _packed() -> dict[str, Any]:
    return package(ROOT, lambda key, _body: f"s3://packages/{key}")


@cache
def _plain(name: str) -> dict[str, Any]:
    """The template as CloudFormation sees it after the SAM transform, under one set of parameters."""
    from samtranslator.translator.transform import transform

    packed = copy.deepcopy(_packed())
    given = {k: str(p.get("Default", "")) for k, p in packed["Parameters"].items()} | SETS[name]
    names = {"AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
    plain: dict[str, Any] = transform(packed, {**given, **names}, _ManagedPolicies())
    values = {**given, **names, "AWS::StackName": "dropforge", "AWS::URLSuffix": "amazonaws.com"}
    conditions = plain.get("Conditions", {})

    def holds(value: Any) -> bool:
        if "Condition" in value:
            return holds(conditions[value["Condition"]])
        ((function, arguments),) = value.items()
        match function:
            case "Fn::Equals":
                left, right = (str(values[a["Ref"]]) if isinstance(a, dict) else str(a) for a in arguments)
                return left == right
            case "Fn::Not":
                return not holds(arguments[0])
            case "Fn::And":
                return all(map(holds, arguments))
            case "Fn::Or":
                return any(map(holds, arguments))
        raise AssertionError(function)

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [r for r in map(resolved, value) if r != {"Ref": "AWS::NoValue"}]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            condition, yes, no = value["Fn::If"]
            return resolved(yes if holds(conditions[condition]) else no)
        if set(value) == {"Ref"} and value["Ref"] in given:
            return given[value["Ref"]]
        return {k: r for k, v in value.items() if (r := resolved(v)) != {"Ref": "AWS::NoValue"}}

    stored = {n: r for n, r in plain["Resources"].items() if "Condition" not in r or holds(conditions[r["Condition"]])}
    outputs = {
        n: o for n, o in plain.get("Outputs", {}).items() if "Condition" not in o or holds(conditions[o["Condition"]])
    }
    return {"Resources": resolved(stored), "Outputs": resolved(outputs)}


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transform wants to know where it is."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def _named(value: Any) -> Iterator[str]:
    """Every logical name that a value refers to by Ref, GetAtt or Sub."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0] if isinstance(inner, list) else str(inner).split(".", 1)[0]
            elif key == "Fn::Sub":
                text, own = (inner, {}) if isinstance(inner, str) else (inner[0], inner[1])
                yield from (n.split(".")[0] for n in re.findall(r"\$\{([\w.:]+)\}", text) if n not in own)
                yield from _named(own)
            else:
                yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)


def _needs(resources: dict[str, Any]) -> dict[str, set[str]]:
    """Resource → the resources that CloudFormation creates before it."""
    needs = {}
    for name, resource in resources.items():
        after = resource.get("DependsOn", [])
        after = {after} if isinstance(after, str) else set(after)
        needs[name] = {n for n in {*after, *_named(resource.get("Properties", {}))} if n in resources}
    return needs


@pytest.mark.parametrize("name", SETS)
def test_there_is_an_order_of_creation(name: str) -> None:
    """Under each set of parameters every reference leads to something that is created, and no resource waits for itself."""
    resources = _plain(name)["Resources"]
    for owner, value in [*resources.items(), ("outputs", _plain(name)["Outputs"])]:
        missing = {n for n in _named(value) if not n.startswith("AWS::") and n not in resources and n not in PARAMETERS}
        assert not missing, owner
    needs = _needs(resources)
    while ready := {n for n, after in needs.items() if not after}:
        needs = {n: after - ready for n, after in needs.items() if n not in ready}
    assert not needs, "these wait for each other"


def test_the_sets_switch_every_condition() -> None:
    """Each condition of the template is true under one of the sets and false under another: nothing goes unchecked."""
    conditional = {n for n, r in RESOURCES.items() if "Condition" in r}
    present = [set(_plain(name)["Resources"]) for name in SETS]
    assert conditional <= set.union(*present)
    assert not conditional & set.intersection(*present)


# A new account: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html ("new AWS accounts have reduced concurrency
# and memory quotas"), Service Quotas for Fargate, and CloudWatch's always-free part.
NEW_ACCOUNT = {
    "memory_mb": 3008,
    "concurrency": 10,
    "unreserved": 10,
    "timeout": 900,
    "ephemeral_mb": 10240,
    "fargate_vcpu": 6,
}


def _functions(name: str) -> dict[str, dict[str, Any]]:
    return {n: r["Properties"] for n, r in _plain(name)["Resources"].items() if r["Type"] == "AWS::Lambda::Function"}


@pytest.mark.parametrize("name", ["defaults", "fargate"])
def test_the_defaults_fit_into_a_new_account(name: str) -> None:
    """Memory, time, disk and concurrency of every function, and the tasks at the same time, are within a new account's quotas."""
    for function, properties in _functions(name).items():
        assert properties["MemorySize"] <= NEW_ACCOUNT["memory_mb"], function
        assert properties["Timeout"] <= NEW_ACCOUNT["timeout"], function
        assert properties.get("EphemeralStorage", {}).get("Size", 512) <= NEW_ACCOUNT["ephemeral_mb"], function
        # With ten concurrent executions in the account none can be quarantined: Lambda keeps 10 unreserved (100 in older accounts).
        assert "ReservedConcurrentExecutions" not in properties, function
    for resource in _plain(name)["Resources"].values():
        if resource["Type"] == "AWS::ECS::TaskDefinition":
            size = PARAMETERS["TaskSize"]["Default"]
            cpu = int(TEMPLATE["Mappings"]["TaskSizes"][size]["Cpu"]) / 1024
            assert cpu * PARAMETERS["MaxConcurrentModels"]["Default"] <= NEW_ACCOUNT["fargate_vcpu"]
        assert resource["Type"] != "AWS::Lambda::Alias" or "ProvisionedConcurrencyConfig" not in resource["Properties"]


def test_a_burst_of_uploads_leaves_concurrency_to_predictions() -> None:
    """Files reach their functions through queues only, and those take at most half of a new account's concurrency by default.

    Each queue hides a message for six times its function's timeout, or Lambda refuses the mapping or repeats work that goes on;
    one message an invocation, so that one that fails brings back no other.
    """
    resources = _plain("defaults")["Resources"]
    notified = resources["DataBucket"]["Properties"]["NotificationConfiguration"]
    direct = [c["Filter"]["S3Key"]["Rules"][0]["Value"] for c in notified["LambdaConfigurations"]]
    assert direct == ["decisions/"]
    mappings = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::Lambda::EventSourceMapping"]
    assert sum(int(m["ScalingConfig"]["MaximumConcurrency"]) for m in mappings) <= NEW_ACCOUNT["concurrency"] / 2
    fed = {q["Queue"]["Fn::GetAtt"][0] for q in notified["QueueConfigurations"]}
    assert {m["EventSourceArn"]["Fn::GetAtt"][0] for m in mappings} == fed
    assert all(PARAMETERS[p]["MinValue"] >= 2 for p in ("UploadsAtOnce", "BatchFilesAtOnce"))  # Lambda's own least
    for mapping in mappings:
        queue = resources[mapping["EventSourceArn"]["Fn::GetAtt"][0]]["Properties"]
        function = resources[mapping["FunctionName"]["Ref"]]["Properties"]
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
        assert mapping["BatchSize"] == 1
    # S3 sends a test message to each queue when it is told of them: the queues must let it, and be there first.
    assert (
        resources["DataBucket"]["DependsOn"] == ["IngressPolicy"]
        or "IngressPolicy" in resources["DataBucket"]["DependsOn"]
    )
    allow = resources["IngressPolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert allow["Principal"] == {"Service": "s3.amazonaws.com"}
    assert {r["Fn::GetAtt"][0] for r in allow["Resource"]} == fed


def test_a_stack_without_an_mlflow_server_is_refused() -> None:
    """No default points at the function itself; who brings no server and lets none be made is told before anything is created."""
    assert PARAMETERS["MlflowTrackingUri"]["Default"] == ""
    rule = TEMPLATE["Rules"]["MlflowIsSomewhere"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "ManagedMlflow"}, "none"]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "MlflowTrackingUri"}, ""]}]}
    uri = _functions("defaults")["AnalyzeFunction"]["Environment"]["Variables"]["MLFLOW_TRACKING_URI"]
    assert uri == {"Fn::GetAtt": ["MlflowApp", "Arn"]}
    assert PARAMETERS["ManagedMlflow"]["Default"] == "app"


def test_a_failed_create_leaves_nothing_in_the_way() -> None:
    """What has a fixed name and is retained goes away with a create that failed, so that the next one is not refused its name."""
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::S3::Bucket":
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert resource["UpdateReplacePolicy"] == "Retain", name
        else:
            assert resource.get("DeletionPolicy", "Delete") == "Delete", name


def test_the_api_has_one_stage() -> None:
    """SAM adds a stage named `Stage` to every API without an OpenApiVersion: a second, public way in."""
    stages = [
        r["Properties"]["StageName"]
        for r in _plain("defaults")["Resources"].values()
        if r["Type"] == "AWS::ApiGateway::Stage"
    ]
    assert stages == ["v1"]
    (api,) = [
        r["Properties"] for r in _plain("defaults")["Resources"].values() if r["Type"] == "AWS::ApiGateway::RestApi"
    ]
    assert api["Body"]["openapi"] == "3.0.1"


def test_mlflow_gives_up_before_control_has_to() -> None:
    """All tries of one call to MLflow, with their pauses, end before API Gateway and the function's timeout do."""
    variables = _functions("defaults")["ControlFunction"]["Environment"]["Variables"]
    retries, timeout = (int(variables[f"MLFLOW_HTTP_REQUEST_{n}"]) for n in ("MAX_RETRIES", "TIMEOUT"))
    # MLflow's own factor 2 (seconds) and jitter of at most 1 second: urllib3 sleeps factor * 2**n before the (n+1)-th repetition.
    pauses = sum(2 * 2**n + 1 for n in range(retries))
    assert (retries + 1) * timeout + pauses < _functions("defaults")["ControlFunction"]["Timeout"]


def _statements(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "Effect" in value:
            yield value
        for inner in value.values():
            yield from _statements(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _statements(inner)


def _cfn_lint(*path: str) -> dict[str, Any]:
    """A document of cfn-lint's data: importing the package takes seconds."""
    package = find_spec("cfnlint")
    assert package is not None
    document: dict[str, Any] = json.loads(Path(str(package.origin)).parent.joinpath("data", *path).read_text())
    return document


@cache
def _known_actions() -> dict[str, set[str]]:
    """Service prefix → its actions in lower case, of AWS's Service Authorization Reference as cfn-lint carries it."""
    return {service: set(entry["Actions"]) for service, entry in _cfn_lint("AdditionalSpecs", "Policies.json").items()}


@pytest.mark.parametrize("name", SETS)
def test_every_action_exists(name: str) -> None:
    """Each IAM action of each policy is one of the Service Authorization Reference: a misspelt right is a right that nobody has."""
    actions = {
        action
        for resource in _plain(name)["Resources"].values()
        for statement in _statements(resource.get("Properties", {}))
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if not action.endswith(":*")  # of a Deny: everything
    }
    assert len(actions) > 20
    assert not {
        a for a in actions if a.partition(":")[2].lower() not in _known_actions().get(a.partition(":")[0], set())
    }


@pytest.mark.parametrize("compute", ["queue", "fargate"])
def test_step_functions_reaches_every_state(compute: str) -> None:
    """CreateStateMachine refuses a definition with a state that nothing leads to, also inside a Map, whatever the parameters are."""
    raw = (ROOT / "statemachine" / "training.asl.yaml").read_text()
    text = definition_json(ROOT / "statemachine" / "training.asl.yaml").decode()
    for key in RESOURCES["TrainingStateMachine"]["Properties"]["DefinitionSubstitutions"]:
        value = {"TrainingCompute": compute, "MaxConcurrency": "3", "ShardsAtOnce": "3"}.get(key, "-")
        text, raw = (whole.replace("${" + key + "}", value) for whole in (text, raw))

    def check(scope: dict[str, Any]) -> None:
        targets = {scope["StartAt"]}
        for state in scope["States"].values():
            steps = [state, *state.get("Catch", []), *state.get("Choices", [])]
            targets |= {step[key] for step in steps for key in ("Next", "Default") if key in step}
            if "ItemProcessor" in state:
                check(state["ItemProcessor"])
        assert targets == set(scope["States"])

    machine = json.loads(text)
    check(machine)
    assert machine["States"]["TrainModels"]["MaxConcurrency"] == 3
    # CloudFormation puts the values into the YAML itself, where a bare `-` would be a list.
    assert yaml.safe_load(raw) == machine


def _calls() -> Iterator[tuple[str, str, set[str]]]:
    """(service, operation, literal argument names) of every boto3 call of the adapters."""
    services = {
        "_lambda": "lambda",
        "_secrets": "secretsmanager",
        "_s3": "s3",
        "_sqs": "sqs",
        "_sfn": "stepfunctions",
        "_logs": "logs",
        "_events": "events",
    }
    for source in (ROOT / "layers" / "core" / "dropforge" / "adapters").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Attribute) and owner.attr in services:
                yield services[owner.attr], node.func.attr, {k.arg for k in node.keywords if k.arg}


def test_every_call_is_one_of_botocore() -> None:
    """Each operation of the adapters, and each argument they name, is in the pinned botocore's model of the service."""
    helpers = {"get_paginator", "generate_presigned_url", "generate_presigned_post", "download_file"}
    checked = 0
    for service, method, arguments in _calls():
        client = boto3.client(service, region_name="us-east-1")
        if method in helpers:
            assert hasattr(client, method)
            continue
        operation = client.meta.method_to_api_mapping[method]
        model = client.meta.service_model.operation_model(operation)
        assert arguments <= set(model.input_shape.members), (service, method)
        checked += 1
    assert checked >= 12


@pytest.mark.parametrize("boundary", ["", "arn:aws:iam::123456789012:policy/b"])
def test_every_role_carries_the_boundary_and_the_path(boundary: str) -> None:
    """PermissionsBoundary and RolePath reach each role, those that SAM makes too; without them no role has a boundary."""
    name = "own key and secrets" if boundary else "fargate"
    roles = {n: r["Properties"] for n, r in _plain(name)["Resources"].items() if r["Type"] == "AWS::IAM::Role"}
    assert len(roles) >= 8
    assert {p.get("PermissionsBoundary", "") for p in roles.values()} == {boundary}
    assert {p["Path"] for p in roles.values()} == {"/team/" if boundary else "/"}


BOOTSTRAP = load_template(ROOT / "bootstrap.yaml")["Resources"]


def test_the_image_is_there_before_the_stack_that_runs_it() -> None:
    """The repository is in the bootstrap stack, readable by Lambda, with tags that never move and an end for old images."""
    assert not [n for n, r in RESOURCES.items() if r["Type"] == "AWS::ECR::Repository"]
    repository = BOOTSTRAP["TrainingRepository"]["Properties"]
    (statement,) = repository["RepositoryPolicyText"]["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert set(statement["Action"]) == {"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}
    assert repository["ImageTagMutability"] == "IMMUTABLE"
    assert json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    rules = [a["Assert"] for a in TEMPLATE["Rules"]["FargateNeedsSubnets"]["Assertions"]]
    assert {"Fn::Not": [{"Fn::Equals": [{"Ref": "TrainingImageUri"}, ""]}]} in rules


def test_a_workflow_deploys_from_its_environment() -> None:
    """A job with `environment: aws` has the subject repo:OWNER/NAME:environment:aws; the role trusts that and nothing wider."""
    (statement,) = BOOTSTRAP["DeployRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    equal = statement["Condition"]["StringEquals"]
    assert equal["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
    subject = equal["token.actions.githubusercontent.com:sub"]["Fn::Sub"]
    assert subject == "repo:${GitHubRepository}:environment:${GitHubEnvironment}"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    environments = {job.get("environment") for job in workflow["jobs"].values()} - {None}
    default = load_template(ROOT / "bootstrap.yaml")["Parameters"]["GitHubEnvironment"]["Default"]
    assert environments == {default}


def test_every_action_of_the_bootstrap_exists() -> None:
    """As for the stack; a family of actions (`lambda:*`) must at least have a member."""
    actions = {
        a for s in _statements(BOOTSTRAP) for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }
    unknown = {
        action
        for action in actions
        if not any(
            re.fullmatch(re.escape(action.partition(":")[2].lower()).replace(r"\*", ".*"), known)
            for known in _known_actions().get(action.partition(":")[0], set())
        )
    }
    assert not unknown


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_offered_knows_every_type(region: str) -> None:
    """CloudFormation refuses a template with a type that its region does not know, even under a condition that is false."""
    types = {r["Type"] for name in SETS for r in _plain(name)["Resources"].values()}
    types |= {r["Type"] for r in BOOTSTRAP.values()}
    assert types <= set(_cfn_lint("schemas", "providers", f"{region}.json"))


@cache
def _schema(kind: str) -> dict[str, Any]:
    """AWS's own schema of a resource type."""
    return _cfn_lint("schemas", "resources", f"{_cfn_lint('schemas', 'providers', 'us-east-1.json')[kind]}.json")


# What a handler may call but does not for what the templates use, or what the role must not hold.
NOT_NEEDED = {
    "AWS::CodeDeploy::DeploymentGroup": {"codedeploy:RegisterOnPremisesInstance"},
    "AWS::EC2::SecurityGroup": {"ec2:DescribeInstances"},
    "AWS::ElasticLoadBalancingV2::Listener": {"cognito-idp:DescribeUserPoolClient"},
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {
        "ec2:DescribeIpamPools", "elasticloadbalancing:ModifyCapacityReservation", "elasticloadbalancing:ModifyIpPools",
    },
    "AWS::IAM::Role": {"iam:DeleteRolePermissionsBoundary"},  # a boundary stays
    "AWS::KMS::Key": {"kms:DisableKey", "kms:DisableKeyRotation", "kms:EnableKey", "kms:EnableKeyRotation"},  # of no HMAC key
    "AWS::Lambda::Function": {"elasticfilesystem:DescribeMountTargets", "s3files:ListMountTargets"},
    "AWS::Logs::LogGroup": {"firehose:TagDeliveryStream"},
}  # fmt: skip


def _allowed(role: str) -> list[str]:
    """Actions that a role of the bootstrap stack allows, in lower case, as shell patterns."""
    actions = [
        a
        for s in _statements(BOOTSTRAP[role]["Properties"]["Policies"])
        for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    ]
    return [a.lower() for a in actions]


def _may(role: str, action: str) -> bool:
    return any(fnmatch(action.lower(), pattern) for pattern in _allowed(role))


def test_the_execution_role_may_do_what_cloudformation_does() -> None:
    """CloudFormation makes, changes and deletes each type under this role: it holds every action of the type's handlers.

    The handlers' lists are AWS's own resource schemas, as cfn-lint carries them.
    """
    types = {r["Type"] for name in SETS for r in _plain(name)["Resources"].values()}
    missing = {}
    for kind in types:
        handlers = _schema(kind)["handlers"]
        needed = {a for name, h in handlers.items() if name != "list" for a in h.get("permissions", ())}
        if kind == "AWS::WAFv2::WebACLAssociation":  # lists every service that a web ACL can be in front of
            needed = {a for a in needed if a.startswith("wafv2:") and not a.endswith("PermissionPolicy")}
        needed = {a for a in needed - NOT_NEEDED.get(kind, set()) if not a.startswith("s3tables:")}
        missing[kind] = {a for a in needed if not _may("ExecutionRole", a)}
    assert len(types) > 30
    assert {kind: actions for kind, actions in missing.items() if actions} == {}


def test_a_role_made_by_the_stack_is_bounded_where_the_deploy_is() -> None:
    """Who may make roles and give them rights may do everything: under PermissionsBoundary only with that boundary on the role."""
    giving = {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"}
    for statement in _statements(BOOTSTRAP["ExecutionRole"]["Properties"]["Policies"]):
        if giving & set(statement["Action"]):
            bounded = {"StringEquals": {"iam:PermissionsBoundary": {"Ref": "PermissionsBoundary"}}}
            assert statement["Condition"] == {"Fn::If": ["Bounded", bounded, {"Ref": "AWS::NoValue"}]}
            giving -= set(statement["Action"])
    assert not giving


# What the steps of the workflows call beside CloudFormation, the image repository and the API.
OF_DEPLOY = {
    "dropforge apply": {"s3:GetObject", "s3:PutObject", "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"},
    "dropforge doctor": {"logs:FilterLogEvents", "cloudwatch:DescribeAlarms"},
}
CLI = ROOT / "cli" / "dropforge_cli"


def _operations(module: str) -> set[str]:
    """Actions of the boto3 calls a module of the command line makes on clients of its own (`x = ….client("sqs")`)."""
    tree = ast.parse((CLI / module).read_text())
    prefixes = {"stepfunctions": "states"}

    def service(call: ast.expr) -> str:
        """`sqs` of `target.client("sqs")`, or of `client("sqs")`."""
        match call:
            case ast.Call(
                func=ast.Attribute(attr="client") | ast.Name(id="client"), args=[ast.Constant(value=str(name)), *_]
            ):
                return name
        return ""

    clients: dict[str, str] = {}
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Assign)):
        targets, values = node.targets[0], node.value
        pairs = (
            zip(targets.elts, values.elts, strict=False)
            if isinstance(targets, ast.Tuple) and isinstance(values, ast.Tuple)
            else [(targets, values)]
        )
        clients |= {t.id: service(v) for t, v in pairs if isinstance(t, ast.Name) and service(v)}
    actions = set()
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)):
        assert isinstance(node.func, ast.Attribute)
        owner = node.func.value
        name = service(owner) or (clients.get(owner.id, "") if isinstance(owner, ast.Name) else "")
        operation = node.func.attr
        if operation in {"get_paginator", "get_waiter"}:
            operation = str(node.args[0].value) if isinstance(node.args[0], ast.Constant) else ""
        if name and operation and not operation.startswith("stack_"):
            actions.add(f"{prefixes.get(name, name)}:{''.join(w.capitalize() for w in operation.split('_'))}")
    return actions


def test_the_deploy_role_may_do_what_the_workflow_does() -> None:
    """Each step of deploy.yml after `sam deploy` runs under DeployRole: a call it may not make is a red run and half a deploy."""
    steps = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    assert "dropforge doctor" in steps
    assert _operations("checks.py") >= {"sqs:GetQueueAttributes", "lambda:GetFunctionConfiguration"}
    needed = set.union(*OF_DEPLOY.values(), _operations("checks.py"))
    assert {a for a in needed if not _may("DeployRole", a)} == set()


def test_the_drill_of_the_sandbox_may_destroy_what_it_made() -> None:
    """sandbox.yml uploads, works, backs up, and destroys; destroy asks every service what is left, by the calls of its module."""
    operations = _operations("commands/destroy.py")
    assert {"states:ListExecutions", "ecs:StopTask", "ecs:ListTaskDefinitions"} <= operations
    # `remains` names its operations as texts, beside their services.
    listed = re.findall(r'listed\(\s*"(\w+)", "(\w+)"', (CLI / "commands" / "destroy.py").read_text())
    prefixes = {"stepfunctions": "states"}
    operations |= {f"{prefixes.get(s, s)}:{''.join(w.capitalize() for w in o.split('_'))}" for s, o in listed}
    assert len(listed) >= 10
    named_otherwise = {
        "s3:ListBuckets": "s3:ListAllMyBuckets",
        "s3:DeleteObjects": "s3:DeleteObjectVersion",
        "s3:ListObjectVersions": "s3:ListBucketVersions",
    }
    without = {"sts:GetCallerIdentity", "cloudformation:StackDeleteComplete"}  # needs no right; a waiter
    needed = {named_otherwise.get(o, o) for o in operations - without}
    needed |= {
        "s3:GetObjectVersion",
        "s3:ListBucketVersions",
        "s3:DeleteBucket",
        "s3:DeleteObjectVersion",
        "s3:PutObject",
        "sts:AssumeRole",
    }
    assert {a for a in needed if not _may("DeployRole", a)} == set()
    assert BOOTSTRAP["DeployRole"]["Properties"]["Policies"][1]["Fn::If"][0] == "ByGitHubDrill"
    steps = (ROOT / ".github" / "workflows" / "sandbox.yml").read_text()
    assert "aws sts assume-role" in steps  # the worker has the rights of a task, not those of the deploy


def test_the_roles_of_the_bootstrap_fit_into_an_inline_policy() -> None:
    """IAM refuses a role whose inline policies are together longer than 10,240 characters, white space not counted."""
    values = {
        "Partition": "aws-us-gov",
        "Region": "ap-southeast-2",
        "AccountId": "1" * 12,
        "ProjectName": "p" * 21,
        "RolePath": "/",
    }
    for resources in (BOOTSTRAP, *(_plain(name)["Resources"] for name in SETS)):
        for name, resource in resources.items():
            if resource["Type"] != "AWS::IAM::Role":
                continue
            text = json.dumps(resource["Properties"].get("Policies", []), separators=(",", ":"))
            text = re.sub(r'\{"Fn::Sub":("[^"]*")\}', r"\1", text)
            text = re.sub(r"\$\{(?:AWS::)?(\w+)\}", lambda m: values.get(m[1], m[1]), text)
            assert len(text) < 10_240, name


def _schemas(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """A property's schema with its reference followed, and the alternatives in it."""
    while "$ref" in node:
        target: Any = schema
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    return [node, *(n for key in ("oneOf", "anyOf", "allOf") for n in node.get(key, ()))]


def _constraints(schema: dict[str, Any], node: dict[str, Any], value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(parameter, the property's schema) of each property that is a parameter as it is."""
    nodes, inside = _schemas(schema, node), list[tuple[dict[str, Any], Any]]()
    if isinstance(value, dict) and value.get("Ref") in PARAMETERS:
        yield from ((value["Ref"], n) for n in nodes)
    elif isinstance(value, dict) and "Fn::If" in value:
        inside = [(node, inner) for inner in value["Fn::If"][1:]]
    elif isinstance(value, dict):
        inside = [
            (n["properties"][key], inner)
            for key, inner in value.items()
            for n in nodes
            if key in n.get("properties", ())
        ]
    elif isinstance(value, list):
        inside = [(n["items"], inner) for inner in value for n in nodes if isinstance(n.get("items"), dict)]
    for narrower, inner in inside:
        yield from _constraints(schema, narrower, inner)


def test_parameters_are_no_wider_than_the_properties_they_fill() -> None:
    """A value that the template lets through and a service refuses rolls a whole stack back, minutes later.

    Where a property has a list of values or a range in AWS's schema, the parameter has no others.
    """
    from samtranslator.translator.transform import transform

    packed = copy.deepcopy(_packed())
    defaults = {k: str(p.get("Default", "")) for k, p in packed["Parameters"].items()}
    names = {"AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}
    plain = transform(packed, {**defaults, **names}, _ManagedPolicies())
    checked = set()
    for name, resource in plain["Resources"].items():
        schema = _schema(resource["Type"])
        for parameter, node in _constraints(schema, schema, resource.get("Properties", {})):
            own = PARAMETERS[parameter]
            if "enum" in node:
                assert set(own.get("AllowedValues", ["anything"])) <= set(node["enum"]), (parameter, name)
                checked.add(parameter)
            if "maximum" in node:
                assert own.get("MaxValue", 1e9) <= node["maximum"], (parameter, name)
                assert own.get("MinValue", -1e9) >= node.get("minimum", -1e9), (parameter, name)
                checked.add(parameter)
    assert checked >= {"LogRetentionDays", "UploadsAtOnce", "Tracing"}


def test_who_keeps_artifacts_in_a_bucket_of_the_stack_comes_after_it() -> None:
    """An address in a text orders nothing for CloudFormation: MLflow would be made while its bucket is not there."""
    stores = [r for r in RESOURCES.values() if "ArtifactStoreUri" in r.get("Properties", {})]
    assert len(stores) == 2
    assert {r.get("DependsOn") for r in stores} == {"ArtifactBucket"}


@pytest.mark.parametrize("name", SETS)
def test_each_function_has_room_for_its_permissions(name: str) -> None:
    """Every route is one statement of its function's resource policy, which Lambda limits to 20 KB."""
    statement = {
        "Sid": "x" * 100, "Effect": "Allow", "Principal": {"Service": "apigateway.amazonaws.com"}, "Action": "lambda:InvokeFunction",
        "Resource": f"arn:aws:lambda:ap-southeast-2:123456789012:function:{'f' * 64}:live",
        "Condition": {"ArnLike": {"AWS:SourceArn": f"arn:aws:execute-api:ap-southeast-2:123456789012:abcdefghij/v1/{'p' * 60}"}},
    }  # fmt: skip
    of: dict[str, int] = {}
    for resource in _plain(name)["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Permission":
            function = json.dumps(resource["Properties"]["FunctionName"])
            of[function] = of.get(function, 0) + len(json.dumps(statement))
    assert max(of.values()) > 5000
    assert max(of.values()) < 20_480


def test_a_task_that_finds_no_capacity_is_started_again() -> None:
    """Of RunTask, Step Functions raises `AmazonECS.Unknown` for what the answer lists as failures, Spot capacity among them."""
    text = definition_json(ROOT / "statemachine" / "training.asl.yaml").decode()
    text = text.replace("${MaxConcurrency}", "3").replace("${ShardsAtOnce}", "3")

    def retried(value: Any) -> Iterator[set[str]]:
        if isinstance(value, dict):
            yield from (set(r["ErrorEquals"]) for r in value.get("Retry", ()))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from retried(inner)

    of_ecs = [errors for errors in retried(json.loads(text)) if "ECS.AmazonECSException" in errors]
    assert len(of_ecs) == 2
    assert all("AmazonECS.Unknown" in errors for errors in of_ecs)


def test_the_workflow_logs_what_failed() -> None:
    """Step Functions logs errors to a group it may deliver to, without the data; the role holds what it asks for at creation."""
    machine = _plain("defaults")["Resources"]["TrainingStateMachine"]["Properties"]["LoggingConfiguration"]
    assert (machine["Level"], machine["IncludeExecutionData"]) == ("ERROR", False)
    group = RESOURCES["TrainingWorkflowLogs"]["Properties"]["LogGroupName"]["Fn::Sub"]
    assert group.startswith("/aws/vendedlogs/")


def test_functions_join_a_network_only_where_one_is_named() -> None:
    """FunctionSubnetIds alone puts every function into a VPC; in none of them may code touch network interfaces.

    SAM attaches AWSLambdaVPCAccessExecutionRole whatever the condition says. The refusal beside it holds for everything without a
    VPC, and for calls of the function's own code with one (AWS's advice: the Lambda service itself has no SourceFunctionArn).
    """
    assert all("VpcConfig" not in p for p in _functions("defaults").values())
    inside = _functions("private subnets")
    assert len(inside) == 7
    for properties in inside.values():
        assert properties["VpcConfig"] == {
            "SubnetIds": {"Fn::Split": [",", "subnet-3,subnet-4"]},
            "SecurityGroupIds": {"Fn::Split": [",", "sg-1"]},
        }
    granted = {
        "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
    }  # fmt: skip
    for name in ("defaults", "private subnets"):
        resources = _plain(name)["Resources"]
        roles = {p["Role"]["Fn::GetAtt"][0] for p in _functions(name).values()}
        for role in roles:
            (refused,) = [s for s in _statements(resources[role]["Properties"]) if s["Effect"] == "Deny"]
            assert set(refused["Action"]) == granted
            assert refused["Resource"] == "*"
            condition = {"Null": {"lambda:SourceFunctionArn": "false"}} if name == "private subnets" else None
            assert refused.get("Condition") == condition, role
            attached = json.dumps(resources[role]["Properties"].get("ManagedPolicyArns", []))
            assert name == "defaults" or "AWSLambdaVPCAccessExecutionRole" in attached, role


NETWORK = load_template(ROOT / "network.yaml")["Resources"]
# Service of an IAM action → what network.yaml has for it.
ENDPOINTS = {
    "s3": {"s3"}, "sqs": {"sqs"}, "states": {"states"}, "events": {"events"}, "logs": {"logs"}, "lambda": {"lambda"},
    "secretsmanager": {"secretsmanager"}, "kms": {"kms"}, "ecr": {"ecr.api", "ecr.dkr"}, "sagemaker": {"MlflowService"},
    "sagemaker-mlflow": {"MlflowService"},
}  # fmt: skip
BY_LAMBDA = {"xray", "ec2"}  # traces leave through Lambda itself; ec2 is refused


def test_private_subnets_have_an_endpoint_for_every_service_that_is_called() -> None:
    """Without a way to the internet a call to a service without an endpoint waits until it times out."""
    created = set()
    for resource in NETWORK.values():
        if resource["Type"] == "AWS::EC2::VPCEndpoint":
            name = resource["Properties"]["ServiceName"]
            created.add(name["Ref"] if "Ref" in name else name["Fn::Sub"].removeprefix("com.amazonaws.${AWS::Region}."))
    services = set()
    for name in SETS:
        resources = _plain(name)["Resources"]
        roles = {p["Role"]["Fn::GetAtt"][0] for p in _functions(name).values()} | {
            "TrainingRole",
            "TrainingExecutionRole",
        }
        for role in roles & set(resources):
            for statement in _statements(resources[role]["Properties"].get("Policies", [])):
                actions = statement["Action"]
                services |= {a.partition(":")[0] for a in ([actions] if isinstance(actions, str) else actions)}
    assert set.union(*(ENDPOINTS[s] for s in services - BY_LAMBDA)) == created
