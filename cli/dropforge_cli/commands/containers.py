"""env, relay: what other programs and containers need to work with the running system."""

from __future__ import annotations

import secrets
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, err
from dropforge_cli.target import Target

MOUNTED = Path("/run/dropforge")


class Program(StrEnum):
    """Who is to be started."""

    SHELL = "shell"
    WORKER = "worker"
    API = "api"
    SAM = "sam"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("env", rich_help_panel="Operations")(env)
    app.command(rich_help_panel="Operations")(relay)


def env(
    program: Annotated[
        Program,
        typer.Argument(
            help='shell: for `eval "$(dropforge env)"`; worker, api: for `docker run --env-file`; sam: for `sam local … --env-vars`'
        ),
    ] = Program.SHELL,
    json: Json = False,
) -> None:
    """Print the variables by which the AWS tools or a container reach the running system, its credentials among them."""
    target = Target.find()
    if program is Program.SAM:
        emit_json({"Parameters": for_sam(target)})
        return
    given = {Program.WORKER: for_worker, Program.API: for_api, Program.SHELL: for_shell}[program](target)
    if json:
        emit_json(given)
        return
    if program is Program.SHELL:
        given = {f"export {name}": shlex.quote(value) for name, value in given.items()}
    sys.stdout.writelines(f"{name}={value}\n" for name, value in given.items())


def relay() -> None:
    """Let this machine's containers reach the local cloud by the name host.docker.internal. Ends with Ctrl-C."""
    from dropforge_local import relay as relaying

    outputs = Target.find().outputs
    ports = [int(urlsplit(outputs[name]).port or 80) for name in ("EndpointUrl", "MlflowUrl")]

    def announce(where: relaying.Bridge) -> None:
        err.print(f"containers reach {' and '.join(f'{where.address}:{p}' for p in ports)}", markup=False)

    relaying.serve(ports, announce)


def for_worker(target: Target) -> dict[str, str]:
    """For the image of training/Dockerfile, on the host's network when the system is local.

    The profile in MOUNTED is that of the training role: .dropforge/task of the local cloud.
    """
    from dropforge_local import profiles

    who = profiles.variables(MOUNTED) if target.local else {}
    return {**_common(target), **who, "STATE_MACHINE_ARN": target.environment.state_machine_arn}


def for_api(target: Target) -> dict[str, str]:
    """For the image of functions/Dockerfile; its keys are made here."""
    keys = {"API_KEY": secrets.token_urlsafe(24), "ADMIN_KEY": secrets.token_urlsafe(24)}
    local = {**target.account, "API_HOST": "127.0.0.1"} if target.local else {}
    return {**_common(target), **keys, **local}


def for_shell(target: Target) -> dict[str, str]:
    """For the AWS CLI, boto3 and MLflow's client. On AWS they find their credentials themselves."""
    result, region = target.environment, target.outputs["Region"]
    local = {"AWS_ENDPOINT_URL": result.aws_endpoint_url, "MLFLOW_S3_ENDPOINT_URL": result.aws_endpoint_url}
    given = {**target.account, **(local if target.local else {}), "AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    return {**given, "MLFLOW_TRACKING_URI": result.mlflow_tracking_uri}


def for_sam(target: Target) -> dict[str, str]:
    """For functions in `sam local`; they reach a local system through `dropforge relay`."""
    from dropforge_local.relay import HOST_NAME

    given = {**_common(target), "STATE_MACHINE_ARN": target.environment.state_machine_arn}
    given = {k: v for k, v in given.items() if k != "AWS_REGION"}
    return {k: v.replace("127.0.0.1", HOST_NAME) for k, v in given.items()} if target.local else given


def _common(target: Target) -> dict[str, str]:
    result = target.environment
    given = {
        "AWS_ENDPOINT_URL": result.aws_endpoint_url,
        "AWS_REGION": result.aws_region,
        "DATA_BUCKET": result.data_bucket,
        "ARTIFACT_BUCKET": result.artifact_bucket,
        "MLFLOW_TRACKING_URI": result.mlflow_tracking_uri,
        "TRAINING_QUEUE_URL": result.training_queue_url,
        "PYTHON_FUNCTION": result.python_function,
        "LOG_GROUP_PREFIX": target.outputs.get("LogGroupPrefix", ""),
    }
    return {k: v for k, v in given.items() if v}
