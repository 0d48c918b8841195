"""The whole line on real rows: a dropped file becomes a served model."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import requests
from typer.testing import CliRunner

from dropforge.adapters import signing
from dropforge.api.access import ACCESS
from dropforge_cli import target as target_module
from dropforge_cli.events import Message, for_analyze, for_conclude, newest
from dropforge_cli.main import app
from dropforge_local import cloud as local_cloud

pytestmark = pytest.mark.integration
ROWS = 4000  # of the reference, as conftest drops it


def _csv(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _api(cloud: Any, method: str, path: str, **arguments: Any) -> requests.Response:
    answer: requests.Response = cloud.target.call(method, path, **arguments)
    return answer


def test_the_first_upload_becomes_the_reference_and_is_trained_on(reference: dict[str, Any]) -> None:
    """It ends concluded, with every row accounted for and a version of every model."""
    assert (reference["state"], reference["verdict"]) == ("concluded", "reference")
    assert reference["rows_in"] == reference["rows_used"] + reference["rows_quarantined"] == ROWS
    assert {m["model"]: m["version"] for m in reference["models"]} == {"random_forest": "1", "xgboost": "1"}
    assert all(m["metrics"]["roc_auc"] > 0.85 for m in reference["models"])


def test_the_report_opens(cloud: Any, reference: dict[str, Any]) -> None:
    """As HTML and as JSON through the API, and as artifacts of the MLflow run."""
    page = _api(cloud, "GET", f"/reports/{reference['upload_id']}", headers={"accept": "text/html"})
    facts = _api(cloud, "GET", f"/reports/{reference['upload_id']}", headers={"accept": "application/json"})
    assert page.text.startswith("<!doctype html>")
    assert facts.json()["provenance"]["dataset_id"] == reference["dataset_id"]
    kept = cloud.client("s3").list_objects_v2(Bucket=cloud.outputs["ArtifactBucket"], Prefix="mlflow/")["Contents"]
    assert any(o["Key"].endswith(f"{reference['run_id']}/artifacts/report.html") for o in kept)


def test_a_labelled_version_is_served(cloud: Any, reference: dict[str, Any], adult_lines: list[str]) -> None:
    """Label in MLflow, POST /set_model, POST /predict with real rows: labels and probabilities of that version."""
    from dropforge.adapters.mlflow import MlflowRegistry

    MlflowRegistry(cloud.outputs["MlflowUrl"]).set_alias("adult-income-xgboost", "Production", "1")
    switched = _api(cloud, "POST", "/set_model", json={"alias": "Production"})
    assert switched.status_code == 200, switched.text
    header = adult_lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in adult_lines[-200:]]
    answer = _api(cloud, "POST", "/predict", json={"records": rows}).json()
    hits = sum(p["label"] == r["income"] for p, r in zip(answer["predictions"], rows, strict=True))
    assert hits >= 150
    assert answer["model"]["name"] == "adult-income-xgboost"
    assert all(abs(sum(p["probabilities"].values()) - 1) < 1e-5 for p in answer["predictions"])
    by_label = _api(cloud, "POST", "/predict?alias=Production&explain=true", json={"records": rows[:2]}).json()
    assert by_label["predictions"][0]["probabilities"] == answer["predictions"][0]["probabilities"]
    assert set(by_label["predictions"][0]["explanation"]["contributions"]) == set(header) - {"income", "fnlwgt"}
    assert _api(cloud, "POST", "/predict?alias=Nobody", json={"records": rows[:2]}).status_code == 404
    assert _api(cloud, "POST", "/invocations", json={"dataframe_records": rows[:2]}).json()["predictions"] == [
        p["label"] for p in answer["predictions"][:2]
    ]
    assert _api(cloud, "GET", "/v2/models/adult-income-xgboost").json()["name"] == "adult-income-xgboost"
    info = _api(cloud, "GET", "/model_info").json()
    assert info["model"]["version"] == "1"
    assert _api(cloud, "GET", "/health").json()["status"] == "ok"


@pytest.mark.parametrize(("method", "resource"), ACCESS)
def test_every_route_refuses_whom_it_should(cloud: Any, method: str, resource: str) -> None:
    """Nobody gets in without credentials; the key alone opens no administrative route; nor does a made-up signature."""
    url = cloud.outputs["ApiUrl"] + resource.format(
        upload_id="0" * 20, dataset_id="0" * 16, model="nobody", name="nobody", version="1"
    )
    key = {"x-api-key": cloud.outputs["ApiKey"]}
    made_up = signing.credentials("AKIAIOSFODNN7EXAMPLE", "made-up")
    false = signing.sign(method, url, {}, b"{}", region=cloud.outputs["Region"], credentials=made_up)
    assert requests.request(method, url, timeout=30).status_code == 403
    assert requests.request(method, url, headers={"x-api-key": "made-up"}, timeout=30).status_code == 403
    assert requests.request(method, url, headers=false, data=b"{}", timeout=30).status_code == 403
    if ACCESS[method, resource] == "iam":
        assert requests.request(method, url, headers=key, timeout=30).status_code == 403
    else:
        assert requests.request(method, url, headers=key, timeout=30).status_code != 403


def test_the_history_names_who_switched(cloud: Any, reference: dict[str, Any]) -> None:
    """The principal that signed is kept, whatever the client says of itself."""
    told = _api(cloud, "POST", "/set_model", json={"alias": "Production"})
    assert told.status_code == 200, told.text
    assert _api(cloud, "GET", "/model_info").json()["set_by"] == "arn:aws:iam::000000000000:root"


def test_an_event_of_a_real_upload_can_be_sent_again(cloud: Any, reference: dict[str, Any]) -> None:
    """What `dropforge event` prints is taken by the functions: the same conclusion, the same upload, no second version."""
    before = _versions(cloud)
    assert newest(cloud.target, Message.CONCLUDE) == reference["upload_id"]
    for message, function in ((for_conclude(cloud.target, reference), "Conclude"), (for_analyze(reference), "Analyze")):
        answer = cloud.client("lambda").invoke(
            FunctionName=cloud.outputs[f"{function}Function"], Payload=json.dumps(message)
        )
        told = json.loads(answer["Payload"].read())
        if function == "Conclude":
            assert {r["version"] for r in told["registered"]} == {m["version"] for m in reference["models"]}
        else:
            assert told["uploads"] == {reference["upload_id"]: "concluded"}
    assert _versions(cloud) == before


def _versions(cloud: Any) -> set[tuple[str, str]]:
    return {(m["name"], m["version"]) for m in _api(cloud, "GET", "/models").json()["models"]}


def test_status_of_a_stack_on_aws(cloud: Any, reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With DROPFORGE_STACK and nothing of the local cloud but an address of the services, `dropforge status` finds every part.

    The API's own address is the one thing that is told: the emulator does not answer at amazonaws.com.
    """
    for name, value in {
        "DROPFORGE_STACK": cloud.config.stack, "DROPFORGE_HOME": str(cloud.config.home / "elsewhere"),
        "AWS_ENDPOINT_URL": cloud.config.endpoint, "AWS_DEFAULT_REGION": "us-east-1",
        **cloud.target.account,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # made by earlier tests, with what they knew
    found = target_module._stack_outputs
    given = {"ApiUrl": cloud.outputs["ApiUrl"]}
    monkeypatch.setattr(target_module, "_stack_outputs", lambda stack: {**found(stack), **given})
    told = CliRunner().invoke(app, ["status", "--json"])
    assert told.exit_code == 0, told.output
    parts = json.loads(told.stdout)
    assert parts["stack"] in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    assert (parts["api"], parts["mlflow"]) == ("ok", "running")
    assert parts["model"] == "adult-income-xgboost/1"
    assert parts["dead letters"] == "0"
    assert parts["trainings"] == []
    given["ApiUrl"] = "http://127.0.0.1:9"
    told = CliRunner().invoke(app, ["status", "--json"])
    assert (told.exit_code, json.loads(told.stdout)["api"]) == (1, "stopped")


def test_the_same_file_twice_trains_once(
    cloud: Any,
    reference: dict[str, Any],
    drop: Callable[..., str],
    wait: Callable[..., dict[str, Any]],
    adult_lines: list[str],
) -> None:
    """The second upload is skipped, says which upload holds the rows, and registers nothing."""
    again = wait(drop("again.csv", _csv(adult_lines[: ROWS + 1])))
    assert (again["state"], again["reason"]["code"]) == ("skipped", "duplicate")
    assert reference["upload_id"] in again["reason"]["message"]
    versions = _api(cloud, "GET", "/models").json()["models"]
    assert sorted(v["version"] for v in versions) == ["1", "1"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("empty.csv", "empty_file"),
        ("header.csv", "no_rows"),
        ("picture.csv", "not_a_table"),
        ("cut.parquet", "truncated"),
    ],
)
def test_a_bad_file_is_rejected_with_its_reason(
    reference: dict[str, Any],
    drop: Callable[..., str],
    wait: Callable[..., dict[str, Any]],
    adult_lines: list[str],
    cloud: Any,
    name: str,
    code: str,
) -> None:
    """It ends rejected with a stable code, words and a fix; a page tells the same; nothing is trained."""
    bodies = {
        "empty.csv": b"",
        "header.csv": _csv(adult_lines[:1]),
        "picture.csv": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "cut.parquet": b"PAR1" + bytes(500),
    }
    record = wait(drop(name, bodies[name]))
    assert (record["state"], record["reason"]["code"]) == ("rejected", code)
    assert record["reason"]["fix"]
    page = _api(cloud, "GET", f"/reports/{record['upload_id']}", headers={"accept": "text/html"}).text
    assert code in page


def test_a_bad_row_is_set_aside_and_the_good_rows_are_used(
    cloud: Any,
    reference: dict[str, Any],
    drop: Callable[..., str],
    wait: Callable[..., dict[str, Any]],
    adult_lines: list[str],
) -> None:
    """One row with an extra field: it stands in the quarantine with its line and reason; every other row is trained on.

    The worker is killed while it works on this upload; the next worker finishes the job.
    """
    rows = [adult_lines[0], *adult_lines[ROWS + 1 : ROWS + 2001], adult_lines[5] + ",surplus"]
    upload_id = drop("one_bad_row.csv", _csv(rows))
    wait(upload_id, "training")
    _wait_for_line(cloud, upload_id, "job started")
    worker = local_cloud.worker(cloud.config)
    pid = worker.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _reaped(worker)
    local_cloud.start_worker(cloud.config, cloud.outputs)
    record = wait(upload_id)
    assert record["state"] == "concluded", record
    assert (record["rows_in"], record["rows_used"], record["rows_quarantined"]) == (2001, 2000, 1)
    kept = cloud.client("s3").get_object(Bucket=cloud.outputs["DataBucket"], Key=f"quarantine/{upload_id}/reasons.json")
    first = json.loads(kept["Body"].read())["first"][0]
    assert (first["line"], first["code"]) == (2002, "too_many_fields")
    assert "16 fields where the header has 15" in first["reason"]
    assert sorted(m["version"] for m in record["models"]) == ["2", "2"]
    assert cloud.target.api("GET", "/models").json()["models"][0]["version"] == "2"


def test_a_corrected_row_is_sent_in_again(
    cloud: Any, reference: dict[str, Any], wait: Callable[..., dict[str, Any]], tmp_path: Any
) -> None:
    """From the quarantine through the API to a new upload that is accepted, although one row has one class only."""
    listed = _api(cloud, "GET", "/quarantine").json()["uploads"]
    upload_id = next(u["upload_id"] for u in listed if u["key"] == "incoming/one_bad_row.csv")
    row = _api(cloud, "GET", f"/quarantine/{upload_id}").json()["rows"][0]
    mended = row["raw"].removesuffix(",surplus").replace("39", "38", 1)
    sent = _api(cloud, "POST", f"/quarantine/{upload_id}", json={"rows": [{"line": row["line"], "raw": mended}]})
    assert sent.status_code == 200, sent.text
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        found = _api(cloud, "GET", f"/uploads?key={sent.json()['key']}").json()["uploads"]
    record = wait(found[0]["upload_id"])
    assert (record["state"], record["rows_used"], record["rows_quarantined"]) == ("concluded", 1, 0), record


def test_one_upload_is_followed_through_every_part(cloud: Any, reference: dict[str, Any]) -> None:
    """analyze, training and conclude log under the upload's id as correlation id."""
    from dropforge_cli.logs import events

    client, prefix = cloud.client("logs"), cloud.outputs["LogGroupPrefix"]
    for service in ("analyze", "training", "conclude"):
        lines = [e["line"] for e in events(client, f"{prefix}{service}", 0, reference["upload_id"])]
        assert lines, service
        assert {line["correlation_id"] for line in lines} == {reference["upload_id"]}


def test_training_data_are_found_by_run(cloud: Any, reference: dict[str, Any], tmp_path: Any) -> None:
    """The run's dataset names its parts, and the parts hold the rows that were trained on."""
    from dropforge.adapters.mlflow import MlflowRegistry
    from dropforge.adapters.s3 import S3Store
    from dropforge.data.datasets import Datasets

    run_id = reference["models"][0]["run_id"]
    tags = MlflowRegistry(cloud.outputs["MlflowUrl"]).run_tags(run_id)
    manifest = Datasets(S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]).manifest(tags["dataset_id"])
    assert manifest.rows == ROWS


def _wait_for_line(cloud: Any, upload_id: str, message: str) -> None:
    from dropforge_cli.logs import events

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        group = f"{cloud.outputs['LogGroupPrefix']}training"
        if any(e["line"]["message"] == message for e in events(cloud.client("logs"), group, 0, upload_id)):
            return
        time.sleep(0.1)
    raise AssertionError(f"no line {message!r} for {upload_id}")


def _reaped(worker: Any) -> None:
    deadline = time.monotonic() + 10
    while worker.pid() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert worker.pid() is None
