"""rollback, ledger: the way back to an earlier model, and who changed what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dropforge_cli.options import Json, Reason
from dropforge_cli.output import emit_facts, emit_json, emit_table, err
from dropforge_cli.target import Target


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Models"
    app.command(rich_help_panel=panel)(rollout)
    app.command(rich_help_panel=panel)(rollback)
    app.command(rich_help_panel=panel)(history)


def rollout(
    action: Annotated[str, typer.Argument(help="promote or abort")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Promote or abort the canary or shadow deployment (`set-model --canary`, `--shadow`)."""
    body = {"action": action, "reason": reason}
    response = Target.find().api("POST", "/rollout", json=body).json()
    emit_json(response) if json else emit_facts(
        {**response["model"], "action": response["action"], "entry": response["number"]}
    )


def rollback(
    to: Annotated[
        int, typer.Option(help="entry of the deployment history; the model before the active one when left out")
    ] = 0,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Activate an earlier model again, in one call and without MLflow."""
    body: dict[str, Any] = {"reason": reason, **({"to": to} if to else {})}
    response = Target.find().api("POST", "/rollback", json=body).json()
    if json:
        emit_json(response)
        return
    previous = response["previous"]
    emit_facts(
        {**response["model"], "previous": f"{previous['name']}/{previous['version']}", "entry": response["number"]}
    )


def history(
    limit: Annotated[int, typer.Option(help="newest entries")] = 20,
    json: Json = False,
) -> None:
    """Show the deployment history, newest first, and verify its hash chain. Exit code 1 when the chain is broken."""
    response = Target.find().api("GET", f"/history?limit={limit}").json()
    if json:
        emit_json(response)
    else:
        rows = [
            (
                f"{e['number']}{' *' if e['number'] == response['active'] else ''}",
                e["at"],
                e["by"],
                e["action"],
                _version(e["from"]),
                _version(e["to"]),
                e["reason"],
                e["sha256"][:12],
            )
            for e in response["entries"]
        ]
        emit_table(("entry", "at", "by", "action", "from", "to", "reason", "sha256"), rows)
    checked = response["verified"]
    for problem in checked["problems"]:
        err.print(f"broken: {problem}", style="red")
    if not checked["ok"]:
        raise typer.Exit(1)
    if not json:
        err.print(f"entries {checked['first']} to {checked['last']}: the chain holds; {_keys(checked)}")


def _keys(checked: dict[str, Any]) -> str:
    """What the chain proves beyond the order of its entries."""
    if not checked["key"]:
        return "no key is configured, so whoever may write serving/* could have rebuilt it"
    older = f", {checked['unkeyed']} without a MAC (older than the key)" if checked["unkeyed"] else ""
    return f"{checked['keyed']} authenticated by the key{older}"


def _version(identity: dict[str, Any] | None) -> str:
    return f"{identity['name']}/{identity['version']}" if identity else "none"
