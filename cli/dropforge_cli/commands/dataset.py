"""dataset: what training reads, and decisions about it. Carried out by the system within seconds; nothing is deleted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dropforge_cli.options import Json, Reason
from dropforge_cli.output import emit_facts, emit_json, emit_table, say
from dropforge_cli.target import Target

DatasetId = Annotated[str, typer.Argument(help="dataset id, as `dropforge dataset list` shows it")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Accepted datasets: list, revoke, restore, change the reference.", no_args_is_help=True)
    group.command("list")(listed)
    group.command()(revoke)
    group.command()(restore)
    group.command("set-reference")(set_reference)
    app.add_typer(group, name="dataset", rich_help_panel="Data")


def listed(json: Json = False) -> None:
    """List accepted datasets, newest first, with the decisions about them."""
    response = Target.find().api("GET", "/datasets").json()["datasets"]
    if json:
        emit_json(response)
        return
    rows = [
        (d["dataset_id"], d["upload_id"], d["accepted_at"], "reference" if d["reference"] else d["revoked"] or "in use")
        for d in response
    ]
    emit_table(("dataset", "upload", "accepted", "use"), rows)


def revoke(dataset_id: DatasetId, reason: Reason = "", json: Json = False) -> None:
    """Exclude a dataset from later trainings, and retrain without it. The reference cannot be revoked."""
    _decide(dataset_id, "revoke", reason, json=json)


def restore(dataset_id: DatasetId, reason: Reason = "", json: Json = False) -> None:
    """Use a revoked dataset again, and retrain with it."""
    _decide(dataset_id, "restore", reason, json=json)


def set_reference(dataset_id: DatasetId, reason: Reason = "", json: Json = False) -> None:
    """Compare later uploads with this dataset."""
    _decide(dataset_id, "set_reference", reason, json=json)


def _decide(dataset_id: str, action: str, reason: str, *, json: bool) -> None:
    body = {"action": action, "reason": reason}
    decision: dict[str, Any] = Target.find().api("POST", f"/datasets/{dataset_id}", json=body).json()
    emit_json(decision) if json else emit_facts(decision)
    say("recorded; `dropforge dataset list` and `dropforge uploads` show what follows")
