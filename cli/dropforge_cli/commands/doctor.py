"""doctor: everything that can be wrong with a set-up, each with its fix."""

from __future__ import annotations

import typer

from dropforge import keys
from dropforge.errors import DropforgeError, NotFound
from dropforge_cli import checks
from dropforge_cli.checks import Finding
from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, out
from dropforge_cli.target import Target, home, project_root
from dropforge_local import layout

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "bad": ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Operations")(doctor)


def doctor(json: Json = False) -> None:
    """Find what is wrong, locally or with the stack DROPFORGE_STACK names. Exit code 1 when something is."""
    findings = examine()
    if json:
        emit_json([f.as_dict() for f in findings])
    else:
        _show(findings)
    if any(f.level == "bad" for f in findings):
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Machine first, then the system from the ground up; what depends on a part that is down is not asked."""
    root = project_root()
    result = checks.run("machine", checks.machine(root, home(root)))
    try:
        target = Target.find()
    except DropforgeError as error:
        result += [Finding("system", "bad", error.message, error.fix)]
        result += checks.run("ports", checks.ports({"--port": layout.PORT, "--mlflow-port": layout.MLFLOW_PORT}))
        return result + checks.run("settings", checks.settings_file(root, None))
    except Exception as error:
        fix = "check the credentials (aws sts get-caller-identity), the region and DROPFORGE_STACK"
        return [*result, Finding("system", "bad", f"the stack does not respond: {error}", fix)]
    if target.local:
        result += checks.run("local cloud", checks.local_parts(_local_status(target)))
        if any(f.check == "emulator" and f.level == "bad" for f in result):
            return result
    result += checks.run("stack", checks.stack(target))
    result += checks.run("settings", checks.settings_file(root, _in_force(target)))
    for name, check in (
        ("predict", checks.served_version),
        ("queues", checks.queues),
        ("health", checks.health),
        ("uploads", checks.failures),
        ("logs", checks.errors),
        ("alarms", checks.alarms),
    ):
        result += checks.run(name, check(target))
    return result


def _local_status(target: Target) -> dict[str, str]:
    from dropforge_cli.commands.cloud import CloudOptions, config_of
    from dropforge_local import cloud

    port = int(target.outputs["EndpointUrl"].rpartition(":")[2])
    mlflow_port = int(target.outputs["MlflowUrl"].rpartition(":")[2])
    return cloud.status(config_of(CloudOptions(port, mlflow_port)))


def _in_force(target: Target) -> bytes | None:
    from dropforge.adapters.s3_store import S3Store

    try:
        return S3Store(target.client("s3")).get(keys.settings(target.outputs["DataBucket"])).body
    except NotFound:
        return b""


def _show(findings: list[Finding]) -> None:
    width = max(len(f.check) for f in findings)
    for f in findings:
        mark, colour = _MARKS[f.level]
        out.print(mark, style=colour, end=" ")
        out.print(f"{f.check:<{width}}  {f.result}", markup=False)
        if f.fix:
            out.print(f"  {'':<{width}}  fix: {f.fix}", markup=False, style="bold")
    wrong = sum(f.level == "bad" for f in findings)
    out.print("all is well" if not wrong else f"{wrong} things are wrong", markup=False)
