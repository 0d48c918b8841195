"""serve: the API without Lambda, on this machine."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from dropforge_cli.output import err
from dropforge_cli.target import Target, project_root

_KEYS = {"key": "API_KEY", "admin": "ADMIN_KEY"}  # what a key opens, the variable that holds it


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(serve)


def serve(port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 8080) -> None:
    """Serve the whole API over plain HTTP with the Lambda handlers, until Ctrl-C.

    The keys of callers and of administration are API_KEY and ADMIN_KEY of the environment; a missing one is generated and printed.
    """
    from dropforge_cli import local_server

    target = Target.find()
    given = {k.upper(): v for k, v in variables(target).items() if v}
    os.environ.update(given)  # the handlers read the environment, as on Lambda
    # No options: everybody on this machine can read command lines.
    keys = {name: os.environ.get(variable) or secrets.token_urlsafe(24) for name, variable in _KEYS.items()}
    running = local_server.Server(("127.0.0.1", port), local_server.load(project_root() / "functions"), keys)
    err.print(
        f"http://127.0.0.1:{running.port}   x-api-key: {keys['key']}   administration: {keys['admin']}",
        markup=False,
    )
    running.run()


def variables(target: Target) -> dict[str, str]:
    """Of the process that answers: the environment of the functions, by the fields' names."""
    env = target.environment
    given = {
        "data_bucket": env.data_bucket,
        "artifact_bucket": env.artifact_bucket,
        "mlflow_tracking_uri": env.mlflow_tracking_uri,
        "state_machine_arn": env.state_machine_arn,
        "training_queue_url": env.training_queue_url,
        "python_function": env.python_function,
        "history_key": env.history_key,
        "aws_endpoint_url": env.aws_endpoint_url,
        "aws_region": env.aws_region,
    }
    return {**given, **{name.lower(): value for name, value in target.account.items()}}
