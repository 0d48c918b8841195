"""On a whole local cloud: what needs its functions, its state machine and its MLflow. Part of `make faults` only."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from dropforge import ids
from dropforge_local import cloud as local_cloud
from harness.processes import paused
from harness.world import table

pytestmark = [pytest.mark.campaign, pytest.mark.integration, pytest.mark.timeout(600)]
Figure = Callable[[str], None]


def _drop(cloud: Any, name: str, body: bytes) -> str:
    bucket, key = cloud.outputs["DataBucket"], f"incoming/{name}"
    version = cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
    return ids.upload_id(bucket, key, version)


def _record(cloud: Any, upload_id: str) -> dict[str, Any]:
    s3 = cloud.client("s3")
    try:
        body = s3.get_object(Bucket=cloud.outputs["DataBucket"], Key=f"uploads/{upload_id}.json")["Body"].read()
    except s3.exceptions.NoSuchKey:
        return {"state": "unheard"}
    return dict(json.loads(body))


def _until(holds: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return result


def _rows(lines: list[str], first: int, count: int) -> bytes:
    return ("\n".join([lines[0], *lines[first : first + count]]) + "\n").encode()


def test_mlflow_answers_its_own_host_only(cloud: Any, figure: Figure) -> None:
    """Another host, another origin, files of the machine and paths upwards: refused by the server as it is started here."""
    base = cloud.outputs["MlflowUrl"]
    api = f"{base}/api/2.0/mlflow"
    hosts = ["evil.example", "10.0.0.7", "169.254.169.254", "evil.example:80"]
    for host in hosts:
        assert (
            requests.get(f"{api}/experiments/search?max_results=1", headers={"Host": host}, timeout=30).status_code
            == 403
        )
    evil = {"Origin": "http://evil.example", "Content-Type": "application/json"}
    assert requests.post(f"{api}/experiments/create", headers=evil, json={"name": "x"}, timeout=30).status_code == 403
    requests.post(f"{api}/registered-models/create", json={"name": "probe"}, timeout=30)
    sources = ["file:///etc", "../../etc", "http://169.254.169.254/latest", "/etc/passwd"]
    for source in sources:
        response = requests.post(f"{api}/model-versions/create", json={"name": "probe", "source": source}, timeout=30)
        assert 400 <= response.status_code < 500, source
    figure(f"{len(hosts)} foreign hosts, 1 foreign origin, {len(sources)} sources outside: all refused")


def test_every_failed_event_is_kept(cloud: Any, figure: Figure) -> None:
    """An event that raises on each of its three deliveries lies in the failed-events queue, with what was asked."""
    count, functions, sqs = 5, cloud.client("lambda"), cloud.client("sqs")
    for n in range(count):
        event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "number": n}]}
        functions.invoke(
            FunctionName=cloud.outputs["AnalyzeFunction"], InvocationType="Event", Payload=json.dumps(event)
        )
    stored: set[int] = set()

    def all_there() -> bool:
        result = sqs.receive_message(
            QueueUrl=cloud.outputs["FailedEventsQueueUrl"], MaxNumberOfMessages=10, VisibilityTimeout=1
        )
        for message in result.get("Messages", []):
            stored.add(json.loads(message["Body"])["requestPayload"]["Records"][0]["number"])
        return len(stored) == count

    _until(all_there, "the failure records")
    figure(f"{count} events that always fail: {len(stored)} failure records")


def test_a_paused_worker_ends_as_failed(cloud: Any, adult_lines: list[str], figure: Figure) -> None:
    """SIGSTOP to every worker before the job is taken, the deployed state machine with a deadline of 10 s: failed, with the reason.

    The worker goes on afterwards and finishes the job nobody waits for: the end stays the end.
    """
    machines = cloud.client("stepfunctions")
    pids = [local_cloud.worker(cloud.config, number + 1).pid() for number in range(cloud.config.workers)]
    with ExitStack() as stopped:
        for pid in pids:
            assert pid is not None
            stopped.enter_context(paused(pid))
        upload_id = _drop(cloud, "paused.csv", _rows(adult_lines, 20_000, 400))
        record = _until(lambda: (r := _record(cloud, upload_id))["state"] == "training" and r, "the training to start")
        output = machines.describe_state_machine(stateMachineArn=cloud.outputs["StateMachineArn"])
        definition = json.loads(output["definition"])
        _shorten(definition["States"]["TrainModels"]["ItemProcessor"], 10)
        short = machines.create_state_machine(
            name="short-deadline", definition=json.dumps(definition), roleArn=output["roleArn"]
        )["stateMachineArn"]
        key = f"datasets/{record['dataset_id']}/requests/{upload_id}.json"
        stored = cloud.client("s3").get_object(Bucket=cloud.outputs["DataBucket"], Key=key)["Body"].read().decode()
        begun = time.monotonic()
        machines.start_execution(stateMachineArn=short, name=f"short-{upload_id}", input=stored)
        ended = _until(lambda: (r := _record(cloud, upload_id))["state"] == "failed" and r, "the deadline", 120)
        took = time.monotonic() - begun
    assert "Timeout" in ended["reason"]["message"]
    name = ids.execution_name(upload_id)
    arn = f"{cloud.outputs['StateMachineArn'].replace(':stateMachine:', ':execution:')}:{name}"
    _until(lambda: machines.describe_execution(executionArn=arn)["status"] != "RUNNING", "the worker to go on")
    assert _record(cloud, upload_id)["state"] == "failed"
    figure(f"a stopped worker, deadline 10 s: failed after {took:.0f} s with its reason, and stayed so")


def _shorten(processor: dict[str, Any], seconds: int) -> None:
    """Give every deadline of a map's states, and of the maps in it (the tuners of a shared study), so many seconds."""
    for state in processor["States"].values():
        if "TimeoutSeconds" in state:
            state["TimeoutSeconds"] = seconds
        if "ItemProcessor" in state:
            _shorten(state["ItemProcessor"], seconds)


@pytest.mark.promise(6, 17)
def test_the_cloud_comes_back_from_kill_9(cloud: Any, adult_lines: list[str], figure: Figure) -> None:
    """Emulator, MLflow and worker are killed while one upload trains and another has just arrived: both end concluded."""
    first = _drop(cloud, "killed-1.csv", _rows(adult_lines, 21_000, 900))
    _until(lambda: _record(cloud, first)["state"] in {"training", "concluded"}, "the training to start")
    second = _drop(cloud, "killed-2.csv", _rows(adult_lines, 22_000, 600))
    for process in (local_cloud.emulator, local_cloud.worker, local_cloud.mlflow):
        pid = process(cloud.config).pid()
        assert pid is not None
        os.killpg(pid, signal.SIGKILL)
        # Large processes take a moment to die; `up` leaves alone what seems to run.
        _until(lambda p=process: p(cloud.config).pid() is None, "the process to be gone")  # type: ignore[misc]
    begun = time.monotonic()
    local_cloud.up(cloud.config, lambda _what, _seconds: None)
    took = time.monotonic() - begun
    ends = [
        _until(lambda u=u: (r := _record(cloud, u))["state"] == "concluded" and r, "the end") for u in (first, second)
    ]
    assert [r["rows_in"] for r in ends] == [900, 600]
    assert all(r["rows_in"] == r["rows_used"] + r["rows_quarantined"] for r in ends)
    assert _record(cloud, _drop(cloud, "after.csv", table(1)))["state"] in {"unheard", "received", "rejected"}
    figure(f"everything killed at once: up again in {took:.0f} s, 2 of 2 uploads concluded")
