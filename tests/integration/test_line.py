"""The whole line on real rows: a dropped file becomes a served model."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import requests
from typer.testing import CliRunner

from dropforge.adapters import sigv4
from dropforge.api.routes import ACCESS
from dropforge_cli import target as target_module
from dropforge_cli.commands.events import Message, for_analyze, for_conclude, newest
from dropforge_cli.main import app

from .conftest import REFERENCE_ROWS, Interrupted, csv_of, reference_file, until, versions

pytestmark = pytest.mark.integration


def _api(cloud: Any, method: str, path: str, **arguments: Any) -> requests.Response:
    answer: requests.Response = cloud.target.call(method, path, **arguments)
    return answer


def test_the_first_upload_becomes_the_reference_and_is_trained_on(reference: dict[str, Any]) -> None:
    """It ends concluded, with every row accounted for and a version of every model."""
    assert (reference["state"], reference["verdict"]) == ("concluded", "reference")
    assert reference["rows_in"] == reference["rows_used"] + reference["rows_quarantined"] == REFERENCE_ROWS + 1
    assert {m["model"]: m["version"] for m in reference["models"]} == {"random_forest": "1", "xgboost": "1"}
    assert all(m["metrics"]["roc_auc"] > 0.85 for m in reference["models"])


def test_the_report_opens(cloud: Any, reference: dict[str, Any]) -> None:
    """As HTML and as JSON through the API, and as artifacts of the MLflow run."""
    page = _api(cloud, "GET", f"/reports/{reference['upload_id']}", headers={"accept": "text/html"})
    facts = _api(cloud, "GET", f"/reports/{reference['upload_id']}", headers={"accept": "application/json"})
    assert page.text.startswith("<!doctype html>")
    assert facts.json()["provenance"]["dataset_id"] == reference["dataset_id"]
    stored = cloud.client("s3").list_objects_v2(Bucket=cloud.outputs["ArtifactBucket"], Prefix="mlflow/")["Contents"]
    assert any(o["Key"].endswith(f"{reference['run_id']}/artifacts/report.html") for o in stored)


def test_a_labelled_version_is_served(cloud: Any, production: str, adult_lines: list[str]) -> None:
    """Alias in MLflow, POST /set_model, POST /predict with real rows: labels and probabilities of that version."""
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


def test_binary_tensors_pass_the_gateway(cloud: Any, production: str, adult_lines: list[str]) -> None:
    """Bytes that are no text arrive whole: values in the binary form of the Open Inference Protocol, compressed besides."""
    header = adult_lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in adult_lines[-20:]]
    expected = _api(cloud, "POST", "/predict", json={"records": rows}).json()["predictions"]
    numbers = {"age", "education-num", "capital-gain", "capital-loss", "hours-per-week", "fnlwgt"}
    tensors, values = [], b""
    for name in header[:-1]:
        column = [row[name] for row in rows]
        raw = (
            struct.pack(f"<{len(rows)}d", *map(float, column))
            if name in numbers
            else b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in column)
        )
        kind = "FP64" if name in numbers else "BYTES"
        size = {"binary_data_size": len(raw)}
        tensors.append({"name": name, "shape": [len(rows)], "datatype": kind, "parameters": size})
        values += raw
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    for body, more in ((head + values, {}), (gzip.compress(head + values), {"Content-Encoding": "gzip"})):
        answer = _api(cloud, "POST", f"/v2/models/{production}/infer", data=body, headers={**headers, **more})
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == [p["label"] for p in expected]


@pytest.mark.enforces_iam
@pytest.mark.parametrize(("method", "resource"), ACCESS)
def test_every_route_refuses_whom_it_should(cloud: Any, method: str, resource: str) -> None:
    """Nobody gets in without credentials; the key alone opens no administrative route; nor does a made-up signature."""
    url = cloud.outputs["ApiUrl"] + resource.format(
        upload_id="0" * 20, dataset_id="0" * 16, model="nobody", name="nobody", version="1"
    )
    key = {"x-api-key": cloud.outputs["ApiKey"]}
    made_up = sigv4.credentials("AKIAIOSFODNN7EXAMPLE", "made-up")
    false = sigv4.Signer(cloud.outputs["Region"], made_up).sign(method, url, {}, b"{}")
    assert requests.request(method, url, timeout=30).status_code == 403
    assert requests.request(method, url, headers={"x-api-key": "made-up"}, timeout=30).status_code == 403
    assert requests.request(method, url, headers=false, data=b"{}", timeout=30).status_code == 403
    if ACCESS[method, resource] == "iam":
        assert requests.request(method, url, headers=key, timeout=30).status_code == 403
    else:
        assert requests.request(method, url, headers=key, timeout=30).status_code != 403


@pytest.mark.enforces_iam
def test_the_history_names_who_switched(cloud: Any, production: str) -> None:
    """The principal that signed is kept, whatever the client says of itself."""
    response = _api(cloud, "POST", "/set_model", json={"alias": "Production"})
    assert response.status_code == 200, response.text
    assert _api(cloud, "GET", "/model_info").json()["set_by"] == "arn:aws:iam::000000000000:root"


def test_an_event_of_a_real_upload_can_be_sent_again(cloud: Any, reference: dict[str, Any]) -> None:
    """What `dropforge event` prints is taken by the functions: the same conclusion, the same upload, no second version."""
    before = versions(cloud)
    latest = cloud.target.api("GET", "/uploads").json()["uploads"]
    assert newest(cloud.target, Message.CONCLUDE) in {u["upload_id"] for u in latest if u["state"] == "concluded"}
    for message, function in ((for_conclude(cloud.target, reference), "Conclude"), (for_analyze(reference), "Analyze")):
        answer = cloud.client("lambda").invoke(
            FunctionName=cloud.outputs[f"{function}Function"], Payload=json.dumps(message)
        )
        document = json.loads(answer["Payload"].read())
        if function == "Conclude":
            assert {r["version"] for r in document["registered"]} == {m["version"] for m in reference["models"]}
        else:
            assert document["uploads"] == {reference["upload_id"]: "concluded"}
    assert versions(cloud) == before


def test_status_of_a_stack_on_aws(cloud: Any, production: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    result = target_module._stack_outputs
    given = {"ApiUrl": cloud.outputs["ApiUrl"]}
    monkeypatch.setattr(target_module, "_stack_outputs", lambda stack: {**result(stack), **given})

    def status() -> dict[str, Any]:
        completed = CliRunner().invoke(app, ["status", "--json"])
        assert completed.exit_code == 0, completed.output
        return dict(json.loads(completed.stdout))

    # An execution ends a moment after it has written the record that a test waits for.
    until(lambda: status()["trainings"] == [], "trainings of other tests to end")
    parts = status()
    assert parts["stack"] in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    assert (parts["api"], parts["mlflow"]) == ("ok", "running")
    assert parts["model"] == f"{production}/1"
    assert parts["dead letters"] == "0"
    given["ApiUrl"] = "http://127.0.0.1:9"
    completed = CliRunner().invoke(app, ["status", "--json"])
    assert (completed.exit_code, json.loads(completed.stdout)["api"]) == (1, "stopped")


def test_the_same_file_twice_trains_once(
    cloud: Any,
    reference: dict[str, Any],
    drop: Callable[..., str],
    wait: Callable[..., dict[str, Any]],
    adult_lines: list[str],
) -> None:
    """The second upload is skipped, says which upload holds the rows, and registers nothing."""
    before = versions(cloud)
    again = wait(drop("again.csv", reference_file(adult_lines)))
    assert (again["state"], again["reason"]["code"]) == ("skipped", "duplicate")
    assert reference["upload_id"] in again["reason"]["message"]
    assert versions(cloud) == before


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
        "header.csv": csv_of(adult_lines[:1]),
        "picture.csv": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "cut.parquet": b"PAR1" + bytes(500),
    }
    record = wait(drop(name, bodies[name]))
    assert (record["state"], record["reason"]["code"]) == ("rejected", code)
    assert record["reason"]["fix"]
    page = _api(cloud, "GET", f"/reports/{record['upload_id']}", headers={"accept": "text/html"}).text
    assert code in page


def test_a_bad_row_is_set_aside_and_the_good_rows_are_used(cloud: Any, reference: dict[str, Any]) -> None:
    """One row with an extra field: it stands in the quarantine with its line and reason; every other row is trained on."""
    assert (reference["rows_used"], reference["rows_quarantined"]) == (REFERENCE_ROWS, 1)
    key = f"quarantine/{reference['upload_id']}/reasons.json"
    stored = cloud.client("s3").get_object(Bucket=cloud.outputs["DataBucket"], Key=key)
    first = json.loads(stored["Body"].read())["first"][0]
    assert (first["line"], first["code"]) == (REFERENCE_ROWS + 2, "too_many_fields")
    assert "16 fields where the header has 15" in first["reason"]


@pytest.mark.drill
@pytest.mark.own_emulator
def test_a_stopped_worker_hands_its_job_back_at_once(interrupted: Interrupted) -> None:
    """SIGTERM in the middle of a job: it is visible to others right after, not only when its visibility ends."""
    assert interrupted.handed_back in interrupted.visible_jobs


@pytest.mark.drill
@pytest.mark.own_emulator
def test_an_upload_survives_a_killed_worker_and_a_restart_of_the_whole_cloud(interrupted: Interrupted) -> None:
    """Its execution dies with the emulator; the next start takes it up again, and it concludes with one version of each model."""
    assert "recovery (1 uploads sent on again)" in interrupted.restart_steps
    record = interrupted.record
    assert (record["state"], record["attempt"]) == ("concluded", 2), record
    created = {(f"adult-income-{m['model']}", m["version"]) for m in record["models"]}
    assert {name for name, _ in created} == {"adult-income-random_forest", "adult-income-xgboost"}
    assert len(created) == 2
    assert not created & interrupted.versions_before


@pytest.mark.drill
def test_a_corrected_row_is_sent_in_again(corrected: dict[str, Any]) -> None:
    """From the quarantine through the API to a new upload that is accepted, although one row has one class only."""
    assert (corrected["state"], corrected["rows_used"], corrected["rows_quarantined"]) == ("concluded", 1, 0)


@pytest.mark.named_log_groups
def test_one_upload_is_followed_through_every_part(cloud: Any, reference: dict[str, Any]) -> None:
    """analyze, training and conclude log under the upload's id as correlation id."""
    from dropforge_cli.commands.logs import events

    client, prefix = cloud.client("logs"), cloud.outputs["LogGroupPrefix"]

    def correlation_ids(service: str) -> set[str]:
        return {e["line"]["correlation_id"] for e in events(client, f"{prefix}{service}", 0, reference["upload_id"])}

    for service in ("analyze", "training", "conclude"):
        until(lambda s=service: correlation_ids(s), f"lines of {service}, which are shipped after the work")  # type: ignore[misc]  # the loop's value
        assert correlation_ids(service) == {reference["upload_id"]}


def test_training_data_are_found_by_run(cloud: Any, reference: dict[str, Any], tmp_path: Any) -> None:
    """The run's dataset names its parts, and the parts hold the rows that were trained on."""
    from dropforge.adapters.mlflow_registry import MlflowRegistry
    from dropforge.adapters.s3_store import S3Store
    from dropforge.datasets.dataset_store import DatasetStore

    run_id = reference["models"][0]["run_id"]
    tags = MlflowRegistry(cloud.outputs["MlflowUrl"]).run_tags(run_id)
    manifest = DatasetStore(S3Store(cloud.client("s3")), cloud.outputs["DataBucket"]).manifest(tags["dataset_id"])
    assert manifest.rows == REFERENCE_ROWS
