"""Workflow on Step Functions."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from dropforge.adapters.aws_client import translated

CAUSE_CHARACTERS = 2_000
# A token is gone when its task was answered, timed out, or its execution ended. The wire name differs by implementation.
_GONE = {"TaskDoesNotExist", "TaskTimedOut", "InvalidToken"}


class StepFunctionsWorkflow:
    """Workflow on Step Functions."""

    def __init__(self, client: Any, state_machine_arn: str) -> None:
        self._sfn = client
        self._arn = state_machine_arn

    def start(self, name: str, payload: str) -> bool:
        with translated(f"execution {name}"):
            try:
                self._sfn.start_execution(stateMachineArn=self._arn, name=name, input=payload)
            except ClientError as error:
                # Same name: the same upload was started before. On AWS only closed executions raise this.
                if error.response["Error"]["Code"] == "ExecutionAlreadyExists":
                    return False
                raise
        return True

    def status(self, name: str) -> str:
        arn = f"{self._arn.replace(':stateMachine:', ':execution:', 1)}:{name}"
        with translated(f"execution {name}"):
            try:
                return str(self._sfn.describe_execution(executionArn=arn)["status"])
            except ClientError as error:
                if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
                    return ""
                raise

    def succeed(self, token: str, output: str) -> bool:
        return self._say("send_task_success", taskToken=token, output=output)

    def fail(self, token: str, error: str, cause: str) -> bool:
        # The service takes 256 and 32,768 characters; but the causes of all jobs go to `conclude` in one payload of 256 KB.
        return self._say("send_task_failure", taskToken=token, error=error[:256], cause=cause[:CAUSE_CHARACTERS])

    def heartbeat(self, token: str) -> bool:
        return self._say("send_task_heartbeat", taskToken=token)

    def _say(self, call: str, **arguments: str) -> bool:
        with translated("task token"):
            try:
                getattr(self._sfn, call)(**arguments)
            except ClientError as error:
                if error.response["Error"]["Code"] in _GONE:
                    return False
                raise
        return True
