"""Credentials of the MLflow server: from Secrets Manager to where its client looks, and nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from dropforge.app_context import AppContext
from dropforge.environment import Environment
from dropforge.errors import NotFound, SettingsError

NAMES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in NAMES:  # set and deleted, so that what the code sets is undone afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with mock_aws():
        yield boto3.client("secretsmanager", "us-east-1")


def _app_context(arn: str) -> AppContext:
    return AppContext(Environment(mlflow_tracking_uri="https://mlflow", mlflow_secret_arn=arn, aws_region="us-east-1"))


def _stored(secrets: Any, value: Any) -> str:
    return str(secrets.create_secret(Name="m", SecretString=json.dumps(value))["ARN"])


@pytest.mark.parametrize("given", [{"username": "u", "password": "p"}, {"token": "t"}])
def test_the_mlflow_client_gets_its_credentials(secrets: Any, given: dict[str, str]) -> None:
    """Asking for the server's address puts exactly the secret's values where the MLflow client reads them."""
    assert _app_context(_stored(secrets, given)).mlflow_uri == "https://mlflow"
    assert {k: os.environ[k] for k in NAMES if k in os.environ} == {
        f"MLFLOW_TRACKING_{k.upper()}": v for k, v in given.items()
    }


def test_without_a_secret_nothing_is_read() -> None:
    """A server that asks for nothing needs no Secrets Manager."""
    assert _app_context("").mlflow_uri == "https://mlflow"


@pytest.mark.parametrize("wrong", [{"user": "u"}, ["a"], "text", {"token": 1}, {"token": "t", "username": "u"}])
def test_a_secret_of_another_form_is_told_without_its_value(secrets: Any, wrong: Any) -> None:
    """The error names the form that is wanted, not what was in the secret."""
    with pytest.raises(SettingsError) as caught:
        _ = _app_context(_stored(secrets, wrong)).mlflow_uri
    assert '"token"' in caught.value.fix


def test_a_secret_that_is_gone_is_told(secrets: Any) -> None:
    """A wrong ARN is an error with the ARN in it."""
    assert secrets
    with pytest.raises(NotFound):
        _ = _app_context("arn:aws:secretsmanager:us-east-1:123456789012:secret:none").mlflow_uri
