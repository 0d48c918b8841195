"""`dropforge projects`: the local clouds that run, the stacks of an account."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from dropforge_cli.commands import projects
from dropforge_cli.commands.deploy import PROJECT_TAG
from dropforge_cli.main import application
from dropforge_local import processes


def _run(*words: str) -> str:
    result = CliRunner().invoke(application("projects"), ["projects", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _home(folder: Path, project: str, port: int) -> Path:
    home = folder / project / ".dropforge"
    home.mkdir(parents=True)
    (home / "project").write_text(project + "\n")
    (home / "ports.json").write_text(json.dumps({"port": port, "mlflow_port": port + 1, "ui_port": 0}))
    (home / "outputs.json").write_text(json.dumps({"FrontendUrl": ""}))
    return home


def test_running_local_clouds_are_listed_with_their_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each; one that only starts, and has no addresses yet, is left out."""
    homes = {_home(tmp_path, "sales", 4566), _home(tmp_path, "churn", 4600), tmp_path / "starts"}
    monkeypatch.setattr(processes, "working_folders", lambda module: homes if module.endswith("emulator") else set())
    found = json.loads(_run("--json"))["projects"]
    assert [(p["project"], p["endpoint"], p["mlflow"]) for p in found] == [
        ("churn", "http://127.0.0.1:4600", "http://127.0.0.1:4601"),
        ("sales", "http://127.0.0.1:4566", "http://127.0.0.1:4567"),
    ]
    assert found[1]["folder"] == str(tmp_path / "sales")
    assert "sales" in _run()


def test_without_a_running_one_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No empty table."""
    monkeypatch.setattr(processes, "working_folders", lambda _module: set())
    assert "dropforge up" in _run()
    assert json.loads(_run("--json")) == {"projects": []}


def test_stacks_of_an_account_are_listed_by_their_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other programs, and of a project's packages, are not; every page is read."""
    client = boto3.client("cloudformation", "eu-west-1", aws_access_key_id="k", aws_secret_access_key="s")
    regions: list[str] = []
    monkeypatch.setattr(projects, "_client", lambda region: regions.append(region) or client)
    with Stubber(client) as answers:
        answers.add_response(
            "describe_stacks", {"Stacks": [_stack("other", "owner"), _stack("sales")], "NextToken": "2"}, {}
        )
        packages = {**_stack("churn-bootstrap"), "Outputs": []}
        answers.add_response("describe_stacks", {"Stacks": [packages, _stack("churn")]}, {"NextToken": "2"})
        found = json.loads(_run("--aws", "--region", "eu-west-1", "--json"))["projects"]
        assert [(p["project"], p["stack"], p["status"]) for p in found] == [
            ("sales", "sales", "CREATE_COMPLETE"),
            ("churn", "churn", "CREATE_COMPLETE"),
        ]
        assert (found[0]["api"], found[0]["changed"]) == ("https://sales.example/v1", "2026-11-01 00:00:00")
        assert regions == ["eu-west-1"]
        answers.add_response("describe_stacks", {"Stacks": [_stack("other", "owner")]}, {})
        assert PROJECT_TAG in _run("--aws")


def _stack(name: str, tag: str = PROJECT_TAG) -> dict[str, Any]:
    outputs = {"DataBucket": f"{name}-data", "ApiUrl": f"https://{name}.example/v1"}
    return {
        "StackName": name,
        "StackStatus": "CREATE_COMPLETE",
        "CreationTime": datetime(2026, 11, 1, tzinfo=UTC),
        "Tags": [{"Key": tag, "Value": name}],
        "Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()],
    }
