"""Which system a command speaks to: the local cloud of this project, or a deployed stack."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropforge.adapters import sigv4
from dropforge.api import routes
from dropforge.environment import Environment
from dropforge.errors import Conflict, DropforgeError, InvalidRequest, NotFound, PermanentError, Unavailable

if TYPE_CHECKING:
    import requests

SETTINGS_FILE = "settings.yaml"
HOME_VARIABLE = "DROPFORGE_HOME"
STACK_VARIABLE = "DROPFORGE_STACK"
API_VARIABLE = "DROPFORGE_API_URL"  # where a stack's API answers under another name than API Gateway's own
_KEY_RESOURCE = "ApiApiKey"  # as SAM names the key of template.yaml's Api


def project_root(start: Path | None = None) -> Path:
    """The nearest folder above with a settings.yaml: a checkout's own, or one `dropforge init` made.

    Raises PermanentError outside a project.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / SETTINGS_FILE).exists():
            return folder
    raise PermanentError(
        f"{here} is not in a Dropforge project",
        code="no_project",
        fix="change to the folder that has settings.yaml, or make one: dropforge init my.csv",
    )


def home(root: Path) -> Path:
    """Where the local cloud keeps its state: DROPFORGE_HOME, else .dropforge in the project."""
    return Path(os.environ.get(HOME_VARIABLE) or root / ".dropforge").resolve()


@dataclass(frozen=True, slots=True)
class Target:
    """A running system by its outputs."""

    outputs: Mapping[str, str]

    @classmethod
    def find(cls) -> Target:
        """The stack DROPFORGE_STACK names on AWS, else the local cloud. Raises PermanentError when it does not run."""
        stack = os.environ.get(STACK_VARIABLE)
        if stack:
            return cls(_stack_outputs(stack))
        path = home(project_root()) / "outputs.json"
        try:
            return cls(json.loads(path.read_text()))
        except OSError:
            raise PermanentError(
                "the local cloud does not run", code="not_running", fix="start it: dropforge up"
            ) from None

    @property
    def local(self) -> bool:
        """Whether it is the local cloud."""
        return bool(self.outputs.get("EndpointUrl"))

    @property
    def account(self) -> dict[str, str]:
        """Credentials of the local cloud's root account as the AWS tools' variables; empty on AWS, where they find their own."""
        if not self.local:
            return {}
        try:
            return {
                "AWS_ACCESS_KEY_ID": self.outputs["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": self.outputs["SecretAccessKey"],
            }
        except KeyError:
            raise PermanentError(
                "the local cloud was started by an older version", code="restart_required", fix="dropforge up"
            ) from None

    @property
    def environment(self) -> Environment:
        """Variables for programs that talk to the system."""
        return Environment(
            data_bucket=self.outputs["DataBucket"],
            artifact_bucket=self.outputs["ArtifactBucket"],
            mlflow_tracking_uri=self.outputs["MlflowUrl"],
            state_machine_arn=self.outputs["StateMachineArn"],
            training_queue_url=self.outputs["TrainingQueueUrl"],
            aws_endpoint_url=self.outputs.get("EndpointUrl", ""),
            aws_region=self.outputs["Region"],
            python_function=self.outputs.get("PredictPythonFunction", ""),
            history_key=self.outputs.get("HistoryKey", ""),
        )

    def client(self, service: str, *, timeout: int = 0) -> Any:
        """A boto3 client of this system; on the local cloud with its root account. `timeout`: seconds to wait for one answer."""
        import boto3
        from botocore.config import Config

        patient: dict[str, Any] = {"read_timeout": timeout, "retries": {"max_attempts": 0}} if timeout else {}
        local = {
            "endpoint_url": self.outputs["EndpointUrl"],
            **{name.lower(): value for name, value in self.account.items()},
            "config": Config(
                s3={"addressing_style": "path"}, signature_version="s3v4" if service == "s3" else None, **patient
            ),
        }
        aws = {"config": Config(**patient)} if patient else {}
        return boto3.client(service, region_name=self.outputs["Region"], **(local if self.local else aws))

    def api(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Call the API. Raises the error the API tells, Unavailable when nobody answers."""
        answer = self.call(method, path, **arguments)
        if answer.status_code < 400:
            return answer
        raise _error_of(answer)

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """The API's answer, whatever it is; asked with the key where that is enough, else signed. Raises Unavailable."""
        import requests

        try:
            with requests.Session() as session:
                call = session.prepare_request(requests.Request(method, self.outputs["ApiUrl"] + path, **arguments))
                self._authorise(call, path)
                settings = session.merge_environment_settings(call.url, {}, None, None, None)
                return session.send(call, timeout=35, **settings)
        except requests.RequestException as error:
            raise Unavailable(
                f"the API does not answer: {error}", code="api_unreachable", fix="see `dropforge status`"
            ) from None

    def _authorise(self, call: requests.PreparedRequest, path: str) -> None:
        if routes.required_access(str(call.method), path) == "key":
            call.headers["x-api-key"] = self.outputs["ApiKey"]
            return
        given = call.body if isinstance(call.body, bytes) else (call.body or "").encode()
        signer = sigv4.Signer(self.outputs["Region"], sigv4.credentials(*self.account.values()))
        call.headers.update(signer.sign(str(call.method), str(call.url), {}, given))


def _error_of(answer: requests.Response) -> DropforgeError:
    try:
        response = answer.json()
    except ValueError:
        response = {}
    kind = {404: NotFound, 409: Conflict}.get(
        answer.status_code, InvalidRequest if answer.status_code < 500 else Unavailable
    )
    message = response.get("message") or f"the API answered {answer.status_code}: {answer.text[:200]}"
    return kind(
        message,
        code=response.get("code", f"http_{answer.status_code}"),
        fix=response.get("fix", "see `dropforge logs`"),
    )


def _stack_outputs(stack: str) -> dict[str, str]:
    import boto3

    described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    matches = {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", ())}
    if os.environ.get(API_VARIABLE):
        matches["ApiUrl"] = os.environ[API_VARIABLE].rstrip("/")
    return {**matches, "ApiKey": _api_key(stack), "FrontendUrl": "", "EndpointUrl": "", "StackName": stack}


def _api_key(stack: str) -> str:
    """Value of the key that SAM made for the API; empty when there is none."""
    import boto3

    listed = boto3.client("cloudformation").describe_stack_resources(StackName=stack, LogicalResourceId=_KEY_RESOURCE)
    for resource in listed["StackResources"]:
        if resource["LogicalResourceId"] == _KEY_RESOURCE:
            key = boto3.client("apigateway").get_api_key(apiKey=resource["PhysicalResourceId"], includeValue=True)
            return str(key["value"])
    return ""
