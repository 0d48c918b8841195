"""Requests to a managed MLflow server: signed as AWS's own signer signs, and refused when they are not."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import boto3
import botocore.auth
import pandas as pd
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from sklearn.linear_model import LogisticRegression

from dropforge.adapters import sagemaker_mlflow
from dropforge.adapters.mlflow_registry import MlflowRegistry, MlflowTracking, connect
from dropforge.adapters.s3_store import S3Store
from dropforge.config import settings
from dropforge.errors import PermanentError, SettingsError
from dropforge.messages import JobResult, TrainingJob
from dropforge.ports import DatasetInput
from dropforge_local.packaging import load_template
from dropforge_training.worker.mlflow_run import JobRun

from . import managed

KEYS = Credentials("a-key", "made-up", "a-session")


@pytest.mark.parametrize("arn", managed.PROTOCOLS)
@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("GET", "https://us-east-1.experiments.sagemaker.aws/api/2.0/mlflow/runs/get?run_id=1", None),
        ("POST", "https://us-east-1.experiments.sagemaker.aws/api/2.0/mlflow/runs/search", b'{"filter": "a = 1"}'),
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(
    monkeypatch: pytest.MonkeyPatch, method: str, url: str, body: bytes | None, arn: str
) -> None:
    """At one moment, with the same headers covered, the signature is the one of botocore's own signer."""
    moment = datetime.datetime(2026, 11, 24, 12, 0, 0, tzinfo=datetime.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: moment)
    ours = requests.Request(method, url, data=body, auth=sagemaker_mlflow.ServerSignature(arn, KEYS)).prepare()
    service, header = managed.PROTOCOLS[arn]
    covered = {name: ours.headers[name] for name in (header, sagemaker_mlflow.BODY_HEADER)}
    theirs = AWSRequest(method=method, url=url, data=body or b"", headers=covered)
    SigV4Auth(KEYS, service, "us-east-1").add_auth(theirs)
    assert ours.headers["X-Amz-Date"] == "20261124T120000Z"
    assert ours.headers["X-Amz-Security-Token"] == "a-session"
    assert ours.headers["Authorization"] == theirs.headers["Authorization"]


def test_a_space_in_a_query_keeps_the_signature_right(managed_uri: str) -> None:
    """A name with a space and a plus goes by the query, and the server still finds its own signature."""
    client = connect(managed_uri)
    created = client.create_experiment("of spaces + pluses", artifact_location="s3://artifacts/mlflow")
    assert client.get_experiment_by_name("of spaces + pluses").experiment_id == created


def test_each_part_calls_what_its_role_allows(
    managed_server: tuple[str, managed.Checked], managed_uri: str, tmp_path: Path
) -> None:
    """An analysis, a training job with its model, a registration: every call arrives signed, and the part's role holds its action."""
    boto3.client("s3").create_bucket(Bucket="artifacts")
    tracking = MlflowTracking(managed_uri, "parts", S3Store(boto3.client("s3")))
    managed_server[1].seen.clear()
    parent = tracking.ensure_run("parts", name="analysis", tags={"dataset_id": "d"})
    tracking.log(parent.run_id, metrics={"rows": 3.0})
    tracking.log_dataset(parent.run_id, DatasetInput("n", "d", "s3://a/b", [], 3, "training"))
    tracking.finish(parent.run_id)
    assert managed_server[1].actions() == _allowed("AnalyzeFunction")
    job = {
        "schema_version": 1, "task_token": "", "job_id": "u-m", "upload_id": "u", "dataset_uri": "s3://d/m",
        "settings_uri": "s3://d/s", "model": "m", "budget": {"schema_version": 1, "trials": 1, "seconds": 1.0},
        "seed": 1, "parent_run_id": parent.run_id,
    }  # fmt: skip
    file = Path(__file__).parents[2] / "settings.yaml"
    run = JobRun(managed_uri, settings.load(file.read_bytes(), file.name), TrainingJob.parse(json.dumps(job)))
    assert run.stored_result() is None
    run.log_progress(1, {"tuning.best_score": 0.4})
    run.log_params({"depth": 3})
    run.log_dataset("n", "d", "s3://a/b", 3)
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    source = run.log_model(LogisticRegression().fit(table, [0, 1, 0, 1]), table, {"roc_auc": 0.5})  # type: ignore[arg-type] # any estimator is logged alike
    (tmp_path / "card.json").write_text("{}")
    run.put(tmp_path)
    run.finish(
        JobResult(
            model="m", run_id=run.run_id, model_source=source, bundle_uri="s3://a/b", bundle_sha256="0" * 64,
            predictions_uri="s3://a/p", metrics={},
        )
    )  # fmt: skip
    assert managed_server[1].actions() == _allowed("TrainingRole")
    registry = MlflowRegistry(managed_uri)
    version = registry.register("model", source=source, run_id=run.run_id, tags={})
    registry.set_alias("model", "newest", version.version)
    assert [v.version for v in registry.resolve("newest")] == [version.version]
    registry.drop_alias("model", "newest")
    assert registry.artifact_uri(run.run_id).startswith("s3://artifacts/")
    tracking.set_tags(parent.run_id, {"gate": "passed"})
    tracking.finish(parent.run_id)
    assert managed_server[1].actions() == _allowed("ConcludeFunction")


def _allowed(name: str) -> set[str]:
    """Actions of the statement for the managed server in a part's role, without their prefix."""
    template = load_template(Path(__file__).parents[2] / "template.yaml")
    given: set[str] = set()
    for policy in template["Resources"][name]["Properties"]["Policies"]:
        for statement in policy.get("PolicyDocument", policy)["Statement"]:
            if statement.get("Fn::If", [""])[0] == "WithMlflowServer":
                given |= {action.removeprefix("sagemaker-mlflow:") for action in statement["Fn::If"][1]["Action"]}
    return given


@pytest.mark.parametrize("change", ["body", "secret", "server", "none"])
def test_what_is_not_signed_for_the_server_is_refused(managed_server: tuple[str, managed.Checked], change: str) -> None:
    """A changed body, another secret, another server, no signature: 403. Else the check would let anything through."""
    url = f"{managed_server[0]}/api/2.0/mlflow/experiments/search"
    arn = managed.ARN.replace("dropforge", "other") if change == "server" else managed.ARN
    secret = "another" if change == "secret" else managed_server[1].secret
    auth = None if change == "none" else sagemaker_mlflow.ServerSignature(arn, Credentials("testing", secret))
    request = requests.Request("POST", url, json={"max_results": 1}, auth=auth).prepare()
    if change == "body":
        request.body = b'{"max_results": 2}'
    with requests.Session() as session:
        assert session.send(request, timeout=30).status_code == 403


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:::bucket",
        "arn:aws:sagemaker:us-east-1:1:mlflow-tracking-server/x",
        "arn:aws-cn:sagemaker:cn-north-1:123456789012:mlflow-tracking-server/x",
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/x",
    ],
)
def test_another_arn_is_told(arn: str) -> None:
    """An ARN of something else, or of a partition without the service, is an error that shows the right form."""
    with pytest.raises(SettingsError) as error:
        connect(arn)
    assert (error.value.code, "mlflow-tracking-server/NAME" in error.value.fix) == ("mlflow_arn_malformed", True)


def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing credentials are told by name before the first request, not as a server that does not answer."""
    monkeypatch.setattr("boto3.Session.get_credentials", lambda _session: None)
    with pytest.raises(PermanentError) as error:
        connect(managed.ARN.replace("dropforge", "nobody"))
    assert error.value.code == "no_credentials"


def test_the_address_is_that_of_the_region() -> None:
    """The managed servers of a region share one address, and so do its apps."""
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:"
    assert sagemaker_mlflow.endpoint(f"{arn}mlflow-tracking-server/x") == "https://eu-west-1.experiments.sagemaker.aws"
    assert sagemaker_mlflow.endpoint(f"{arn}mlflow-app/app-x") == "https://mlflow.sagemaker.eu-west-1.app.aws"


def test_an_app_is_called_as_a_server_is(managed_uri: str) -> None:
    """The same client works with the ARN of a serverless MLflow App: its header, its service, the same API."""
    client = connect(managed.APP_ARN if managed_uri else "")
    created = client.create_experiment("of an app", artifact_location="s3://artifacts/mlflow")
    assert client.get_experiment_by_name("of an app").experiment_id == created
