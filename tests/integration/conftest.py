"""Clients as a user of any local AWS would make them: through localstack-client, so the suite knows no emulator by name."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlparse

import pytest
from localstack_client.session import Session

from dropforge import ids
from dropforge_cli.commands.logs import events
from dropforge_local import cloud as local_cloud

Drop = Callable[[str, bytes], str]
Wait = Callable[..., dict[str, Any]]
REFERENCE_ROWS = 1500
TERMINAL = {"concluded", "accepted", "rejected", "blocked", "failed", "skipped", "stored"}


@pytest.fixture(scope="session")
def aws(cloud: Any) -> Callable[[str], Any]:
    """Makes clients of the running stack."""
    endpoint = urlparse(cloud.outputs["EndpointUrl"])
    session = Session(
        aws_access_key_id=cloud.outputs["AccessKeyId"],
        aws_secret_access_key=cloud.outputs["SecretAccessKey"],
        aws_session_token=None,
        region_name=cloud.outputs["Region"],
        localstack_host=f"{endpoint.hostname}:{endpoint.port}",
    )
    from botocore.config import Config

    @cache  # making a client takes longer than a question, and tests poll
    def client(service: str) -> Any:
        signature = "s3v4" if service == "s3" else None
        return session.client(service, config=Config(s3={"addressing_style": "path"}, signature_version=signature))

    return client


@pytest.fixture(scope="session")
def drop(reference: dict[str, Any], aws: Callable[[str], Any], cloud: Any) -> Drop:
    """Put bytes under incoming/ and give the upload's id. The reference is there before: whoever comes first would be it."""
    return lambda name, body: _put(aws, cloud, name, body)


def _put(aws: Callable[[str], Any], cloud: Any, name: str, body: bytes) -> str:
    bucket, key = cloud.outputs["DataBucket"], f"incoming/{name}"
    answer = aws("s3").put_object(Bucket=bucket, Key=key, Body=body)
    return ids.upload_id(bucket, key, answer["VersionId"])


@pytest.fixture(scope="session")
def wait(aws: Callable[[str], Any], cloud: Any) -> Wait:
    """Poll an upload's record until it is terminal (or in one of `states`)."""

    def until(upload_id: str, *states: str, seconds: float = 180) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        record: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                body = (
                    aws("s3")
                    .get_object(Bucket=cloud.outputs["DataBucket"], Key=f"uploads/{upload_id}.json")["Body"]
                    .read()
                )
                record = json.loads(body)
            except aws("s3").exceptions.NoSuchKey:
                record = {}
            if record.get("state") in (states or TERMINAL):
                return record
            time.sleep(0.25)
        raise AssertionError(f"upload {upload_id} is still {record.get('state')}: {record}")

    return until


@pytest.fixture(scope="session")
def reference(cloud: Any, aws: Callable[[str], Any], wait: Wait, adult_lines: list[str]) -> dict[str, Any]:
    """The record of the cloud's first upload, concluded: REFERENCE_ROWS rows and a bad one, version 1 of both models."""
    return wait(_put(aws, cloud, "reference.csv", reference_file(adult_lines)))


def reference_file(adult_lines: list[str]) -> bytes:
    """REFERENCE_ROWS good rows; the last line has one field too many."""
    return csv_of([*adult_lines[: REFERENCE_ROWS + 1], adult_lines[5] + ",surplus"])


@pytest.fixture
def production(cloud: Any, reference: dict[str, Any]) -> str:
    """Version 1 of xgboost carries the alias `Production` and is active; its registered name."""
    from dropforge.adapters.mlflow_registry import MlflowRegistry

    name = "adult-income-xgboost"
    MlflowRegistry(cloud.outputs["MlflowUrl"]).set_alias(name, "Production", "1")
    switched = cloud.target.call("POST", "/set_model", json={"alias": "Production", "model": name})
    assert switched.status_code == 200, switched.text
    return name


@dataclass(frozen=True)
class Interrupted:
    """What was seen of the upload that was interrupted three times, and its record at the end."""

    record: dict[str, Any]
    versions_before: set[tuple[str, str]]  # name and version
    handed_back: str  # job id that the stopped worker said it gave back
    visible_jobs: set[str]  # job ids in the queue right after that
    restart_steps: list[str]  # what the second start of the cloud did


@pytest.fixture(scope="session")
def interrupted(
    cloud: Any, reference: dict[str, Any], drop: Drop, wait: Wait, aws: Callable[[str], Any], adult_lines: list[str]
) -> Interrupted:
    """One upload whose training is interrupted three times: SIGTERM to the worker in the middle of a job,
    SIGKILL to the next one, a restart of the whole cloud.
    """
    before = versions(cloud)
    rows = [adult_lines[0], *adult_lines[REFERENCE_ROWS + 1 : REFERENCE_ROWS + 2001]]
    upload_id = drop("interrupted.csv", csv_of(rows))

    def logged(message: str, times: int = 1) -> bool:
        return sum(line["message"] == message for line in _training_lines(cloud, upload_id)) >= times

    until(lambda: logged("data loaded"), "the first job to load its data")
    _end_worker(cloud, signal.SIGTERM)
    until(lambda: logged("job handed back"), "the worker's last line")
    back = next(str(n["job_id"]) for n in _training_lines(cloud, upload_id) if n["message"] == "job handed back")
    visible = aws("sqs").receive_message(
        QueueUrl=cloud.outputs["TrainingQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    started = sum(line["message"] == "job started" for line in _training_lines(cloud, upload_id))
    local_cloud.start_worker(cloud.config, cloud.outputs)
    until(lambda: logged("job started", started + 1), "the next worker to take the job")
    _end_worker(cloud, signal.SIGKILL)
    local_cloud.down(cloud.config, lambda _what, _seconds: None)
    steps: list[str] = []
    local_cloud.up(cloud.config, lambda what, _seconds: steps.append(what))
    jobs = {str(json.loads(m["Body"])["job_id"]) for m in visible.get("Messages", [])}
    return Interrupted(wait(upload_id), before, back, jobs, steps)


@pytest.fixture(scope="session")
def corrected(cloud: Any, reference: dict[str, Any], wait: Wait) -> dict[str, Any]:
    """The record of the reference's bad row, corrected and sent in again."""
    origin = reference["upload_id"]
    row = cloud.target.api("GET", f"/quarantine/{origin}").json()["rows"][0]
    text_of_row = row["raw"].removesuffix(",surplus").replace("39", "38", 1)
    sent = cloud.target.call(
        "POST", f"/quarantine/{origin}", json={"rows": [{"line": row["line"], "raw": text_of_row}]}
    )
    assert sent.status_code == 200, sent.text
    key = sent.json()["key"]

    def uploads() -> list[dict[str, Any]]:
        return list(cloud.target.api("GET", f"/uploads?key={key}").json()["uploads"])

    until(uploads, "the corrected row's upload")
    return wait(uploads()[0]["upload_id"])


def with_model(settings: str, name: str) -> str:
    """The settings with this model alone: half of the training, where a test looks at one."""
    head, *models = re.split(r"(?m)^  - name: ", settings)
    *_, rest = models
    after = rest[rest.index("\ntraining:") :]
    (chosen,) = (m for m in models if m.startswith(name))
    return f"{head}  - name: {chosen.partition(after)[0]}{after}"


def csv_of(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def versions(cloud: Any) -> set[tuple[str, str]]:
    """Name and version of every model version there is."""
    return {(m["name"], m["version"]) for m in cloud.target.api("GET", "/models").json()["models"]}


def until(holds: Callable[[], Any], what: str, seconds: float = 120) -> None:
    """Poll until `holds()`; a test that waits in vain fails with `what`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.25)


def _training_lines(cloud: Any, upload_id: str) -> list[dict[str, Any]]:
    group = f"{cloud.outputs['LogGroupPrefix']}training"
    return [e["line"] for e in events(cloud.client("logs"), group, 0, upload_id)]


def _end_worker(cloud: Any, number: signal.Signals) -> None:
    worker = local_cloud.worker(cloud.config)
    pid = worker.pid()
    assert pid is not None
    os.kill(pid, number)
    until(lambda: worker.pid() is None, "the worker to end")
