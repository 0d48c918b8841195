"""`sam local`: every function on its built layers in Lambda's own image, working on the local cloud."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config as ClientConfig

from dropforge import ids
from dropforge_cli.commands.uploads import follow_upload
from dropforge_local.layout import FARGATE, REGION
from dropforge_local.packaging import load_template

from ..conftest import ROOT, Cloud, free_ports
from .conftest import SAM, deployed, sam, sam_environment

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
FUNCTIONS = {
    name.removesuffix("Function").lower()
    for name, resource in load_template(ROOT / "template.yaml")["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
OF_OTHERS = {
    "s3_put": "analyze",
    "s3_test": "analyze",
    "trigger": "analyze",
    "batch_put": "batch",
    "predict": "predict",
}
ROWS = 3000


@contextmanager
def _served(command: str, options: list[str]) -> Iterator[str]:
    """A `sam local start-…` in the background; its address. Ended well, it takes its containers with it."""
    port = free_ports(1)[0]
    arguments = [SAM, "local", command, *options, "--port", str(port)]
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=sam_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            try:
                requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def invoke(options: list[str]) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """Calls a function by its short name in `sam local start-lambda`; what it answered. A function that fails fails the test."""
    with _served("start-lambda", options) as address:
        client = boto3.client(
            "lambda",
            endpoint_url=address,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=ClientConfig(read_timeout=300, retries={"max_attempts": 0}),
        )

        def call(function: str, event: dict[str, Any]) -> Any:
            name = f"{function.capitalize()}Function"
            answer = json.loads(client.invoke(FunctionName=name, Payload=json.dumps(event))["Payload"].read())
            assert "errorType" not in (answer or {}), answer
            return answer

        yield call


def _event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return loaded


def _arrived(cloud: Cloud, example: str, key: str, body: bytes) -> tuple[dict[str, Any], str]:
    """Put an object without anybody hearing of it; the event S3 would have sent, and the upload's id."""
    s3, bucket = cloud.client("s3"), cloud.outputs["DataBucket"]
    heard = s3.get_bucket_notification_configuration(Bucket=bucket)
    heard.pop("ResponseMetadata", None)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    version = s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=heard)
    event = _event(example)
    event["Records"][0]["s3"]["bucket"]["name"] = bucket
    event["Records"][0]["s3"]["object"] |= {"key": key, "size": len(body), "versionId": version}
    return event, ids.upload_id(bucket, key, version)


@pytest.fixture(scope="module")
def analysed(lone_cloud: Cloud, invoke: Callable[..., Any], adult_lines: list[str]) -> dict[str, Any]:
    """The record of an upload that only `sam local` has analysed; containers have trained on it."""
    deployed(lone_cloud, FARGATE)
    rows = [adult_lines[0], *adult_lines[-ROWS:]]
    event, upload_id = _arrived(lone_cloud, "s3_put", "incoming/sam.csv", ("\n".join(rows) + "\n").encode())
    assert invoke("analyze", event)["uploads"] == {upload_id: "training"}
    record: dict[str, Any] = follow_upload(lone_cloud.target, upload_id, timeout=900)
    return record


@pytest.fixture(scope="module")
def served(lone_cloud: Cloud, analysed: dict[str, Any]) -> Cloud:
    """A version of that upload answers."""
    assert analysed["state"] == "concluded", analysed
    version = next(m["version"] for m in analysed["models"] if m["model"] == "xgboost")
    labels = {"model": "adult-income-xgboost", "alias": "Production"}
    lone_cloud.target.api("POST", "/aliases", json={**labels, "version": version})
    lone_cloud.target.api("POST", "/set_model", json=labels)
    return lone_cloud


def test_analyze_takes_an_upload(analysed: dict[str, Any]) -> None:
    """Admission, report and start of the training on the built layers; what follows ends concluded."""
    assert analysed["state"] == "concluded", analysed
    assert analysed["rows_in"] == ROWS


def test_conclude_can_be_repeated(served: Cloud, analysed: dict[str, Any], invoke: Callable[..., Any]) -> None:
    """The state machine's own request once more: the same conclusion, no second version."""
    states = served.client("stepfunctions")
    executions = [
        states.describe_execution(executionArn=e["executionArn"])
        for e in states.list_executions(stateMachineArn=served.outputs["StateMachineArn"])["executions"]
    ]
    ours = next(e for e in executions if json.loads(e["input"])["upload_id"] == analysed["upload_id"])
    history = states.get_execution_history(executionArn=ours["executionArn"], maxResults=1000)["events"]
    entered = next(e for e in history if e.get("stateEnteredEventDetails", {}).get("name") == "Conclude")
    request = json.loads(entered["stateEnteredEventDetails"]["input"])
    before = served.target.api("GET", "/models").json()["models"]
    conclusion = invoke("conclude", {"schema_version": 1, "request": request, "outcomes": request["outcomes"]})
    assert {r["version"] for r in conclusion["registered"]} == {m["version"] for m in analysed["models"]}
    assert len(served.target.api("GET", "/models").json()["models"]) == len(before)


def test_batch_scores_a_file(served: Cloud, invoke: Callable[..., Any], adult_lines: list[str]) -> None:
    """Every row of a file gets its prediction."""
    body = ("\n".join([adult_lines[0], *adult_lines[1:201]]) + "\n").encode()
    event, upload_id = _arrived(served, "batch_put", "batch/sam.csv", body)
    assert invoke("batch", event)["uploads"] == {upload_id: "scored"}
    listed = served.client("s3").list_objects_v2(
        Bucket=served.outputs["DataBucket"], Prefix=f"predictions/{upload_id}/"
    )["Contents"]
    table = next(o["Key"] for o in listed if o["Key"].endswith(".csv"))
    read = served.client("s3").get_object(Bucket=served.outputs["DataBucket"], Key=table)["Body"].read().decode()
    assert read.count("\n") == 201
    assert "prediction" in read.splitlines()[0]


def test_every_event_file_is_answered(served: Cloud, invoke: Callable[..., Any]) -> None:
    """Requests get 2xx, or 4xx for an id that is not there; events of absent objects end skipped; nothing fails."""
    names = {p.stem for p in (ROOT / "events").glob("*.json")} - {"conclude", "predict_python"}
    # The upload of `conclude` is not there: see above. predict_python is an image: test_predict_python.py.
    assert {OF_OTHERS.get(name, "control") for name in names} | {"conclude"} >= FUNCTIONS
    for name in sorted(names):
        answer = invoke(OF_OTHERS.get(name, "control"), _event(name))
        if "statusCode" in answer:
            assert answer["statusCode"] < 500, (name, answer)
        else:
            assert set(answer.get("uploads", {}).values()) <= {"skipped"}, (name, answer)


def test_one_invocation_predicts(served: Cloud, options: list[str]) -> None:
    """`sam local invoke` with the event file says what the API says."""
    output = sam("local", "invoke", "PredictFunction", "-e", "events/predict.json", *options)
    answer = json.loads(output.strip().splitlines()[-1])
    assert answer["statusCode"] == 200, answer
    row = json.loads(_event("predict")["body"])
    expected = served.target.api("POST", "/predict", json=row).json()["predictions"]
    assert json.loads(answer["body"])["predictions"] == expected


def test_start_api_predicts(served: Cloud, options: list[str]) -> None:
    """POST /predict at `sam local start-api`."""
    with _served("start-api", options) as address:
        row = json.loads(_event("predict")["body"])
        answer = requests.post(f"{address}/predict", json=row, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"] == served.target.api("POST", "/predict", json=row).json()["predictions"]
