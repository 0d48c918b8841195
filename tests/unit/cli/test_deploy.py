"""The first deploy to an account with nothing in it, and every later one."""

from __future__ import annotations

import base64
import os
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from dropforge.config import settings
from dropforge.errors import PermanentError, SettingsError
from dropforge_cli import idle_cost, main
from dropforge_cli.commands import deploy

ROOT = Path(__file__).parents[3]
OUTPUTS = {
    "PackageBucket": "forge-packages",
    "TrainingRepositoryUri": "1.dkr.ecr.eu-west-1.amazonaws.com/forge-training",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the project's own templates and samconfig.toml, as it was cloned."""
    for name in ("template.yaml", "bootstrap.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # set, so that what a deploy sets is undone
    monkeypatch.setenv(deploy.STACK_VARIABLE, "")
    return tmp_path


class _Account:
    """CloudFormation and ECR of an account; every call is written down."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.parameters: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.stacks: set[str] = set()
        self.roles: list[str] = []

    def __call__(self, _service: str) -> _Account:
        return self

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - botocore's name
        if StackName not in self.stacks:
            raise ClientError(
                {"Error": {"Code": "ValidationError", "Message": f"{StackName} does not exist"}}, "DescribeStacks"
            )
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in OUTPUTS.items()]}]}

    def create_stack(self, **arguments: Any) -> None:
        self.calls.append("create_stack")
        self.stacks.add(arguments["StackName"])
        self.parameters = {p["ParameterKey"]: p["ParameterValue"] for p in arguments["Parameters"]}
        self.tags = {t["Key"]: t["Value"] for t in arguments["Tags"]}

    def update_stack(self, **_: Any) -> None:
        self.calls.append("update_stack")
        raise ClientError(
            {"Error": {"Code": "ValidationError", "Message": "No updates are to be performed."}}, "UpdateStack"
        )

    def get_waiter(self, name: str) -> _Account:
        self.calls.append(name)
        return self

    def wait(self, **_: Any) -> None: ...

    def create_service_linked_role(self, AWSServiceName: str) -> None:  # noqa: N803 - botocore's name
        if AWSServiceName in self.roles:
            taken = {
                "Code": "InvalidInput",
                "Message": "Service role name AWSServiceRoleForECS has been taken in this account",
            }
            raise ClientError({"Error": taken}, "CreateServiceLinkedRole")
        self.roles.append(AWSServiceName)

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": base64.b64encode(b"AWS:a-password").decode()}]}


def _plan(root: Path, **given: str) -> deploy.Plan:
    return deploy.planned(root, "aws", "eu-west-1", "forge", given, ask=False)


def test_an_image_is_pushed_before_the_stack_that_runs_it(root: Path) -> None:
    """Empty account, fargate: bootstrap stack, image for Lambda's processors without an index, push, plain sam deploy, settings."""
    account, commands = _Account(), []

    def run(command: Sequence[str], text: str) -> None:
        commands.append((Path(command[0]).name, *command[1:], text))

    deploy.rolled_out(root, _plan(root, TrainingCompute="fargate", SubnetIds="s", VpcId="v"), account, run)
    assert account.calls == ["create_stack", "stack_create_complete"]
    assert account.parameters == {"ProjectName": "forge"}
    assert [c[:2] for c in commands] == [
        ("docker", "build"), ("docker", "login"), ("docker", "push"), ("sam", "deploy"), ("dropforge", "apply"),
    ]  # fmt: skip
    build, login, push, sam, _ = commands
    assert build[2:5] == ("--platform", "linux/amd64", "--provenance=false")
    assert (login[-1], "a-password" in login[:-1]) == (
        "a-password",
        False,
    )  # by standard input, not where `ps` shows it
    assert f'TrainingImageUri="{push[2]}"' in sam
    assert "--guided" not in sam
    assert sam[sam.index("--image-repository") + 1] == OUTPUTS["TrainingRepositoryUri"]
    assert sam[sam.index("--s3-bucket") + 1] == "forge-packages"
    deploy.rolled_out(root, _plan(root), account, run)  # again: nothing to update is success, and no image is wanted
    assert account.calls[2:] == ["update_stack"]
    assert [c[0] for c in commands[5:]] == ["sam", "dropforge"]


def test_a_ci_uses_the_bootstrap_stack_as_it_is(root: Path) -> None:
    """The role of a workflow may not change its own rights: it reads the stack's outputs and writes nothing there."""
    account = _Account()
    account.stacks.add("forge-bootstrap")
    deploy.rolled_out(root, _plan(root), account, lambda *_: None, bootstrapped=True)
    assert account.calls == []


def test_a_first_cluster_finds_the_role_of_its_service(root: Path) -> None:
    """In a new account ECS makes its role with the first cluster and cannot assume it yet: the stack would be rolled back.

    The role is there before any stack; one that is there already is success; a queue alone needs none.
    """
    account = _Account()
    fargate = _plan(root, TrainingCompute="fargate", SubnetIds="s", VpcId="v", TrainingImageUri="i:1")
    deploy.rolled_out(root, fargate, account, lambda *_: None)
    deploy.rolled_out(root, fargate, account, lambda *_: None)
    assert account.roles == ["ecs.amazonaws.com"]
    queue = _Account()
    deploy.rolled_out(root, _plan(root), queue, lambda *_: None)
    assert queue.roles == []
    assert deploy.services({"FrontendImageUri": "i"}) == ["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com"]


def test_answers_are_asked_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person answered stands in samconfig.toml, whose other sections stay; the next deploy asks nothing."""
    answers = iter(["eu-west-1", "forge", "queue", "", "team@example.org"])
    monkeypatch.setattr(deploy.typer, "prompt", lambda *_, **__: next(answers))
    first = deploy.planned(root, "aws", "", "", {"RetrainSchedule": "rate(30 days)"}, ask=True)
    file = root / "samconfig.toml"
    before = tomllib.loads(file.read_text())
    deploy.keep(file, first)
    after = tomllib.loads(file.read_text())
    assert {k: v for k, v in after.items() if k != "aws"} == {k: v for k, v in before.items() if k != "aws"}
    assert deploy.planned(root, "aws", "", "", {}, ask=True) == first
    assert first.parameters["RetrainSchedule"] == "rate(30 days)"
    assert 'RetrainSchedule="rate(30 days)"' in deploy.sam_arguments(root, first, OUTPUTS, first.parameters)
    deploy.keep(file, first)
    assert tomllib.loads(file.read_text()) == after


def test_tags_reach_both_stacks_and_are_kept(root: Path) -> None:
    """CloudFormation hands them on to every resource; the project's own is always there, so that costs can be told apart."""
    account, commands = _Account(), list[Sequence[str]]()
    plan = replace(_plan(root), tags=_plan(root).tags | deploy.tagged("Team=ml 'Cost centre'='47 11'"))
    deploy.rolled_out(root, plan, account, lambda command, _text: commands.append(command))
    assert account.tags == {"Team": "ml", "Cost centre": "47 11", "dropforge:project": "forge"}
    sam = commands[0]
    given = sam[sam.index("--tags") + 1 : sam.index("--parameter-overrides")]
    assert list(given) == ['Cost centre="47 11"', 'Team="ml"', 'dropforge:project="forge"']
    deploy.keep(root / "samconfig.toml", plan)
    assert _plan(root).tags == plan.tags


@pytest.mark.parametrize("text", ["aws:team=x", "Team=<x>", "=x"])
def test_a_tag_that_aws_refuses_is_told_before_anything_is_made(text: str) -> None:
    """CloudFormation would roll the whole stack back for it."""
    with pytest.raises(SettingsError, match="no tag"):
        deploy.tagged(text)


@pytest.mark.parametrize(
    ("region", "project", "code"),
    [("mars-north-1", "forge", "region_unknown"), ("eu-west-1", "Forge!", "project_malformed")],
)
def test_what_cannot_be_deployed_is_told_before_anything_is_made(
    root: Path, region: str, project: str, code: str
) -> None:
    """A region that lacks a resource type, a name that no bucket may have."""
    with pytest.raises(SettingsError) as error:
        deploy.planned(root, "aws", region, project, {}, ask=False)
    assert error.value.code == code


def test_the_schedules_of_the_template_are_counted() -> None:
    """A recovery every 15 minutes and one look at live traffic an hour: 3,650 calls in a month of 730 hours."""
    calls = idle_cost.wake_ups(ROOT, {})
    assert calls == {"AnalyzeFunction": 730, "RecoverFunction": 2920}
    assert idle_cost.wake_ups(ROOT, {"MonitorSchedule": "rate(1 day)"})["AnalyzeFunction"] == pytest.approx(730 / 24)
    page = (ROOT / "docs" / "aws.md").read_text()
    assert f"{sum(calls.values()):,.0f} short calls a month" in page
    for what, usd in idle_cost.idle(ROOT, {}).items():
        assert f"| {what} | {usd:.2f} |" in page
    more = idle_cost.idle(ROOT, {"MoreAlarms": "true"}).keys() - idle_cost.idle(ROOT, {}).keys()
    assert [f"| with MoreAlarms=true: {what} | 1.90 |" in page for what in more] == [True]


def test_the_page_has_the_costs_of_the_template() -> None:
    """One upload, its training at most and 1,000 predictions, from memory sizes of template.yaml and prices of settings.yaml."""
    page = (ROOT / "docs" / "aws.md").read_text()
    shipped = settings.load((ROOT / "settings.yaml").read_bytes())
    for what, parts in idle_cost.use(ROOT, shipped).items():
        details = ", ".join(f"{part} {usd:.4f}" for part, usd in sorted(parts.items(), key=lambda p: -p[1]))
        assert f"| {what} | {sum(parts.values()):.4f} | {details} |" in page


def test_the_smoke_test_goes_from_a_table_to_a_prediction(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Upload and activation, report, prediction, in this order; with a worker of one's own it says what the training waits for."""
    commands = list[Sequence[str]]()
    table = root / "first.csv"
    deploy.first_prediction(root, _plan(root), table, lambda command, _text: commands.append(command[1:]))
    assert commands == [
        ["upload", str(table), "--serve"],
        ["report", "--out", str(root / ".dropforge" / "smoke-test.html")],
        ["predict"],
    ]
    assert "worker of yours" in capsys.readouterr().err


def test_commands_after_a_deploy_speak_to_its_stack_in_its_region(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever region the profile names."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    seen = dict[str, str]()

    def run(command: Sequence[str], _text: str) -> None:
        if command[1] == "apply":
            seen.update({name: os.environ[name] for name in (deploy.STACK_VARIABLE, "AWS_DEFAULT_REGION")})

    deploy.rolled_out(root, _plan(root), _Account(), run)
    assert seen == {deploy.STACK_VARIABLE: "forge", "AWS_DEFAULT_REGION": "eu-west-1"}


def test_a_table_that_is_not_there_stops_the_deploy_before_anything_is_made(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy takes minutes; the smoke test at its end must not fail on a typing error."""
    monkeypatch.chdir(root)
    (root / "settings.yaml").write_bytes((ROOT / "settings.yaml").read_bytes())
    monkeypatch.setattr(deploy, "rolled_out", lambda *_, **__: pytest.fail("deployed"))
    result = CliRunner().invoke(
        main.app, ["deploy", "--yes", "--region", "eu-west-1", "--smoke-test", str(root / "no.csv")]
    )
    assert isinstance(result.exception, PermanentError)
    assert result.exception.code == "no_file"
