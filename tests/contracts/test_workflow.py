"""The project's own state machine where one is executed: moto's server, and an emulator at AWS_ENDPOINT_URL.

Jobs leave by the queue with their tokens, and the adapter answers them.
"""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dropforge.adapters.aws_client import client
from dropforge.adapters.sqs_queue import SqsQueue
from dropforge.adapters.step_functions import StepFunctionsWorkflow
from dropforge.environment import Environment
from dropforge.messages import ConcludeRequest, JobResult, TrainingJob, TrainingRequest, TuneResult
from dropforge_local.packaging import definition_json

from .conftest import EXTERNAL

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(params=["moto_server", *EXTERNAL])
def line(request: pytest.FixtureRequest) -> tuple[StepFunctionsWorkflow, SqsQueue, Any]:
    """statemachine/training.asl.yaml for the queue, the queue, and a client of the service."""
    env: Environment = request.getfixturevalue(request.param)
    sqs, functions, steps = (client(name, env) for name in ("sqs", "lambda", "stepfunctions"))
    queue = sqs.create_queue(QueueName="workflow-jobs")["QueueUrl"]
    role = client("iam", env).create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", "")
    function = functions.create_function(
        FunctionName="f", Runtime="python3.13", Role=role, Handler="app.handler", Code={"ZipFile": code.getvalue()}
    )["FunctionArn"]
    values = {
        "TrainingCompute": "queue", "MaxConcurrency": "3", "ShardsAtOnce": "3", "TrainingQueueUrl": queue, "Partition": "aws",
        "ConcludeFunctionArn": function, "AnalyzeFunctionArn": function, "BatchFunctionArn": function,
    }  # fmt: skip
    text = definition_json(ROOT / "statemachine" / "training.asl.yaml").decode()
    definition = re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], "-"), text)
    machine = steps.create_state_machine(name="training", definition=definition, roleArn=role)["stateMachineArn"]
    return StepFunctionsWorkflow(steps, machine), SqsQueue(sqs, queue), steps


def _job(queue: SqsQueue) -> TrainingJob:
    message = queue.receive(wait_seconds=10, visibility_seconds=60)
    assert message is not None
    queue.delete(message.receipt)
    return TrainingJob.parse(message.body)


def _concluding(steps: Any, machine: str, name: str) -> dict[str, Any]:
    """What the execution hands to conclude."""
    execution = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
    for _ in range(200):
        for event in steps.get_execution_history(executionArn=execution)["events"]:
            entered = event.get("stateEnteredEventDetails", {})
            if entered.get("name") == "Conclude":
                value: dict[str, Any] = json.loads(entered["input"])
                return value
        time.sleep(0.05)
    raise AssertionError("the execution does not come to its conclusion")


def test_a_study_of_two_workers_comes_to_its_conclusion(line: tuple[StepFunctionsWorkflow, SqsQueue, Any]) -> None:
    """Two tuners, one of which fails, then the job that fits: each by its own token; conclude gets the result."""
    workflow, queue, steps = line
    request = TrainingRequest.parse((GOLDEN / "TrainingRequest.json").read_bytes())
    job = request.jobs[0].model_copy(update={"workers": (1, 2), "role": "all"})
    payload = request.model_copy(update={"jobs": (job,)}).json_text()
    assert workflow.status("upload-1") == ""
    assert workflow.start("upload-1", payload)
    assert workflow.status("upload-1") == "RUNNING"
    tuners = [_job(queue), _job(queue)]
    assert {(t.role, t.worker) for t in tuners} == {("tune", 1), ("tune", 2)}
    assert len({t.task_token for t in tuners}) == 2
    assert workflow.succeed(tuners[0].task_token, TuneResult(model=job.model, worker=1, trials=3).json_text())
    assert workflow.fail(tuners[1].task_token, "JobFailed", "out of memory")
    assert not workflow.heartbeat("of nobody")
    last = _job(queue)
    assert last.role == "finish"
    result = JobResult.parse((GOLDEN / "JobResult.json").read_bytes())
    assert workflow.succeed(last.task_token, result.json_text())
    handed = _concluding(steps, steps.list_state_machines()["stateMachines"][0]["stateMachineArn"], "upload-1")
    outcome = ConcludeRequest.parse({"request": json.loads(payload), "outcomes": handed["outcomes"]}).outcomes[0]
    assert (outcome.model, outcome.result) == (job.model, result)
