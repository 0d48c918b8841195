"""projects: the local clouds that run on this machine, or the stacks of an account."""

from __future__ import annotations

import json as documents
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from dropforge_cli.commands.deploy import PROJECT_TAG
from dropforge_cli.options import Json
from dropforge_cli.output import emit_json, emit_table, say


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel="Local cloud")(projects)


def projects(
    aws: Annotated[bool, typer.Option("--aws", help="the stacks of the account that the AWS profile names")] = False,
    region: Annotated[str, typer.Option(help="with --aws; that of the profile when left out")] = "",
    json: Json = False,
) -> None:
    """List your projects: local clouds that run on this machine with their addresses, or the stacks of an AWS account.

    Each project has a local cloud, or a stack, of its own; `dropforge up` takes ports that are free.
    """
    found = list(_deployed(_client(region)) if aws else _running())
    if json:
        emit_json({"projects": found})
    elif not found:
        say(
            f"no stack has the tag {PROJECT_TAG}"
            if aws
            else "no local cloud runs on this machine: dropforge up starts one"
        )
    else:
        emit_table(tuple(found[0]), [tuple(p.values()) for p in found])


def _running() -> Iterator[dict[str, str]]:
    """By the folders that their emulators work on; those of other users cannot be seen."""
    from dropforge_local import layout, processes

    for home in sorted(processes.working_folders("dropforge_local.emulator")):
        try:
            outputs = documents.loads((home / "outputs.json").read_text())
            name = (home / "project").read_text().strip()
        except (OSError, ValueError):  # it starts or stops now
            continue
        port, mlflow_port, _ = layout.last_ports(home)
        yield {
            "project": name,
            "folder": str(home.parent if home.name == ".dropforge" else home),
            "web app": str(outputs.get("FrontendUrl", "")),
            "endpoint": f"http://127.0.0.1:{port}",
            "mlflow": f"http://127.0.0.1:{mlflow_port}",
        }


def _deployed(cloudformation: Any) -> Iterator[dict[str, str]]:
    """Stacks with the tag of a project, but for those of their packages, which have no data bucket."""
    for page in cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            name = {t["Key"]: t["Value"] for t in stack.get("Tags", ())}.get(PROJECT_TAG)
            outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", ())}
            if name is None or "DataBucket" not in outputs:
                continue
            yield {
                "project": name,
                "stack": stack["StackName"],
                "status": stack["StackStatus"],
                "changed": str(stack.get("LastUpdatedTime", stack["CreationTime"]))[:19],
                "api": outputs.get("ApiUrl", ""),
            }


def _client(region: str) -> Any:
    import boto3

    return boto3.client("cloudformation", **({"region_name": region} if region else {}))
