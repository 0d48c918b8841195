"""up, down, status, outputs, apply: the local cloud."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dropforge import keys
from dropforge_cli.options import Json
from dropforge_cli.output import done, emit_facts, emit_json, err, out, say
from dropforge_cli.target import SETTINGS_FILE, STACK_VARIABLE, Target, home, project_root
from dropforge_local import layout


class Compute(StrEnum):
    """Where training runs: the template's TrainingCompute."""

    QUEUE = "queue"
    FARGATE = "fargate"


class Emulator(StrEnum):
    """Who starts the emulated AWS."""

    OWN = "own"
    EXTERNAL = "external"
    CONTAINERS = "external-containers"  # and it runs functions in Docker


Port = Annotated[
    int | None,
    typer.Option(
        help=f"port of the emulated AWS; that of the last start, else {layout.PORT}, or the next free one",
        envvar="DROPFORGE_PORT",
    ),
]
MlflowPort = Annotated[
    int | None,
    typer.Option(
        help=f"port of the MLflow server; that of the last start, else {layout.MLFLOW_PORT}, or the next free one",
        envvar="DROPFORGE_MLFLOW_PORT",
    ),
]
UiPort = Annotated[
    int | None,
    typer.Option(
        help=f"port of the web app; that of the last start, else {layout.UI_PORT}, or the next free one",
        envvar="DROPFORGE_UI_PORT",
    ),
]
NoUi = Annotated[bool, typer.Option("--no-ui", help="start no web app")]
ComputeChoice = Annotated[
    Compute | None,
    typer.Option(help="queue: the local worker trains; fargate: a container for each job; as at the last start"),
]


_ENDINGS = {signal.SIGINT, signal.SIGTERM}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Local cloud"
    app.command(rich_help_panel=panel)(up)
    app.command(rich_help_panel=panel)(down)
    app.command(rich_help_panel=panel)(status)
    app.command(rich_help_panel=panel)(outputs)
    app.command("apply", rich_help_panel=panel)(apply)


@dataclass(frozen=True, slots=True)
class CloudOptions:
    """Options of a start; None: as at the last one. `no_ui`: whether the web app is left out."""

    port: int | None = None
    mlflow_port: int | None = None
    workers: int | None = None
    ui_port: int | None = None
    no_ui: bool | None = None
    compute: str | None = None
    image: str | None = None
    emulator: Emulator | None = None


def config_of(options: CloudOptions) -> Any:
    """The local cloud of the project we are in. What is not given is as at its last start, else as usual."""
    from dropforge_local.layout import (
        PROJECT,
        UI_PORT,
        Config,
        checkout,
        last_compute,
        last_ports,
        usual_workers,
    )

    folder = project_root()
    stored = home(folder)
    settings = folder / SETTINGS_FILE
    named = PROJECT if (folder / "template.yaml").exists() else _project(settings)
    last_port, last_mlflow_port, last_ui_port = last_ports(stored)
    last_where, last_image = last_compute(stored)
    page, no_ui = options.ui_port or last_ui_port, options.no_ui
    return Config(
        root=checkout(folder),
        home=stored,
        port=options.port or last_port,
        mlflow_port=options.mlflow_port or last_mlflow_port,
        workers=options.workers or usual_workers(),
        ui_port=page if no_ui is None else 0 if no_ui else page or UI_PORT,
        settings=settings,
        project=named,
        compute=options.compute or last_where,
        image=options.image or last_image,
        **_emulator(stored, options.emulator),
    )


def ports_given(port: int | None, mlflow_port: int | None, ui_port: int | None) -> set[str]:
    """Names of the ports that the command line gives."""
    given = {"port": port, "mlflow_port": mlflow_port, "ui_port": ui_port}
    return {name for name, value in given.items() if value}


def start(config: Any, fixed: set[str], run: Callable[[Any], dict[str, str]]) -> tuple[Any, dict[str, str]]:
    """Run a start on free ports, but for the `fixed` ones; what it gave, and the configuration with the ports."""
    from dropforge_local import ports

    def remark(text: str) -> None:
        err.print(text, style="dim")

    with ports.one_at_a_time(remark):
        config = ports.chosen(config, fixed, remark)
        return config, run(config)


def _emulator(stored: Path, emulator: Emulator | None) -> dict[str, Any]:
    """The part of the configuration that names an emulator of somebody else; empty for the local cloud's own."""
    external = layout.last_external(stored)
    functions = layout.last_functions(stored)
    if emulator is not None:
        external = "" if emulator is Emulator.OWN else layout.external_endpoint(os.environ)
        functions = layout.CONTAINER if emulator is Emulator.CONTAINERS else layout.PROCESS
    if not external:
        return {}
    return {
        "external": external,
        "foreign_credentials": layout.foreign_account(os.environ),
        "functions": functions,
    }


def _project(file: Path) -> str:
    """The project settings.yaml names; the stack has no other name."""
    from dropforge.config import settings

    return settings.load(file.read_bytes(), file.name).project


def up(
    port: Port = None,
    mlflow_port: MlflowPort = None,
    workers: Annotated[
        int | None, typer.Option(help="training workers; else one a core, two at most", min=1, max=16)
    ] = None,
    ui_port: UiPort = None,
    no_ui: NoUi = False,
    compute: ComputeChoice = None,
    image: Annotated[str | None, typer.Option(help="image of training/Dockerfile; fargate only")] = None,
    emulator: Annotated[
        Emulator | None,
        typer.Option(
            help="external: use the one at AWS_ENDPOINT_URL, start only MLflow and workers; "
            "external-containers: one that runs functions in Docker; as at the last start"
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="stay, and stop it all at Ctrl-C or SIGTERM")] = False,
    json: Json = False,
) -> None:
    """Start the local cloud, deploy what changed, apply settings.yaml. Safe to repeat."""
    from dropforge_local import cloud

    config = config_of(CloudOptions(port, mlflow_port, workers, ui_port, no_ui, compute, image, emulator))
    err.print("starting the local cloud (the MLflow server takes longest)", style="dim")
    config, result = start(config, ports_given(port, mlflow_port, ui_port), lambda chosen: cloud.up(chosen, done))
    if json:
        emit_json(result)
    else:
        emit_facts({k: result[k] for k in ("FrontendUrl", "ApiUrl", "ApiKey", "MlflowUrl", "DataBucket") if result[k]})
    if wait:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        signal.sigwait(_ENDINGS)
        cloud.down(config, done)


def down(json: Json = False) -> None:
    """Stop what `up` started. Data stay in .dropforge and are there at the next start."""
    from dropforge_local import cloud

    stopped = cloud.down(config_of(CloudOptions()), done)
    if json:
        emit_json({"stopped": stopped})
    elif not stopped:
        say("nothing was running")


def status(json: Json = False) -> None:
    """What runs, locally or of the stack DROPFORGE_STACK names, and how far each training is. Exit code 1 when a part is down."""
    if os.environ.get(STACK_VARIABLE):
        from dropforge_cli import deployed

        result = deployed.parts(Target.find())
        answers = result["api"]
    else:
        from dropforge_local import cloud

        result = cloud.status(config_of(CloudOptions()))
        answers = result["emulator"]
    running = None if answers in {"stopped", "unknown"} else _trainings()
    emit_json({**result, "trainings": running}) if json else _print_status(result, running)
    if set(result.values()) & {"stopped", "unknown"}:
        raise typer.Exit(1)


def _trainings() -> list[dict[str, Any]] | None:
    from dropforge.errors import DropforgeError
    from dropforge_cli.progress import trainings

    try:
        return trainings(Target.find())
    except DropforgeError:
        return None  # the API does not answer, or `up` has not come that far; which part is down is told beside it


def _print_status(facts: dict[str, str], running: list[dict[str, Any]] | None) -> None:
    """The parts; then each model of each upload in training."""
    from dropforge_cli.progress import words

    emit_facts({**facts, "trainings": "unknown" if running is None else len(running) or "none"})
    for upload in running or ():
        out.print(f"\n{upload['upload_id']}  {upload['key'].removeprefix(keys.INCOMING)}")
        for p in upload["models"]:
            out.print(f"  {p['model']}: {words(p)}")


def outputs(json: Json = False) -> None:
    """Addresses and names of the running system."""
    matches = dict(Target.find().outputs)
    emit_json(matches) if json else emit_facts(matches)


def apply(json: Json = False) -> None:
    """Validate settings.yaml and apply it; nothing is restarted."""
    from dropforge import app_context
    from dropforge.adapters.s3_store import S3Store
    from dropforge.config import settings_store
    from dropforge_local.lifecycle import BucketLifecycle

    target = Target.find()
    world = app_context.AppContext(target.environment)
    text = (project_root() / SETTINGS_FILE).read_bytes()
    parsed = settings_store.apply(S3Store(target.client("s3")), world.env.data_bucket, text)
    BucketLifecycle(target.client("s3")).apply(world.env.data_bucket, parsed.retention.model_dump())
    emit_json({"sha256": parsed.sha256}) if json else say(f"in force: settings {parsed.sha256[:12]}")
