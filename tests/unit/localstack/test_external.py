"""An emulator that somebody else started: how it is named, and what is deployed to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dropforge.errors import PermanentError, SettingsError, Unavailable
from dropforge_local import cloud, deploy
from dropforge_local.layout import (
    CONTAINER,
    PROCESS,
    Config,
    external_endpoint,
    foreign_account,
    last_external,
    last_functions,
)
from dropforge_local.packaging import expanded, package

ROOT = Path(__file__).parents[3]
ADDRESS = "http://127.0.0.1:1"  # nobody listens there


@pytest.mark.parametrize("given", ["", "https://sts.amazonaws.com", "http://10.0.0.7:4566", "127.0.0.1:4566"])
def test_only_an_emulator_of_this_machine_is_taken(given: str) -> None:
    """The error shows the variable as it should be set."""
    with pytest.raises(SettingsError) as error:
        external_endpoint({"AWS_ENDPOINT_URL": given})
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:4566" in error.value.fix


def test_its_address_and_account_are_the_ones_given(tmp_path: Path) -> None:
    """Every client of the local cloud speaks to it, with the credentials of the environment, else `test`; later commands too."""
    config = Config(ROOT, tmp_path, external=external_endpoint({"AWS_ENDPOINT_URL": "http://localhost:4599/"}))
    assert (config.endpoint, config.external) == ("http://localhost:4599",) * 2
    assert set(foreign_account({}).values()) == {"test"}
    assert foreign_account({"AWS_ACCESS_KEY_ID": "K"})["AWS_ACCESS_KEY_ID"] == "K"
    assert last_external(tmp_path) == ""
    config.ports_file.write_text(json.dumps({"external": config.external}))
    assert last_external(tmp_path) == config.external


def test_none_is_started_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it does not answer, or is another account, the start ends with what to do; the local cloud's own is not started."""
    config = Config(ROOT, tmp_path / "home", external=ADDRESS, foreign_credentials=foreign_account({}))
    monkeypatch.setattr(cloud, "_external_account", lambda _config: "")
    with pytest.raises(Unavailable) as away:
        cloud.start_emulator(config)
    assert "AWS_ENDPOINT_URL" in away.value.fix
    monkeypatch.setattr(cloud, "_external_account", lambda _config: "123456789012")
    with pytest.raises(PermanentError, match="123456789012"):
        cloud.start_emulator(config)
    assert not list(config.pids.glob("*"))


def test_it_gets_a_template_without_sam() -> None:
    """Every resource is CloudFormation's own; names of functions and the API, which outputs refer to, are as SAM gives them."""
    plain = expanded(package(ROOT, lambda key, _body: f"s3://packages/{key}"), {"ProjectName": "forge"})
    kinds = {r["Type"] for r in plain["Resources"].values()}
    assert not [k for k in kinds if k.startswith("AWS::Serverless")]
    assert "Transform" not in plain
    assert {"AnalyzeFunction", "AnalyzeFunctionRole", "Api", "TrainingStateMachine"} <= set(plain["Resources"])
    assert plain["Resources"]["AnalyzeFunction"]["Properties"]["Code"]["S3Bucket"] == "packages"


@pytest.mark.parametrize(("functions", "name"), [(PROCESS, "127.0.0.1"), (CONTAINER, "host.docker.internal")])
def test_functions_get_an_address_of_mlflow_that_they_reach(tmp_path: Path, functions: str, name: str) -> None:
    """In containers 127.0.0.1 is the container itself. Where they run is as at the last start, else on this machine."""
    config = Config(ROOT, tmp_path, external=ADDRESS, foreign_credentials=foreign_account({}), functions=functions)
    assert deploy._parameters(config)["MlflowTrackingUri"] == f"http://{name}:{config.mlflow_port}"
    assert last_functions(tmp_path) == PROCESS
    config.ports_file.write_text(json.dumps({"functions": functions}))
    assert last_functions(tmp_path) == functions


def test_a_state_machine_has_its_numbers_in_the_definition() -> None:
    """The value of the parameter, else its default; what is no number stays a substitution."""
    stored: dict[str, bytes] = {}

    def put(key: str, body: bytes) -> str:
        stored[key.partition("/")[0]] = body
        return f"s3://packages/{key}"

    template = package(ROOT, put, foreign={"MaxConcurrentModels": "7"})
    given = template["Resources"]["TrainingStateMachine"]["Properties"]["DefinitionSubstitutions"]
    assert "MaxConcurrency" not in given
    assert "TrainingQueueUrl" in given
    assert b'"MaxConcurrency": 7' in stored["TrainingStateMachine"]
    assert b"${MaxConcurrency}" not in stored["TrainingStateMachine"]
