"""up, down, status, outputs, apply: the local cloud."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dropforge.errors import DropforgeError
from dropforge_cli.output import emit_facts, emit_json, err, say
from dropforge_cli.target import Target, home, project_root

Port = Annotated[int, typer.Option(help="port of the emulated AWS", envvar="DROPFORGE_PORT")]
MlflowPort = Annotated[int, typer.Option(help="port of the MLflow server", envvar="DROPFORGE_MLFLOW_PORT")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    panel = "Local cloud"
    app.command(rich_help_panel=panel)(up)
    app.command(rich_help_panel=panel)(down)
    app.command(rich_help_panel=panel)(status)
    app.command(rich_help_panel=panel)(outputs)
    app.command("apply", rich_help_panel=panel)(apply)


def config_of(port: int = 4566, mlflow_port: int = 5500, workers: int = 1) -> Any:
    from dropforge_local.layout import Config

    root = project_root()
    return Config(root=root, home=home(root), port=port, mlflow_port=mlflow_port, workers=workers)


def progress(what: str, seconds: float) -> None:
    err.print(f"[green]✓[/green] {what} [dim]{seconds:.1f} s[/dim]")


def up(
    port: Port = 4566,
    mlflow_port: MlflowPort = 5500,
    workers: Annotated[int, typer.Option(help="training workers", min=1, max=16)] = 1,
    json: Json = False,
) -> None:
    """Start the local cloud, deploy what changed, apply settings.yaml. Safe to repeat."""
    from dropforge_local import cloud

    err.print("[dim]starting the local cloud (the MLflow server takes longest)[/dim]")
    found = cloud.up(config_of(port, mlflow_port, workers), progress)
    if json:
        emit_json(found)
    else:
        emit_facts({k: found[k] for k in ("ApiUrl", "ApiKey", "MlflowUrl", "DataBucket")})


def down(json: Json = False) -> None:
    """Stop what `up` started. Data stay in .dropforge and are there at the next start."""
    from dropforge_local import cloud

    stopped = cloud.down(config_of(), progress)
    if json:
        emit_json({"stopped": stopped})
    elif not stopped:
        say("nothing was running")


def status(json: Json = False) -> None:
    """What runs, and what the system says of its health. Exit code 1 when a part is down."""
    from dropforge_local import cloud

    try:
        known = Target.find().outputs
        port, mlflow_port = int(known["EndpointUrl"].rpartition(":")[2]), int(known["MlflowUrl"].rpartition(":")[2])
    except DropforgeError:  # nothing runs: the default ports are asked
        port, mlflow_port = 4566, 5500
    found = cloud.status(config_of(port, mlflow_port))
    emit_json(found) if json else emit_facts(found)
    if set(found.values()) & {"stopped", "unknown"}:
        raise typer.Exit(1)


def outputs(json: Json = False) -> None:
    """Addresses and names of the running system."""
    found = dict(Target.find().outputs)
    emit_json(found) if json else emit_facts(found)


def apply(json: Json = False) -> None:
    """Validate settings.yaml and put it in force; nothing is restarted."""
    from dropforge import bootstrap, settings_store
    from dropforge.adapters.s3 import S3Store

    target = Target.find()
    world = bootstrap.World(target.environment)
    text = (project_root() / "settings.yaml").read_bytes()
    parsed = settings_store.apply(S3Store(target.client("s3")), world.env.data_bucket, text)
    emit_json({"sha256": parsed.sha256}) if json else say(f"in force: settings {parsed.sha256[:12]}")
