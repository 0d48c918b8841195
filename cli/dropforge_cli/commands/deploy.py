"""deploy: an account with nothing in it becomes a system that answers. What the template cannot know is asked once and kept."""

from __future__ import annotations

import base64
import json as json_text
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge.errors import PermanentError, SettingsError
from dropforge_cli.output import emit_json, say, step
from dropforge_cli.target import STACK_VARIABLE, home

_PROJECT = re.compile(r"[a-z][a-z0-9-]{0,19}[a-z0-9]")  # as AllowedPattern of ProjectName
_TAG, _TAG_VALUE = re.compile(r"[\w .:/=+\-@]{1,128}"), re.compile(r"[\w .:/=+\-@]{0,256}")
PROJECT_TAG = "dropforge:project"  # by which costs of several systems of an account are told apart
# Docker's defaults would push the machine's own architecture, and an image index with a provenance that Lambda refuses.
IMAGE_FLAGS = ("--platform", "linux/amd64", "--provenance=false")
Run = Callable[[Sequence[str], str], None]  # a command, and the text for its standard input


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a system goes, its parameters, and the tags that CloudFormation puts on every resource; kept in samconfig.toml."""

    environment: str
    region: str
    project: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(deploy)


def deploy(
    environment: Annotated[
        str, typer.Option("--env", help="section of samconfig.toml: aws, dev, staging, prod")
    ] = "aws",
    region: Annotated[str, typer.Option(help="AWS region; prompted for at the first deployment")] = "",
    project: Annotated[str, typer.Option(help="name of the stack, first part of every name in it")] = "",
    parameters: Annotated[str, typer.Option(help="template parameters: \"Name=value Other='of two words'\"")] = "",
    tags: Annotated[str, typer.Option(help="tags of every resource: \"Team=ml 'Cost centre'='4711'\"")] = "",
    bootstrapped: Annotated[
        bool, typer.Option("--bootstrapped", help="use the bootstrap stack as it is, as a CI role must")
    ] = False,
    smoke_test: Annotated[
        Path | None,
        typer.Option(
            help="a table: the first data of the system. Uploads it, trains, activates the best model, predicts"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not prompt; take the defaults")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON: the stack's outputs")] = False,
) -> None:
    """Deploy what `sam build` built to AWS: bootstrap stack, image, stack, settings. Asks the first time; `make deploy` builds."""
    from dropforge_local.layout import checkout

    root = checkout(Path.cwd())
    given = dict(item.partition("=")[::2] for item in shlex.split(parameters))
    plan = planned(root, environment, region, project, given, ask=not yes)
    plan = replace(plan, tags={**plan.tags, **tagged(tags)})
    if not yes and not smoke_test and "region" not in _stored(root / "samconfig.toml", environment):
        smoke_test = _first_table()
    if smoke_test and not smoke_test.is_file():
        raise PermanentError(
            f"{smoke_test} is no file", code="no_file", fix="name a table for the smoke test, or leave --smoke-test out"
        )
    for line in costs(root, plan):
        say(line)
    if not yes and not typer.confirm(f"Deploy {plan.project} to {plan.region}?", default=True, err=True):
        raise PermanentError("nothing was deployed", code="not_confirmed", fix="answer y, or pass --yes")
    keep(root / "samconfig.toml", plan)
    rolled_out(root, plan, _client(plan.region), _run, bootstrapped=bootstrapped)
    if smoke_test:
        first_prediction(root, plan, smoke_test, _run)
    if json:
        emit_json(_outputs(_client(plan.region)("cloudformation"), plan.project))


def planned(root: Path, environment: str, region: str, project: str, given: Mapping[str, str], *, ask: bool) -> Plan:
    """From what is given, what samconfig.toml keeps, and the answers of a person. Raises SettingsError for what cannot be deployed."""
    from dropforge_local.regions import REGIONS

    stored = _stored(root / "samconfig.toml", environment)
    known = dict(item.partition("=")[::2] for item in shlex.split(stored.get("parameter_overrides", ""))) | dict(given)
    first = ask and "region" not in stored
    region = (
        region
        or stored.get("region", "")
        or os.environ.get("AWS_REGION", "")
        or os.environ.get("AWS_DEFAULT_REGION", "")
    )
    project = project or known.get("ProjectName", "") or stored.get("stack_name", "") or "dropforge"
    if first:
        region = typer.prompt("AWS region", default=region or "us-east-1", err=True)
        project = typer.prompt("Name of the system", default=project, err=True)
        known = _answers(known, region)
    if region not in REGIONS:
        raise SettingsError(
            f"{region or 'no region'} cannot be deployed to",
            code="region_unknown",
            fix=f"pass --region, one of {', '.join(REGIONS)}",
        )
    if not _PROJECT.fullmatch(project):
        raise SettingsError(
            f"{project!r} is no name for a system",
            code="project_malformed",
            fix="2 to 21 of a-z, 0-9 and -, a letter first and no - at its end",
        )
    tags = tagged(stored.get("tags", "")) | {PROJECT_TAG: project}
    return Plan(environment, region, project, {**known, "ProjectName": project}, tags)


def tagged(text: str) -> dict[str, str]:
    """Tags as they are written on the command line. Raises SettingsError for what CloudFormation would refuse."""
    tags = dict(item.partition("=")[::2] for item in shlex.split(text))
    for name, value in tags.items():
        if not _TAG.fullmatch(name) or not _TAG_VALUE.fullmatch(value) or name.lower().startswith("aws:"):
            raise SettingsError(
                f"{name!r}={value!r} is no tag",
                code="tag_malformed",
                fix="name=value of letters, digits, spaces and _.:/=+-@, no name that begins with aws:",
            )
    return tags


def _answers(known: dict[str, str], region: str) -> dict[str, str]:
    """The questions of a first deploy."""
    where = "Train on a worker of yours (queue) or in AWS tasks (fargate)"
    compute = typer.prompt(where, default=known.get("TrainingCompute", "queue"), err=True)
    known["TrainingCompute"] = compute
    if compute == "fargate" and not known.get("SubnetIds"):
        known |= _default_network(_client(region)("ec2"))
    where = "Address of your MLflow server (empty: AWS makes one, free while idle)"
    uri = typer.prompt(where, default="", show_default=False, err=True)
    if uri:
        known |= {"ManagedMlflow": "none", "MlflowTrackingUri": uri}
    mail = typer.prompt("Mail address for alarms (empty: nobody)", default="", show_default=False, err=True)
    return known | ({"AlarmEmail": mail} if mail else {})


def _first_table() -> Path | None:
    """The table of a smoke test. It is asked for once: the first upload is what later ones are compared with."""
    what = "Table for a smoke test, the first data of this system (empty: none)"
    given = typer.prompt(what, default="", show_default=False, err=True)
    return Path(given).expanduser() if given else None


def _default_network(ec2: Any) -> dict[str, str]:
    """The default VPC's subnets. Raises PermanentError in an account that has none."""
    pages = ec2.get_paginator("describe_subnets").paginate(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    subnets = [s for page in pages for s in page["Subnets"]]
    if not subnets:
        raise PermanentError(
            "the account has no default VPC in this region",
            code="no_network",
            fix="--parameters 'SubnetIds=subnet-1,… VpcId=vpc-1'",
        )
    return {"SubnetIds": ",".join(s["SubnetId"] for s in subnets), "VpcId": subnets[0]["VpcId"]}


def costs(root: Path, plan: Plan) -> list[str]:
    """What the system costs before it does anything, as docs/aws.md has it, and what a use adds."""
    from dropforge_cli.idle_cost import idle

    lines = [f"  {what:<58} {usd:7.2f} USD a month" for what, usd in idle(root, plan.parameters).items()]
    more = "What uploads and predictions add: docs/aws.md, `dropforge cost`."
    return ["Deployed and idle, at list prices without the free tier:", *lines, more]


def rolled_out(root: Path, plan: Plan, client: Callable[[str], Any], run: Run, *, bootstrapped: bool = False) -> None:
    """Bootstrap stack, image where one is needed, `sam deploy`, settings. Each step may be repeated."""
    with step("bootstrap stack"):
        cloudformation = client("cloudformation")
        if not bootstrapped:
            for service in services(plan.parameters):
                service_role(client("iam"), service)
            bootstrap(cloudformation, root, plan)
        outputs = _outputs(cloudformation, f"{plan.project}-bootstrap")
    parameters = dict(plan.parameters)
    if parameters.get("TrainingCompute") == "fargate" and not parameters.get("TrainingImageUri"):
        with step("training image"):
            parameters["TrainingImageUri"] = image(client("ecr"), root, outputs["TrainingRepositoryUri"], run)
    with step("sam deploy"):
        run(sam_arguments(root, plan, outputs, parameters), "")
    with step("settings"):
        # The commands that run now and later in this process speak to this stack in this region, whatever the profile says.
        os.environ |= {STACK_VARIABLE: plan.project, "AWS_DEFAULT_REGION": plan.region}
        run([str(root / ".venv" / "bin" / "dropforge"), "apply"], "")
    say(
        f"deployed. Next: {STACK_VARIABLE}={plan.project} AWS_DEFAULT_REGION={plan.region} dropforge upload my.csv --serve"
    )


def first_prediction(root: Path, plan: Plan, table: Path, run: Run) -> None:
    """The smoke test of a system: the table becomes its first upload, its report and its models; the best one predicts.

    Raises PermanentError for the first command that fails.
    """
    dropforge = str(root / ".venv" / "bin" / "dropforge")
    if plan.parameters.get("TrainingCompute", "queue") == "queue":
        say("the training waits for a worker of yours: docs/aws.md, Training")
    with step("smoke test"):
        run([dropforge, "upload", str(table.resolve()), "--serve"], "")
        page = home(root) / "smoke-test.html"
        page.parent.mkdir(mode=0o700, exist_ok=True)
        run([dropforge, "report", "--out", str(page)], "")
        run([dropforge, "predict"], "")


def services(parameters: Mapping[str, str]) -> list[str]:
    """Services of the plan that act under a role of their own, which an account has once."""
    balanced = bool(parameters.get("FrontendImageUri"))
    tasks = balanced or parameters.get("TrainingCompute") == "fargate"
    return ["ecs.amazonaws.com"] * tasks + ["elasticloadbalancing.amazonaws.com"] * balanced


def service_role(iam: Any, service: str) -> None:
    """Make the service's role where the account has none: a first cluster would be refused for it while AWS makes the role."""
    from botocore.exceptions import ClientError

    try:
        iam.create_service_linked_role(AWSServiceName=service)
    except ClientError as error:
        if "has been taken" not in str(error):
            raise


def sam_arguments(root: Path, plan: Plan, outputs: Mapping[str, str], parameters: Mapping[str, str]) -> list[str]:
    """Plain `sam deploy`: its guide asks for an image repository of a function that has none to build, and stops."""
    role = ["--role-arn", outputs["ExecutionRoleArn"]] if outputs.get("ExecutionRoleArn") else []
    return [
        str(root / ".venv-sam" / "bin" / "sam"), "deploy",
        "--stack-name", plan.project, "--region", plan.region, "--s3-bucket", outputs["PackageBucket"], "--s3-prefix", plan.project,
        "--image-repository", outputs["TrainingRepositoryUri"], "--no-confirm-changeset", "--no-fail-on-empty-changeset",
        "--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND", *role,
        *(["--tags", *(f'{name}="{value}"' for name, value in sorted(plan.tags.items()))] if plan.tags else []),
        "--parameter-overrides", *(f'{name}="{value}"' for name, value in sorted(_known(root / "template.yaml", parameters).items())),
    ]  # fmt: skip


def bootstrap(cloudformation: Any, root: Path, plan: Plan) -> None:
    """Create or update the stack of bootstrap.yaml. Parameters that both templates know are the plan's."""
    from botocore.exceptions import ClientError

    name = f"{plan.project}-bootstrap"
    arguments = {
        "StackName": name,
        "TemplateBody": (root / "bootstrap.yaml").read_text(encoding="utf-8"),
        "Parameters": [
            {"ParameterKey": k, "ParameterValue": v}
            for k, v in _known(root / "bootstrap.yaml", plan.parameters).items()
        ],
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": k, "Value": v} for k, v in sorted(plan.tags.items())],
    }
    waiting = {"StackName": name, "WaiterConfig": {"Delay": 3, "MaxAttempts": 200}}
    try:
        cloudformation.describe_stacks(StackName=name)
    except ClientError as error:
        if "does not exist" not in str(error):
            raise  # a right that is missing, say: a create would be refused as well
        cloudformation.create_stack(**arguments)
        cloudformation.get_waiter("stack_create_complete").wait(**waiting)
        return
    try:
        cloudformation.update_stack(**arguments)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
        return
    cloudformation.get_waiter("stack_update_complete").wait(**waiting)


def _outputs(cloudformation: Any, name: str) -> dict[str, str]:
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", ())}


def _known(template: Path, parameters: Mapping[str, str]) -> dict[str, str]:
    """Those of the parameters that a template has."""
    from dropforge_local.packaging import load_template

    own = load_template(template)["Parameters"]
    return {name: value for name, value in parameters.items() if name in own}


def image(ecr: Any, root: Path, repository: str, run: Run) -> str:
    """Build training/Dockerfile, push it under a tag of its own, return its URI. Tags never move: a new image is a new tag."""
    uri = f"{repository}:{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    run(["docker", "build", *IMAGE_FLAGS, "-f", str(root / "training" / "Dockerfile"), "-t", uri, str(root)], "")
    token = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    run(["docker", "login", "--username", user, "--password-stdin", repository.partition("/")[0]], password)
    run(["docker", "push", uri], "")
    return uri


def _stored(file: Path, environment: str) -> dict[str, str]:
    section = tomllib.loads(file.read_text(encoding="utf-8")).get(environment)
    if section is None:
        raise SettingsError(
            f"samconfig.toml has no environment {environment}",
            code="environment_unknown",
            fix=f"add [{environment}.deploy.parameters]",
        )
    return dict(section["deploy"]["parameters"])


def keep(file: Path, plan: Plan) -> None:
    """Write the answers into the environment's section; its other lines and their comments stay."""
    overrides = " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(plan.parameters.items()))
    tags = " ".join(f"{shlex.quote(name)}={shlex.quote(value)}" for name, value in sorted(plan.tags.items()))
    answers = {"region": plan.region, "stack_name": plan.project, "parameter_overrides": overrides, "tags": tags}
    header = f"[{plan.environment}.deploy.parameters]"
    before, _, after = file.read_text(encoding="utf-8").partition(header)
    section, mark, rest = after.partition("\n[")
    lines = [line for line in section.strip().splitlines() if line.partition("=")[0].strip() not in answers]
    written = [f"{name} = {json_text.dumps(value)}" for name, value in answers.items()]  # a TOML string is one of JSON
    file.write_text(before + "\n".join((header, *written, *lines, "")) + mark + rest, encoding="utf-8")


def _client(region: str) -> Callable[[str], Any]:
    import boto3

    return lambda service: boto3.client(service, region_name=region)


def _run(command: Sequence[str], text: str) -> None:
    """Raises PermanentError when it fails; the command has said why itself. What it prints is progress: it goes to stderr."""
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
    try:
        subprocess.run(command, input=text or None, text=True, check=True, env=environment, stdout=sys.stderr)  # noqa: S603 - sam, docker and ourselves
    except FileNotFoundError:
        raise PermanentError(
            f"no {Path(command[0]).name} here", code="tool_missing", fix="`make deploy` sets sam up; images need Docker"
        ) from None
    except subprocess.CalledProcessError as error:
        name = Path(command[0]).name
        raise PermanentError(
            f"{name} {command[1]} ended with {error.returncode}", code="deploy_failed", fix="see what it said above"
        ) from error
