"""Nothing that runs in the workflows or stands in an image is chosen by a name that somebody else can move."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCKERFILES = sorted(ROOT.glob("*/Dockerfile"))


def _jobs(workflow: Path) -> dict[str, Any]:
    result: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return result


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    """Every action is named by a commit, with its version beside it for people and for dependabot."""
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [u for u in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", u)] == []


def test_the_scanner_is_not_one_of_the_versions_that_were_taken_over() -> None:
    """aquasecurity/trivy-action before 0.35.0 was moved to hostile commits in 2026."""
    versions = re.findall(
        r"aquasecurity/trivy-action@\S+ # v(\d+)\.(\d+)", (ROOT / ".github/workflows/images.yml").read_text()
    )
    assert versions
    assert all((int(major), int(minor)) >= (0, 35) for major, minor in versions)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_one_job_alone_may_ask_for_the_deploy_role(workflow: Path) -> None:
    """A workflow may read the repository; a token for AWS is asked for by a job that deploys, which runs no test and no scanner."""
    text = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert text["permissions"] == {"contents": "read"}
    for name, job in _jobs(workflow).items():
        if "id-token" in job.get("permissions", {}):
            assert (workflow.name, name) in {("deploy.yml", "deploy"), ("sandbox.yml", "drill")}
            used = {step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step}
            assert used <= {"actions/checkout", "actions/setup-python", "aws-actions/configure-aws-credentials"}
            assert "make check" not in str(job["steps"])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.name)
def test_a_checkout_leaves_no_token_behind(workflow: Path) -> None:
    """Steps that run code of dependencies find no credential of the repository in .git/config."""
    for job in _jobs(workflow).values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda p: p.parent.name)
def test_every_stage_of_an_image_takes_the_base_that_is_given(dockerfile: Path) -> None:
    """One argument names the base of all stages, so that a build can say its digest; packages are checked by hash."""
    text = dockerfile.read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}"] * 2
    assert "--require-hashes" in text


def test_every_scanned_image_has_its_contents_kept() -> None:
    """The workflow builds on a digest it looked up, and uploads an SBOM of each image."""
    for job in _jobs(ROOT / ".github/workflows/images.yml").values():
        steps = str(job["steps"])
        assert "--build-arg BASE=${{ steps.base.outputs.image }}" in steps
        assert "cyclonedx" in steps
        assert "sbom-${{ matrix.image }}" in steps


def test_the_environment_holds_no_tools_of_the_interpreters_age() -> None:
    """pip is locked as everything else is; setuptools of `venv` is taken away."""
    assert re.search(r"^pip==\d", (ROOT / "localstack" / "installer.in").read_text(), re.MULTILINE)
    assert "pip uninstall --quiet --yes setuptools" in (ROOT / "Makefile").read_text()


def test_the_workers_image_keeps_the_services_that_a_worker_calls() -> None:
    """Those of its own calls, those of the adapters that its part reaches, and the Glue catalog of pyiceberg; no other was meant."""
    text = (ROOT / "training" / "Dockerfile").read_text()
    kept = set(re.findall(r"! -name '?([a-z0-9*]+)'?", text))
    own = {
        s for f in (ROOT / "training").rglob("*.py") for s in re.findall(r'\bclient\("([a-z0-9]+)"\)', f.read_text())
    }
    code = (ROOT / "layers" / "core" / "dropforge" / "app_context.py").read_text()
    adapters = {
        "S3Store",
        "SqsQueue",
        "StepFunctionsWorkflow",
        "LambdaFunction",
        "CloudWatchHandler",
        "Secrets",
    }  # test_roles.REACHES
    reached = {s for a in adapters for s in re.findall(rf'{a}\(client\("([a-z0-9]+)"', code)}
    assert {"s3", "sqs", "stepfunctions", "lambda"} <= reached
    assert own | reached | {"glue", "sts", "sso*", "signin"} == kept
